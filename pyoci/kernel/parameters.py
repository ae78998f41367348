# SPDX-License-Identifier: Apache-2.0
"""Kernel parameters: where they are below /proc/sys, and which belong to a namespace (sysctl(8), namespaces(7))."""

from __future__ import annotations

# Kernel parameters of the IPC namespace, ipc_namespaces(7).
_IPC = frozenset("kernel/" + name for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split())
_SWAPPED = {ord("."): "/", ord("/"): "."}


def path(name: str) -> str:
    """The path below /proc/sys of a parameter; "" if the name leads elsewhere.

    The first of "." and "/" in the name is what separates its parts, as in sysctl(8): net.ipv4.conf.eth0/1.mtu and
    net/ipv4/conf/eth0.1/mtu are the same.
    """
    dot, slash = name.find("."), name.find("/")
    if slash < 0 or 0 <= dot < slash:
        name = name.translate(_SWAPPED)
    parts = name.split("/")
    return "" if len(parts) < 2 or any(part in ("", ".", "..") for part in parts) else name


def namespace(path: str) -> str:
    """The type of namespace that a parameter (a path below /proc/sys) belongs to; "" if it is the host's."""
    if path in _IPC or path.startswith("fs/mqueue/"):
        return "ipc"
    if path in ("kernel/domainname", "kernel/hostname"):
        return "uts"
    return {"net": "network", "user": "user"}.get(path.partition("/")[0], "")
