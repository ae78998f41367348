# SPDX-License-Identifier: Apache-2.0
"""Capabilities in the form of a manifest: without CAP_, and with ALL."""

from __future__ import annotations

from pyoci.kernel.capabilities import NAMES

DEFAULT = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
"""What docker and containerd grant when nobody asks for more or less."""


def known(name: str) -> bool:
    """Returns whether a manifest may write ``name``."""
    return name == "ALL" or name in NAMES


def granted(add: tuple[str, ...], drop: tuple[str, ...], own: tuple[str, ...]) -> list[str]:
    """Returns the capabilities that a process gets, as ``CAP_NAME``, in the order of their numbers.

    As in containerd, ALL is applied first (in ``add`` it means everything in ``own``, in ``drop`` nothing), then single
    names are added, then single names are dropped. own: the capabilities of this process.
    """
    chosen = set(own) if "ALL" in add else set(DEFAULT)
    if "ALL" in drop:
        chosen = set()
    chosen = (chosen | (set(add) - {"ALL"})) - set(drop)
    return [f"CAP_{name}" for name in NAMES if name in chosen]


def own() -> tuple[str, ...]:
    """Returns the capabilities that this process may grant: its permitted set (proc(5), CapPrm)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)
