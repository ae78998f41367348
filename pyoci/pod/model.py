# SPDX-License-Identifier: Apache-2.0
"""The contents of a manifest, checked and typed. Created by pyoci.pod.manifest, and never changed."""

from __future__ import annotations

from dataclasses import dataclass

SANDBOX = "pause"
"""The sandbox's name among a pod's containers; a manifest may not use it."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A directory (or, by hostPath, a file) that containers share.

    kind: ``emptyDir``, ``memory`` (an emptyDir on a tmpfs) or ``hostPath``. path: of hostPath, on the host.
    check: the type of a hostPath. size: bytes of a tmpfs, None for the kernel's default, half of the memory.
    """

    name: str
    kind: str
    path: str = ""
    check: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume in a container. propagation: ``private`` or ``slave``."""

    volume: str
    path: str
    readonly: bool
    propagation: str


@dataclass(frozen=True, slots=True)
class Security:
    """User, groups and capabilities of a process, merged from the settings of the pod and the container."""

    user: int
    group: int
    groups: tuple[int, ...]
    add: tuple[str, ...]
    drop: tuple[str, ...]
    readonly_root: bool
    no_new_privileges: bool


@dataclass(frozen=True, slots=True)
class Resources:
    """cpu_limit and cpu_request in thousandths of a processor, memory_limit in bytes; None is unlimited."""

    cpu_limit: int | None = None
    cpu_request: int | None = None
    memory_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A container. where: its path in the manifest; image: the absolute path of its root file system."""

    name: str
    where: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    security: Security
    resources: Resources


@dataclass(frozen=True, slots=True)
class Pod:
    """A manifest. source: its absolute path; text: its text; restart: Always, OnFailure or Never; grace:
    terminationGracePeriodSeconds; ignored: the paths of properties without effect on a single machine.
    """

    name: str
    hostname: str
    source: str
    text: bytes
    labels: dict[str, str]
    annotations: dict[str, str]
    init: tuple[Container, ...]
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...]
    restart: str
    grace: int
    share_pid: bool
    fs_group: int | None
    ignored: tuple[str, ...] = ()
