# SPDX-License-Identifier: Apache-2.0
"""``pyoci update``: changes limits of a container, by flags or by a document."""

from __future__ import annotations

from pyoci import report
from pyoci.cli import flags
from pyoci.cli.flags import TEXT
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cli.flags import Parsed, Table
    from pyoci.cli.settings import Settings

TABLE: Table = (
    (
        "resources r",
        TEXT,
        "FILE",
        "JSON document with the limits, in the form of linux.resources; - for standard input",
    ),
    ("memory", TEXT, "BYTES", "limit of memory; BYTES may end in k, m, g or t; -1 for no limit"),
    ("memory-reservation", TEXT, "BYTES", "memory that is left to it if memory is short"),
    ("memory-swap", TEXT, "BYTES", "limit of memory and swap together"),
    ("cpu-share", TEXT, "N", "weight among others, from 2 to 262144"),
    ("cpu-period", TEXT, "US", "length of a period, in microseconds"),
    ("cpu-quota", TEXT, "US", "CPU time in each period; -1 for no limit"),
    ("cpu-burst", TEXT, "US", "unused CPU time that may be used later"),
    ("cpu-idle", TEXT, "0|1", "1: run only when no other process wants the CPU"),
    ("cpu-rt-period", TEXT, "US", "length of a period of realtime processes"),
    ("cpu-rt-runtime", TEXT, "US", "CPU time of realtime processes in each period"),
    ("cpuset-cpus", TEXT, "LIST", "CPUs to run on, such as 0-2,7"),
    ("cpuset-mems", TEXT, "LIST", "memory nodes to use"),
    ("pids-limit", TEXT, "N", "limit of processes and threads; -1 for no limit"),
    ("blkio-weight", TEXT, "N", "weight of block I/O, from 10 to 1000"),
    ("l3-cache-schema", TEXT, "SCHEMA", "refused: Intel RDT is not supported yet"),
    ("mem-bw-schema", TEXT, "SCHEMA", "refused: Intel RDT is not supported yet"),
    ("kernel-memory", TEXT, "BYTES", "accepted: no effect since Linux 5.16"),
    ("kernel-memory-tcp", TEXT, "BYTES", "accepted: no effect since Linux 5.16"),
)
USAGE = "[flags] ID"

# flag: (kind, object in linux.resources, its property)
_PROPERTIES = {
    "memory": ("bytes", "memory", "limit"),
    "memory-reservation": ("bytes", "memory", "reservation"),
    "memory-swap": ("bytes", "memory", "swap"),
    "cpu-share": ("number", "cpu", "shares"),
    "cpu-period": ("number", "cpu", "period"),
    "cpu-quota": ("number", "cpu", "quota"),
    "cpu-burst": ("number", "cpu", "burst"),
    "cpu-idle": ("number", "cpu", "idle"),
    "cpu-rt-period": ("number", "cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("number", "cpu", "realtimeRuntime"),
    "cpuset-cpus": ("text", "cpu", "cpus"),
    "cpuset-mems": ("text", "cpu", "mems"),
    "pids-limit": ("number", "pids", "limit"),
    "blkio-weight": ("number", "blockIO", "weight"),
}
_UNITS = "bkmgtp"


def run(settings: Settings, parsed: Parsed) -> int:
    """Changes the limits. A flag counts more than the document."""
    from pyoci.config import load
    from pyoci.container.update import Origin, update

    (container_id,) = flags.words(parsed, "update", "ID")
    for name in ("l3-cache-schema", "mem-bw-schema"):
        if parsed.text(name):
            raise UsageError(f"update: flag --{name}: settings of Intel RDT are not supported yet")
    for name in ("kernel-memory", "kernel-memory-tcp"):
        if parsed.given(name):
            report.warn(f"update: flag --{name}: has no effect since Linux 5.16")
    path = parsed.text("resources")
    given: Any = load.resources(path) if path else {}
    used = {}
    for name, (kind, group, prop) in _PROPERTIES.items():
        if parsed.text(name):
            inner = given.setdefault(group, {})
            if isinstance(inner, dict):  # the check says what else it is
                inner[prop] = _value(name, kind, parsed.text(name))
            used[f"/{group}/{prop}"] = f"--{name}"
    update(settings.root(), container_id, given, Origin("resources" if path in ("", "-") else path, used))
    return 0


def _value(name: str, kind: str, text: str) -> int | str:
    """Returns the value of a flag. Raises UsageError if it is no number."""
    if kind == "text":
        return text
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 20:
        return int(text)
    size = _bytes(text) if kind == "bytes" else None
    if size is None:
        raise UsageError(f"update: flag --{name}: {text!r} is not a {'size' if kind == 'bytes' else 'decimal number'}")
    return size


def _bytes(text: str) -> int | None:
    """Returns a size such as 64m, 1.5g, 512KiB, in units of 1024 as docker has them, or None."""
    number = text.lower().removesuffix("b").removesuffix("i").rstrip()
    power = 0
    if number[-1:] in [*_UNITS]:
        power = _UNITS.index(number[-1])
        number = number[:-1].rstrip()
    whole, point, part = number.partition(".")
    if not (whole + part).isascii() or not whole.isdigit() or (point and not part.isdigit()) or len(number) > 20:
        return None
    unit: int = 1024**power
    return int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
