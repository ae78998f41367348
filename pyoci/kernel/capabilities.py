# SPDX-License-Identifier: Apache-2.0
"""Capabilities: names and bits (capabilities(7), linux/capability.h)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
BITS = {"CAP_" + name: 1 << number for number, name in enumerate(NAMES)}


def mask(names: Iterable[str]) -> int:
    """Returns the bits of these capabilities. As in runc, names that this kernel does not have are left out."""
    bits = 0
    for name in names:
        bits |= BITS.get(name, 0)
    return bits


def names(mask: int) -> list[str]:
    """Returns the names of the bits of a mask, in the order of their numbers."""
    return [name for name, bit in BITS.items() if mask & bit]
