# SPDX-License-Identifier: Apache-2.0
"""Mount options: names and attributes (mount_setattr(2), mount(8)), and what may be mounted on procfs."""

from __future__ import annotations

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
ATIME, NOATIME, STRICTATIME, NODIRATIME, NOSYMFOLLOW = 0x70, 0x10, 0x20, 0x80, 0x200000
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20

# option → (attributes to set, attributes to clear); "r" before a name makes it recursive.
ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "noatime": (NOATIME, 0),
    "atime": (0, ATIME),
    "strictatime": (STRICTATIME, 0),
    "nostrictatime": (0, ATIME),
    "relatime": (0, ATIME),
    "norelatime": (STRICTATIME, 0),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
}
RECURSIVE = {"r" + name: bits for name, bits in ATTRIBUTES.items()}
PROPAGATION = {"unbindable": MS_UNBINDABLE, "private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}
SUPERBLOCK = frozenset(("async", "dirsync", "lazytime", "mand", "nolazytime", "nomand", "sync"))
IGNORED = frozenset(("defaults", "silent", "loud", "iversion", "noiversion"))
OPTION_NAMES = sorted(
    {
        "bind",
        "rbind",
        "remount",
        "tmpcopyup",
        *ATTRIBUTES,
        *RECURSIVE,
        *PROPAGATION,
        *("r" + name for name in PROPAGATION),
    }
    | SUPERBLOCK
    | IGNORED
)

# Harmless on a bind mount, without effect: options of a superblock, and those that mount(8) interprets itself.
ON_BIND = SUPERBLOCK | {
    *("acl", "noacl", "auto", "noauto", "user", "nouser", "users", "group", "owner", "nofail", "_netdev", "comment"),
}

# The files that lxcfs mounts over a container's /proc. This is the list of runc and crun without net/dev: the kernel
# looks /proc/net/* up again each time, which removes what is mounted there.
ON_PROC = frozenset(
    "/proc/" + name
    for name in (
        *("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"),
        *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)
