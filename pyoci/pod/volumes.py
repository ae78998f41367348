# SPDX-License-Identifier: Apache-2.0
"""What the containers of a pod share besides namespaces: volumes, /dev/shm, and files in /etc."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from pyoci.container import host
from pyoci.errors import PodError, reason
from pyoci.pod.directory import Directory, write
from pyoci.pod.model import Pod, Volume
from pyoci.pod.translate import Places

_SHM_SIZE = 64 << 20  # as in docker and containerd
_HOST_PATH_IS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a regular file"),
    "FileOrCreate": (stat.S_ISREG, "a regular file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def make(pod: Pod, directory: Directory) -> Places:
    """Creates /dev/shm, the volumes and the /etc files in the new directory of a pod. Returns their places.

    Raises PyociError.
    """
    shm = f"{directory.path}/shm"
    host.tmpfs(shm, 0o1777, _SHM_SIZE, noexec=True)
    volumes = {volume.name: _volume(pod, volume, directory) for volume in pod.volumes}
    hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t" + pod.hostname + "\n"
    etc = {"hosts": hosts, "hostname": pod.hostname + "\n"}
    with directory.opened("etc") as fd:
        for name, text in etc.items():
            write(fd, name, text.encode(), 0o644)
    own = frozenset(volume.name for volume in pod.volumes if volume.kind != "hostPath")
    return Places(volumes, own, shm, {name: f"{directory.path}/etc/{name}" for name in etc})


def _volume(pod: Pod, volume: Volume, directory: Directory) -> str:
    if volume.kind == "hostPath":
        return _host_path(volume)
    path = f"{directory.path}/volumes/{volume.name}"
    os.mkdir(path)
    if volume.kind == "memory":
        host.tmpfs(path, 0o777, volume.size)
    mode = 0o777
    if pod.fs_group is not None:
        os.chown(path, -1, pod.fs_group)
        mode |= stat.S_ISGID
    os.chmod(path, mode)
    return path


def _host_path(volume: Volume) -> str:
    what = f"volume {volume.name}: hostPath {volume.path}"
    try:
        if volume.check == "DirectoryOrCreate" and not os.path.lexists(volume.path):
            os.makedirs(volume.path, 0o755)
        elif volume.check == "FileOrCreate" and not os.path.lexists(volume.path):
            os.close(os.open(volume.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        mode = os.stat(volume.path).st_mode
    except OSError as error:
        raise PodError(f"{what}: {reason(error, 'does not exist')}") from error
    if volume.check:
        matches, words = _HOST_PATH_IS[volume.check]
        if not matches(mode):
            raise PodError(f"{what}: is not {words}, which type {volume.check} asks for")
    return volume.path
