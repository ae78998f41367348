# SPDX-License-Identifier: Apache-2.0
"""Kernel parameters: their paths in /proc/sys, and their namespaces (sysctl(8), namespaces(7))."""

from __future__ import annotations

# Parameters of the IPC namespace, ipc_namespaces(7).
_IPC = frozenset("kernel/" + name for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split())
_SWAPPED = {ord("."): "/", ord("/"): "."}


def path(name: str) -> str:
    """Returns the path of a parameter in /proc/sys, or "" if the name leads elsewhere.

    The first "." or "/" in the name decides which of them separates its parts, as in sysctl(8):
    net.ipv4.conf.eth0/1.mtu and net/ipv4/conf/eth0.1/mtu are the same.
    """
    dot, slash = name.find("."), name.find("/")
    if slash < 0 or 0 <= dot < slash:
        name = name.translate(_SWAPPED)
    parts = name.split("/")
    return "" if len(parts) < 2 or any(part in ("", ".", "..") for part in parts) else name


def namespace(path: str) -> str:
    """Returns the type of namespace that a parameter (a path in /proc/sys) belongs to, or "" if it is global."""
    if path in _IPC or path.startswith("fs/mqueue/"):
        return "ipc"
    if path in ("kernel/domainname", "kernel/hostname"):
        return "uts"
    return {"net": "network", "user": "user"}.get(path.partition("/")[0], "")
