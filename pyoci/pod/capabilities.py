# SPDX-License-Identifier: Apache-2.0
"""Capabilities as a manifest names them: without CAP_, and with ALL."""

from __future__ import annotations

from pyoci.kernel.capabilities import NAMES

DEFAULT = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
"""What docker and containerd grant when nobody asks for more or less."""


def known(name: str) -> bool:
    """Whether a manifest may write ``name``."""
    return name == "ALL" or name in NAMES


def granted(add: tuple[str, ...], drop: tuple[str, ...], own: tuple[str, ...]) -> list[str]:
    """The capabilities, as ``CAP_NAME`` and in the order of their numbers, that a process gets.

    ALL is taken first, in ``add`` as everything in ``own`` and in ``drop`` as nothing; then single names are added,
    then single names dropped (as containerd does). own: what this process has itself.
    """
    chosen = set(own) if "ALL" in add else set(DEFAULT)
    if "ALL" in drop:
        chosen = set()
    chosen = (chosen | (set(add) - {"ALL"})) - set(drop)
    return [f"CAP_{name}" for name in NAMES if name in chosen]


def own() -> tuple[str, ...]:
    """What this process may grant: its permitted set (proc(5), CapPrm)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)
