"""What memory generators do, told in plain Python loops: slow, and plainly right."""

from collections.abc import Iterator, Sequence


def cycle(following: Sequence[int], start: int) -> list[int]:
    """The places that one gets to from a start, until it comes again."""
    out, at = [start], following[start]
    while at != start:
        out.append(at)
        at = following[at]
    return out


def stream(kernel: str, part: int, cpus: int, cpu: int) -> Iterator[tuple[str, str, int]]:
    """(word, array, element) of each access of one processor, without end."""
    loops = {
        "copy": [("copy a", "a"), ("copy c", "c")],
        "scale": [("scale c", "c"), ("scale b", "b")],
        "add": [("add a", "a"), ("add b", "b"), ("add c", "c")],
        "triad": [("triad b", "b"), ("triad c", "c"), ("triad a", "a")],
    }
    while True:
        for name in ("copy", "scale", "add", "triad") if kernel == "all" else (kernel,):
            for element in range(cpu * part, (cpu + 1) * part):
                for word, array in loops[name]:
                    yield word, array, element


def stencil2(rows: range, side: int) -> Iterator[tuple[str, int, int]]:
    """(word, grid, cell) of each access of a processor that has the inner ``rows``, without end."""
    old, new = 0, 1
    while True:
        for y in rows:
            for x in range(1, side - 1):
                near = {"centre": (y, x), "west": (y, x - 1), "east": (y, x + 1)}
                near |= {"north": (y - 1, x), "south": (y + 1, x)}
                for word, (row, column) in near.items():
                    yield word, old, row * side + column
                yield "result", new, y * side + x
        old, new = new, old


def stencil3(planes: range, side: int) -> Iterator[tuple[str, int, int]]:
    """The same in three dimensions, of the inner ``planes``."""
    old, new = 0, 1
    while True:
        for z in planes:
            for y in range(1, side - 1):
                for x in range(1, side - 1):
                    near = {"centre": (z, y, x), "west": (z, y, x - 1), "east": (z, y, x + 1)}
                    near |= {"north": (z, y - 1, x), "south": (z, y + 1, x)}
                    near |= {"below": (z - 1, y, x), "above": (z + 1, y, x)}
                    for word, (plane, row, column) in near.items():
                        yield word, old, (plane * side + row) * side + column
                    yield "result", new, (z * side + y) * side + x
        old, new = new, old
