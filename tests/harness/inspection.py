# SPDX-License-Identifier: Apache-2.0
"""Reads what /proc says about a process (proc(5))."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time")


def namespaces(pid: int) -> dict[str, str]:
    """Returns the namespaces of a process as `type -> "type:[inode]"`; types that the kernel lacks are left out."""
    found = {}
    for name in NAMESPACES:
        path = f"/proc/{pid}/ns/{name}"
        if os.path.lexists(path):
            found[name] = os.readlink(path)
    return found


def owner_of(path: str) -> str:
    """Returns the user namespace that owns a namespace, in the form of `namespaces` (ioctl_ns(2), NS_GET_USERNS)."""
    with open(path, "rb") as file:
        owner = fcntl.ioctl(file, 0xB701)
    try:
        return f"user:[{os.fstat(owner).st_ino}]"
    finally:
        os.close(owner)


def status(pid: int) -> dict[str, str]:
    """Returns the fields of /proc/PID/status, each with its text."""
    return parse_status(Path(f"/proc/{pid}/status").read_text())


def parse_status(text: str) -> dict[str, str]:
    """Returns the fields of a status file that a container printed."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def descriptors(pid: int) -> dict[int, str]:
    """Open descriptors of a process and what they are links to."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue  # closed between the listing and the look
    return found


def alive(pid: int) -> bool:
    """Returns whether a process runs: a zombie does not, and neither does PID 0."""
    if pid <= 0:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def cgroups(pid: int) -> dict[str, str]:
    """Returns the control group of a process: `controllers -> path`; cgroup v2 has the empty name."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def descendants(root: int) -> list[int]:
    """Returns every process below `root`, children before grandchildren. Zombies are included."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


class Mount:
    """One line of mountinfo."""

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split()
        self.root = fields[3]
        self.target = fields[4].encode().decode("unicode_escape")
        self.options = set(fields[5].split(","))
        self.propagation = {field.split(":")[0] for field in fields[6:]}
        self.type, self.source, superblock = (right.split(" ") + ["", ""])[:3]
        self.super_options = set(superblock.split(","))


def parse_mounts(text: str) -> dict[str, Mount]:
    """`target -> mount` of a mountinfo text; of stacked mounts the topmost."""
    mounts = (Mount(line) for line in text.splitlines() if " - " in line)
    return {mount.target: mount for mount in mounts}


def mounts(pid: int) -> dict[str, Mount]:
    """Returns the mounts that a process sees."""
    return parse_mounts(Path(f"/proc/{pid}/mountinfo").read_text())
