# SPDX-License-Identifier: Apache-2.0
"""What this machine can do, and the hugetlb mount that crun, and the metrics of containerd, need."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
CAP_SYS_RESOURCE = 24
PR_SET_CHILD_SUBREAPER = 36
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000

_libc = ctypes.CDLL(None, use_errno=True)


def has_capability(number: int) -> bool:
    """Returns whether this process can pass a capability on, that is, whether its bounding set has it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def become_subreaper() -> None:
    """Orphans of this process's children become its own children, as with conmon and containerd's shim."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_CHILD_SUBREAPER")


def enter_private_mounts() -> None:
    """This process, and what it starts from now on, has mounts of its own."""
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare CLONE_NEWNS")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def leave_cgroup_v1() -> None:
    """This process, and what it starts from now on, sees cgroup v2 alone, in mounts of its own.

    Of a host with v1 the kernel gives cgroup2 only the controllers that v1 does not use: none, or hugetlb. All but the
    limits is as on a host with v2.
    """
    enter_private_mounts()
    subprocess.run(["umount", "--recursive", CGROUP_ROOT], check=True)
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", CGROUP_ROOT], check=True)


def unified() -> bool:
    """Returns whether /sys/fs/cgroup is cgroup v2."""
    return (CGROUP_ROOT / "cgroup.controllers").exists()


def controllers() -> list[str]:
    """Names of the mounted hierarchies: the mounts below /sys/fs/cgroup (v1), or the root itself (v2).

    A bare directory is none: an engine makes one for a hierarchy that is mounted in another mount namespace only.
    """
    if unified():
        return ["."]
    return sorted(entry.name for entry in os.scandir(CGROUP_ROOT) if os.path.ismount(entry.path))


def has_controller(name: str) -> bool:
    """Whether containers can have limits of this controller."""
    if unified():
        return name in (CGROUP_ROOT / "cgroup.controllers").read_text().split()
    return os.path.ismount(CGROUP_ROOT / name)


def hidden_hierarchies() -> list[str]:
    """Controllers of cgroup v1 that are in use on this machine but not mounted here.

    podman and containerd make plain directories for them below /sys/fs/cgroup, and fail to remove those.
    """
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    names = {name for line in lines for name in line.split(":")[1].split(",") if name and "=" not in name}
    return [] if unified() else sorted(names - set(controllers()))


def bare_directories() -> set[Path]:
    """Plain directories among the mounts below /sys/fs/cgroup."""
    if unified():
        return set()
    return {Path(entry.path) for entry in os.scandir(CGROUP_ROOT) if entry.is_dir() and not os.path.ismount(entry.path)}


def mount_hugetlb(target: Path) -> None:
    """Mounts the hierarchy. The kernel needs a moment to take a controller out of cgroup v2."""
    command = ["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", str(target)]
    end = time.monotonic() + 10
    while time.monotonic() < end and subprocess.run(command, capture_output=True, check=False).returncode:
        time.sleep(0.1)
    assert os.path.ismount(target), f"not mounted in 10 s: {command}"


def give_crun_hugetlb() -> None:
    """crun refuses a v1 host without a hugetlb mount: make one, in a mount namespace of this process alone.

    /sys/fs/cgroup becomes a tmpfs of ours with the same hierarchies in it, so nothing changes on the machine.
    """
    if unified() or os.path.ismount(CGROUP_ROOT / "hugetlb"):
        return
    enabled = CGROUP_ROOT / "unified/cgroup.subtree_control"
    if enabled.exists() and "hugetlb" in enabled.read_text():  # a test of cgroup v2 left it there, and so it is in use
        enabled.write_text("-hugetlb")
    enter_private_mounts()
    staging = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "cgroups", staging], check=True)
    try:
        for name in controllers():
            (staging / name).mkdir()
            subprocess.run(["mount", "--bind", CGROUP_ROOT / name, staging / name], check=True)
        (staging / "hugetlb").mkdir()
        mount_hugetlb(staging / "hugetlb")
        subprocess.run(["mount", "--rbind", staging, CGROUP_ROOT], check=True)
    finally:  # whatever failed: nothing may walk through these mounts, to remove what is in them
        subprocess.run(["umount", "-l", staging], check=True)
        staging.rmdir()


@contextlib.contextmanager
def every_hierarchy() -> Iterator[None]:
    """Mounts the hugetlb hierarchy for a while, in the mount namespace of this thread only.

    Without it containerd's shim, on a v1 host, reads no metrics and does not hear of an OOM.
    """
    ours = not unified() and not os.path.ismount(CGROUP_ROOT / "hugetlb")
    with private_mounts():
        give_crun_hugetlb()
        try:
            yield
        finally:
            if ours:  # threads that were started meanwhile stay in this namespace, and would keep the hierarchy in use
                subprocess.run(["umount", "-l", CGROUP_ROOT / "hugetlb"], check=True)


@contextlib.contextmanager
def cgroup_v2() -> Iterator[None]:
    """cgroup v2 alone, as leave_cgroup_v1() makes it, in this thread and what it starts meanwhile."""
    with private_mounts():
        leave_cgroup_v1()
        control = CGROUP_ROOT / "cgroup.subtree_control"
        before = control.read_text().split()
        try:
            yield
        finally:
            # Controllers go back where they were, or a v1 mount of them would find them in use.
            for name in set(control.read_text().split()) - set(before):
                with contextlib.suppress(OSError):  # another test's container uses it
                    control.write_text(f"-{name}")


@contextlib.contextmanager
def private_mounts() -> Iterator[None]:
    """Mounts of its own for this thread and what it starts meanwhile."""
    here, directory = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), os.getcwd()
    enter_private_mounts()
    try:
        yield
    finally:
        # Threads that were started meanwhile share the root and the directory with this one: setns(2) refuses that.
        if _libc.unshare(CLONE_FS) != 0 or _libc.setns(here, CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "setns of the first mount namespace")
        os.close(here)
        os.chdir(directory)
