"""Lines against templates, one after the other and a character at a time, as `traces.formats._template` defines it."""

import re

_PLACE = re.compile(r"\{(?:(?P<name>\w+):(?P<kind>[xutws])(?P<number>\d*)|(?P<mark>[*?]))\}|.", re.DOTALL)
_NUMBERS = {"x": r"(?:0[xX])?([0-9a-fA-F]*)", "u": r"([0-9]*)", "t": r"(-?(?:[0-9]+(?:\.[0-9]*)?)?)"}
_WHAT = {"x": "a hexadecimal number of up to {} bits", "u": "a number of up to {} bits", "t": "a number"}

Values = dict[str, int | str]


class Unfit(Exception):
    """A place does not fit: where in the line that shows, and why."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at, self.why = at, why


def _one(place: re.Match[str], after: str, line: str, i: int) -> tuple[int, int | str | None]:
    """Read one place at ``i``: where it ends and what it holds."""
    kind, name = place["kind"], place["name"]
    if place[0] in (" ", "~"):
        end = len(line) - len(line[i:].lstrip(" \t"))
        if place[0] == " " and end == i:
            raise Unfit(i, "no blank")
        return end, None
    if kind is None:
        if line[i : i + 1] != place[0]:
            raise Unfit(i, f"no '{place[0]}'")
        return i + 1, None
    if kind in "ws":
        stop = after if after not in ("", " ", "~", "{") else ""
        end = i
        while end < len(line) and line[end] > " " and line[end] != stop:
            end += 1
        if end == i:
            raise Unfit(i, f"no {name}")
        return end, line[i:end] if kind == "w" else end - i
    found = re.compile(_NUMBERS[kind]).match(line, i)
    assert found
    bits, value = int(place["number"] or 64), -1
    if kind == "t" and found[1].strip("-"):
        whole, _, rest = found[1].strip("-").partition(".")
        value = int(whole + rest[:bits].ljust(bits, "0"))
        return found.end(), -value if found[1][0] == "-" else value
    if kind in "xu" and found[1]:
        value = int(found[1], 16 if kind == "x" else 10)
    if not 0 <= value < 1 << bits:
        raise Unfit(found.end(), f"{name} is not {_WHAT[kind].format(bits)}")
    return found.end(), value


def _template(template: str, line: str) -> tuple[Values | None, int, str]:
    """What a template makes of a line, None if it does not fit; and the place that came furthest, and why."""
    places = list(_PLACE.finditer(template))
    values: Values = {place["name"]: "" if place["kind"] == "w" else 0 for place in places if place["name"]}
    star: tuple[int, int] | None = None
    furthest, why, i, at = -1, "", 0, 0
    while True:
        try:
            if at == len(places) and line[i:].strip(" \t\r"):
                raise Unfit(len(line) - len(line[i:].lstrip(" \t\r")), "more than there should be")
            if at == len(places) or (places[at]["mark"] == "*" and at == len(places) - 1):
                return values, furthest, why
            place = places[at]
            if place["mark"] == "?" and not line[i:].strip(" \t\r"):
                left = {later["name"]: "" if later["kind"] == "w" else 0 for later in places[at:] if later["name"]}
                return values | left, furthest, why
            if place["mark"] == "*":
                star = (i, at)
            elif not place["mark"]:
                i, value = _one(place, template[place.end() : place.end() + 1], line, i)
                if value is not None:
                    values[place["name"]] = value
            at += 1
        except Unfit as unfit:
            if unfit.at > furthest:
                furthest, why = unfit.at, unfit.why
            if star is None or star[0] == len(line):
                return None, furthest, why
            star = (star[0] + 1, star[1])
            i, at = star[0], star[1] + 1


def fit(templates: list[str], line: str) -> tuple[int, Values] | str:
    """The first template that fits and what its places hold, or why none does."""
    furthest, why = -1, ""
    for number, template in enumerate(templates):
        values, at, reason = _template(template, line)
        if values is not None:
            return number, values
        if at > furthest:
            furthest, why = at, reason
    return why
