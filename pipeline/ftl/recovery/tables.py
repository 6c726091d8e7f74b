"""What a drive that loses power comes to: the tables of `pipeline.ftl.recovery`."""

from typing import Annotated, NamedTuple

from pipeline.ftl._columns import Volume
from traces.table import F64, U8, U32, U64, Bool, Measured, Text, Unknown


class FtlRecoverySummary(NamedTuple):
    """Recovery of validity counts by each mechanism after the same losses of power, one row a volume and mechanism."""

    volume: Volume
    mechanism: Annotated[
        Text,
        "parallel: cores with subsets and tables of their own, as configured; serial: one core; shared: a lock for "
        "each increment of one table; journal: counts as last written, and the journal since. The drive goes on with "
        "what parallel recovered",
    ]
    cores: Annotated[U32, "that recover"]
    crashes: Annotated[U32, "losses of power"]
    recoveries: Annotated[U32, "of them, those after which counts were recovered; after a clean shutdown they are not"]
    counts_wrong: Annotated[U64, "recovered counts of blocks that differ from those of the uninterrupted drive: 0"]
    entries: Annotated[U64, "entries of the logical-to-physical table that were read, in all recoveries"]
    out_of_range: Annotated[U64, "of them, those that are no address: the table would be corrupt"]
    duplicates: Annotated[
        U64, "mapped entries whose address another one has: the table would be corrupt; 0 where not looked for"
    ]
    records: Annotated[U64, "records of the journal that were read, in all recoveries"]
    table_bytes: Annotated[U64, "memory of counts, local tables and bits of one recovery, or of the journal's counts"]
    lost_pages: Annotated[U64, "acknowledged pages that were lost with the write buffer; all figures are without them"]
    host_programs: Annotated[U64, "pages programmed for the host since the trace began"]
    wa: Annotated[F64, "write amplification of the interrupted drive; NULL if nothing was written", Unknown(-1)]
    victims: Annotated[U64, "victims chosen since the trace began"]
    victims_after: Annotated[U64, "of them, those chosen after the first loss of power"]
    victims_hash: Annotated[U64, "running hash of their numbers, in order"]
    victims_same: Annotated[Bool, "whether the uninterrupted drive chose the same in the same order"]
    first_difference: Annotated[
        U64,
        "when the window (see the configuration) began in which their choices first differed, ns; NULL if never",
        Unknown((1 << 64) - 1),
    ]
    state_same: Annotated[Bool, "whether both drives ended with the same map, counts, bits and erases of every block"]
    run_bytes: Annotated[U64, "written for recovery's sake while the drive ran: the journal and the counts, else 0"]
    run_share: Annotated[F64, "the same beside the bytes that the host programmed"]
    model_ns: Annotated[F64, "one recovery on the modelled controller, the last one's table; NULL if none", Unknown(-1)]
    model_merge_share: Annotated[F64, "of model_ns, what comes after the counting; NULL if none", Unknown(-1)]
    pays_below_pages: Annotated[
        F64,
        "journal: pages that the host writes between two losses of power at which the time spent on the journal is the "
        "time saved by it (against parallel, modelled): it pays below; 0 if it saves none, NULL where not known",
        Unknown(-1),
    ]
    pays_above_crashes: Annotated[
        F64,
        "journal: losses of power a day above which it pays, at the trace's rate of writes; NULL if it never does or "
        "the rate is not known",
        Unknown(-1),
    ]
    seconds: Annotated[F64, "measured: time of all recoveries on this machine", Measured()]
    entries_per_second: Annotated[F64, "measured: entries a second; NULL if none were read", Unknown(-1), Measured()]
    speed_up_per_core: Annotated[
        F64,
        "measured: the time of serial, beside that of this mechanism, a core; NULL if none",
        Unknown(-1),
        Measured(),
    ]
    merge_share: Annotated[
        F64, "measured: of the cores' time, what merging took; NULL if none", Unknown(-1), Measured()
    ]
    imbalance: Annotated[
        F64,
        "measured: the longest of the cores' scans beside their mean, last recovery; NULL if none",
        Unknown(-1),
        Measured(),
    ]


class FtlRecoveryCrashes(NamedTuple):
    """Losses of power, one row for each and volume that the trace had asked for anything."""

    crash: Annotated[U32, "counted from 0"]
    requests: Annotated[U64, "of the trace that were given before it"]
    time: Annotated[U64, "of the last of them, nanoseconds since the trace's first request"]
    volume: Volume
    clean: Annotated[Bool, "whether counts and victims' order were written out before: recovery is skipped"]
    buffered_pages: Annotated[U32, "that stood in the write buffer"]
    lost_pages: Annotated[U32, "of them, those that were lost; the uninterrupted drive never gets them"]
    lost_requests: Annotated[U32, "writes of which nothing was programmed"]
    entries: Annotated[U64, "entries of the logical-to-physical table"]
    mapped_pages: Annotated[U64, "of them, mapped: the sum of the recovered counts (of the kept ones if clean)"]
    counts_wrong: Annotated[U64, "blocks whose count differs from the uninterrupted drive's"]
    erased_blocks: Annotated[U64, "blocks ready to be opened"]
    victims_before: Annotated[U64, "victims chosen before the loss, since the trace began"]
    victims_unrecovered: Annotated[U64, "victims chosen between the loss and the end of recovery: 0"]
    victims_until_next: Annotated[U64, "victims chosen from here to the next loss, or to the end"]
    victims_same: Annotated[Bool, "whether those are the uninterrupted drive's, and all before"]
    journal_records: Annotated[U64, "records of the journal since the counts were last written"]
    seconds: Annotated[F64, "measured: time of recovery on this machine", Measured()]


class FtlRecoveryModel(NamedTuple):
    """Recovery on the modelled controller, one row for each number of cores, partition and merge.

    Of the largest drive's table at its last loss of power, and of tables of 1e6 to 1e9 entries.
    """

    scaled: Annotated[Bool, "whether the table is one of the latter, mapped to the same share"]
    entries: Annotated[U64, "of the table"]
    mapped: Annotated[U64, "of them"]
    blocksets: Annotated[U64, "counts"]
    mechanism: Annotated[Text, "a merge (see the configuration), or journal: counts and a full journal, by one core"]
    partition: Annotated[Text, "see the configuration; none for journal"]
    cores: Annotated[U8, "of the controller"]
    time: Annotated[F64, "modelled nanoseconds until the counts are whole"]
    scan: Annotated[F64, "ns until the last core has counted"]
    merge_share: Annotated[F64, "of the time, what comes after the counting"]
    speed_up: Annotated[F64, "the time of one core beside it"]
    table_bytes: Annotated[U64, "of global and local counts"]
    memory_bytes: Annotated[U64, "that were brought from memory: more than the table has where cores share lines"]
    locks: Annotated[U64, "acquired"]
