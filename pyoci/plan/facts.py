# SPDX-License-Identifier: Apache-2.0
"""The facts of the host that a plan needs. container/ collects them, so that planning has no effect."""

from __future__ import annotations

import os


class Facts:
    """The facts.

    bundle, rootfs: absolute paths; cgroup: how init enters its cgroup; cgroup_unified: whether the host has only cgroup
    v2; cgroup_directories: (names of a hierarchy, directory of the container in it) for each; seccomp: the compiled
    filter and its flags, or None; personality: of the container that ``exec`` joins; keyring: the name of the session
    keyring, "" for none; no_pivot: the caller's flag; extra_env: LISTEN_FDS and similar variables.
    """

    __slots__ = (
        "bundle",
        "cgroup",
        "cgroup_directories",
        "cgroup_unified",
        "extra_env",
        "keyring",
        "no_pivot",
        "personality",
        "preserve_fds",
        "rootfs",
        "seccomp",
    )

    def __init__(self, bundle: str = "/", rootfs: str = "/") -> None:
        self.bundle = bundle
        self.rootfs = rootfs
        self.preserve_fds = 0
        self.cgroup = CgroupEntry()
        self.cgroup_unified = False
        self.cgroup_directories: list[tuple[tuple[str, ...], str]] = []
        self.seccomp: tuple[bytes, int] | None = None
        self.keyring = ""
        self.no_pivot = False
        self.personality: int | None = None
        self.extra_env: list[str] = []

    def host_path(self, path: str) -> str:
        """Returns a path of the host. Relative ones start at the bundle (config.md, "Mounts", source)."""
        return path if path.startswith("/") else os.path.join(self.bundle, path)


class CgroupEntry:
    """How init enters its cgroup. attaches: the manager moves it; by_clone: init has a descriptor for clone3 (v2);
    count: the number of descriptors to write to (v1); path: of the group, for ``plan``."""

    __slots__ = ("attaches", "by_clone", "count", "path")

    def __init__(self, path: str = "", attaches: bool = False, by_clone: bool = False, count: int = 0) -> None:
        self.path = path
        self.attaches = attaches
        self.by_clone = by_clone
        self.count = count


class Layout:
    """The numbers of init's descriptors, after 0-2 and the preserved ones (struct plan_fds)."""

    __slots__ = ("console", "first", "plan", "preserve", "start", "sync")

    def __init__(self, preserve: int) -> None:
        base = 3 + preserve
        self.preserve = preserve
        self.plan, self.sync, self.start, self.console, self.first = base, base + 1, base + 2, base + 3, base + 4
