# SPDX-License-Identifier: Apache-2.0
"""Inspects a running pod: which namespaces are shared, and the network of the sandbox."""

from __future__ import annotations

import os

from pyoci.errors import PodError
from pyoci.pod.commands import condition
from pyoci.pod.containers import Containers
from pyoci.pod.directory import Directory
from pyoci.pod.state import Interface, PodState

NAMESPACES = ("net", "ipc", "uts", "pid", "mnt", "cgroup", "user")
"""The columns of the matrix, as the files of /proc/PID/ns are called (namespaces(7))."""


def inspect(runtime: Containers, directory: Directory) -> PodState:
    """Returns the state of the pod, with current facts from the kernel.

    Each container gets ``namespaces``: name → {inode, sandbox: is it the sandbox's, host: is it ours}, empty if it does
    not run. The pod gets ``network``: a list of {name, up, mtu, addresses}, None if there is no sandbox, and
    ``networkError``. Raises PodError.
    """
    state = directory.load()
    state["phase"] = condition(directory, state)
    host = inodes(os.getpid())
    sandbox: dict[str, int] = {}
    pid = 0
    for one in state["containers"]:
        # The state of the runtime tells whether the PID still belongs to this container.
        one["pid"] = runtime.pid(one["id"])
        found = inodes(one["pid"]) if one["pid"] else {}
        if one["kind"] == "sandbox":
            sandbox, pid = found, one["pid"]
        one["namespaces"] = {
            name: {"inode": inode, "sandbox": inode == sandbox.get(name), "host": inode == host.get(name)}
            for name, inode in found.items()
        }
    state["network"], state["networkError"] = None, ""
    if pid:
        try:
            state["network"] = interfaces(pid)
        except PodError as error:
            state["networkError"] = str(error)
    return state


def inodes(pid: int) -> dict[str, int]:
    """Returns the inode of each of a process's namespaces; empty if there is no such process."""
    try:
        return {name: os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in NAMESPACES}
    except OSError:
        return {}


def interfaces(pid: int) -> list[Interface]:
    """Returns the network interfaces in a process's network namespace, with their addresses.

    A child process enters the namespace, opens a netlink socket there and passes it on. Raises PodError.
    """
    try:
        from pyroute2 import IPRoute
    except ImportError as error:
        raise PodError("pyroute2 is not installed") from error
    try:
        with IPRoute(netns=f"/proc/{pid}/ns/net") as netlink:
            links = list(netlink.get_links())
            addresses = list(netlink.get_addr())
    except Exception as error:  # the rest of the report is still useful
        raise PodError(f"read interfaces of pid {pid}: {error or type(error).__name__}") from error
    return [
        {
            "name": link.get("ifname"),
            "up": bool(link.get("flags") & 1),  # IFF_UP
            "mtu": link.get("mtu"),
            "addresses": [f"{a.get('address')}/{a['prefixlen']}" for a in addresses if a["index"] == link["index"]],
        }
        for link in links
    ]
