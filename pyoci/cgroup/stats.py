# SPDX-License-Identifier: Apache-2.0
"""What a control group has used, in the form of ``runc events --stats``, which engines and monitors read.

stats_v1.py and stats_v2.py fill it. Times are in nanoseconds, sizes in bytes. A controller that the host does not have
leaves its part empty. For a limit that is not set there is the largest number, except for pids, where it is 0.
"""

from __future__ import annotations

from pyoci.cgroup import files
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Stats = dict[str, object]
    # A row of the block I/O statistics: a device, an operation, a number.
    Row = dict[str, int | str]

LARGEST = (1 << 64) - 1


def number(path: str, missing: int = 0) -> int:
    """Returns the number in a control file; LARGEST for ``max``. missing: what to return if there is no such file.

    Raises CgroupError.
    """
    text = text_of(path)
    if text is None or not text.strip():
        return missing
    return LARGEST if text.strip() == "max" else int(text)


def text_of(path: str) -> str | None:
    """Returns the text of a control file, or None if there is no such file, or if its subsystem is off.

    Raises CgroupError.
    """
    import errno

    try:
        return files.read(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
            return None
        raise CgroupError(f"read {path}: {files.reason(error)}") from error


def numbers(path: str) -> dict[str, int]:
    """Returns the lines ``name number`` of a control file; none if there is no such file. Raises CgroupError."""
    pairs = [line.split() for line in (text_of(path) or "").splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def cpus(path: str) -> list[int]:
    """Returns the numbers in a list of CPUs or memory nodes such as 0-2,7 (cpuset(7)). Raises CgroupError."""
    found: list[int] = []
    for part in (text_of(path) or "").strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def pressure(path: str) -> Stats | None:
    """Returns the pressure stall information of a file (accounting/psi.rst), or None if the kernel has none.

    Raises CgroupError.
    """
    text = text_of(path)
    if text is None:
        return None
    found: Stats = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        averages: Stats = {name: float(values.get(name, 0)) for name in ("avg10", "avg60", "avg300")}
        found[kind] = {**averages, "total": int(values.get("total", 0))}
    return found


def memory(usage: int, limit: int, peak: int = 0, failures: int = 0) -> Stats:
    """Returns the part of one kind of memory."""
    return {"limit": limit, "usage": usage, "max": peak, "failcnt": failures}


def row(device: str, operation: str, value: str) -> Row | None:
    """Returns a row of the statistics of block I/O, or None if it makes no sense. device: MAJOR:MINOR."""
    major, _, minor = device.partition(":")
    if not (major.isdigit() and minor.isdigit() and value.isdigit()):
        return None
    return {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}


def whole(
    cpu: Stats, cpuset: Stats, memory: Stats, pids: Stats, blkio: Iterable[tuple[str, object]], hugetlb: Stats
) -> Stats:
    """Returns the statistics, in the order of runc. Parts that are None or empty lists are left out."""
    return {
        "cpu": _present(cpu),
        "cpuset": _present(cpuset),
        "memory": _present(memory),
        "pids": pids,
        "blkio": _present(dict(blkio)),
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _present(part: Stats) -> Stats:
    return {name: value for name, value in part.items() if value is not None and value != []}
