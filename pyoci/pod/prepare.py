# SPDX-License-Identifier: Apache-2.0
"""What a pod needs on the host besides its containers: volumes, /etc files, root file systems; and their end."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from typing import Any

from pyoci import cgroup, jsontext, native
from pyoci.errors import PodError
from pyoci.pod import capabilities, mounts, translate, trees
from pyoci.pod.directory import Directory, write
from pyoci.pod.model import SANDBOX, Pod, Volume

_SHM_SIZE = 64 << 20  # as docker and containerd give to each container or pod
_HOST_PATH_IS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a regular file"),
    "FileOrCreate": (stat.S_ISREG, "a regular file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def facts() -> translate.Facts:
    """What translate has to know of this host."""
    return translate.Facts(capabilities.own(), cgroup_namespace=cgroup.host().unified)


def places(pod: Pod, directory: Directory) -> translate.Places:
    """Makes /dev/shm, the volumes and the /etc files of a pod, and says where they are. Raises PodError."""
    mounts.tmpfs(directory.shm, 0o1777, _SHM_SIZE, noexec=True)
    volumes = {volume.name: _volume(pod, volume, directory) for volume in pod.volumes}
    hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t" + pod.hostname + "\n"
    etc = {"hosts": hosts, "hostname": pod.hostname + "\n"}
    for name, text in etc.items():
        write(directory.etc(name), text.encode(), 0o644)
    own = frozenset(volume.name for volume in pod.volumes if volume.kind != "hostPath")
    return translate.Places(volumes, own, directory.shm, {name: directory.etc(name) for name in etc})


def sandbox_image(directory: Directory) -> str:
    """A root file system with our pause and the directories to mount on; gives its path."""
    image = f"{directory.bundle(SANDBOX)}/image"
    for part in ("", "/proc", "/dev", "/sys"):
        os.makedirs(image + part, 0o755)
    shutil.copyfile(os.path.join(native.LIBEXEC, "pause"), f"{image}/pause")
    os.chmod(f"{image}/pause", 0o555)
    return image


def bundle(directory: Directory, name: str, image: str, config: dict[str, Any]) -> str:
    """Makes a fresh bundle, its root file system an overlay on ``image``; gives its path. Raises PodError."""
    path = directory.bundle(name)
    remove_bundle(directory, name)
    for part in ("rootfs", "upper", "work"):
        os.makedirs(f"{path}/{part}", 0o755)
    # The root directory of an overlay has the owner and mode of the upper layer's.
    owner = os.stat(image)
    os.chown(f"{path}/upper", owner.st_uid, owner.st_gid)
    os.chmod(f"{path}/upper", stat.S_IMODE(owner.st_mode))
    mounts.overlay(f"{path}/rootfs", image, f"{path}/upper", f"{path}/work")
    write(f"{path}/config.json", jsontext.dumps(config).encode(), 0o600)
    return path


def remove_bundle(directory: Directory, name: str) -> None:
    """Unmounts a root file system and removes what its container wrote to it."""
    path = directory.bundle(name)
    mounts.unmount(f"{path}/rootfs")
    for part in ("rootfs", "upper", "work"):
        trees.remove(f"{path}/{part}")


def unmount(directory: Directory) -> None:
    """Takes away every mount of a pod."""
    if directory.exists():
        mounts.unmount_below(directory.path)


def remove(directory: Directory) -> None:
    """Removes the pod's directory with its volumes and logs; its mounts first, so that nothing beyond is reached."""
    unmount(directory)
    trees.remove(directory.path)


def remove_cgroup(pod_name: str, manager: str) -> None:
    """Removes the control group that held those of the pod's containers. Raises CgroupError."""
    cgroup.manage(cgroup.host(), translate.cgroup_parent(pod_name), manager).delete()


def containers(directory: Directory, ids: Iterable[str]) -> list[str]:
    """The names of the containers that a pod has or had, from its directory and from the runtime's IDs."""
    found = {item.removeprefix(directory.name + ".") for item in ids if _belongs(item, directory.name)}
    try:
        found |= set(os.listdir(f"{directory.path}/containers"))
    except FileNotFoundError:
        pass
    # The sandbox last: the others live in its namespaces.
    return sorted(found, key=lambda name: (name == SANDBOX, name))


def _belongs(container_id: str, pod_name: str) -> bool:
    pod, dot, name = container_id.rpartition(".")
    return bool(dot) and pod == pod_name and bool(name)


def _volume(pod: Pod, volume: Volume, directory: Directory) -> str:
    if volume.kind == "hostPath":
        return _host_path(volume)
    path = directory.volume(volume.name)
    os.mkdir(path)
    if volume.kind == "memory":
        mounts.tmpfs(path, 0o777, volume.size)
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
    except FileNotFoundError:
        raise PodError(f"{what}: does not exist") from None
    except OSError as error:
        raise PodError(f"{what}: {error.strerror}") from None
    if volume.check:
        matches, words = _HOST_PATH_IS[volume.check]
        if not matches(mode):
            raise PodError(f"{what}: is not {words}, which type {volume.check} asks for")
    return volume.path
