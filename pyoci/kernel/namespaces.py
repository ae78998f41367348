# SPDX-License-Identifier: Apache-2.0
"""Namespaces: clone flags and names (namespaces(7), clone(2))."""

from __future__ import annotations

NEWTIME, NEWNS, NEWCGROUP = 0x80, 0x00020000, 0x02000000
NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000

# Type in the specification → CLONE_NEW*, name in /proc/PID/ns.
TYPES = {
    "user": (NEWUSER, "user"),
    "pid": (NEWPID, "pid"),
    "network": (NEWNET, "net"),
    "ipc": (NEWIPC, "ipc"),
    "uts": (NEWUTS, "uts"),
    "cgroup": (NEWCGROUP, "cgroup"),
    "time": (NEWTIME, "time"),
    "mount": (NEWNS, "mnt"),
}
