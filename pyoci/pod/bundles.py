# SPDX-License-Identifier: Apache-2.0
"""The bundles of a pod's containers: a config.json, and a root file system that is an overlay on an image."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from pyoci import jsontext
from pyoci.container import host
from pyoci.pod import removal
from pyoci.pod.directory import Directory, write
from pyoci.pod.model import SANDBOX

if TYPE_CHECKING:
    from pyoci.config.documents import Config

_PARTS = ("rootfs", "upper", "work")


def sandbox_image(directory: Directory) -> str:
    """Creates a root file system with pause and the mount points. Returns its path."""
    image = f"{directory.bundle(SANDBOX)}/image"
    for part in ("", "/proc", "/dev", "/sys"):
        os.makedirs(image + part, 0o755)
    shutil.copyfile(host.PAUSE, f"{image}/pause")
    os.chmod(f"{image}/pause", 0o555)
    return image


def make(directory: Directory, name: str, image: str, config: Config) -> str:
    """Creates a new bundle, which replaces the last one. Returns its path. Raises PyociError."""
    remove(directory, name)
    path = directory.bundle(name)
    os.makedirs(path, 0o755, exist_ok=True)
    with directory.opened("containers", name) as fd:
        for part in _PARTS:
            os.mkdir(part, 0o755, dir_fd=fd)
        # The root of an overlay has the owner and mode of the upper layer.
        owner = os.stat(image)
        os.chown("upper", owner.st_uid, owner.st_gid, dir_fd=fd)
        os.chmod("upper", stat.S_IMODE(owner.st_mode), dir_fd=fd)
        host.overlay(f"{path}/rootfs", image, f"{path}/upper", f"{path}/work")
        write(fd, "config.json", jsontext.dumps(config).encode(), 0o600)
    return path


def remove(directory: Directory, name: str) -> None:
    """Unmounts the root file system of a container, if any, and removes what it wrote there. Raises PyociError."""
    try:
        with directory.opened("containers", name) as fd:
            host.unmount(f"/proc/self/fd/{fd}/rootfs")
            for part in _PARTS:
                removal.remove(fd, part)
    except FileNotFoundError:
        pass


def unmount_all(directory: Directory) -> None:
    """Detaches all mounts below the directory of a pod. Raises PyociError."""
    try:
        with directory.opened() as fd:
            host.unmount_below(os.readlink(f"/proc/self/fd/{fd}"))
    except FileNotFoundError:
        pass
