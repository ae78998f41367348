# SPDX-License-Identifier: Apache-2.0
"""What the caller of ``create``, ``run`` and ``exec`` may choose: attributes with defaults; the caller sets others."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyoci.config.normal import ContainerConfig


class LaunchOptions:
    """What is common to both: how the new process is connected to its caller.

    pid_file, pidfd_socket, console_socket: paths or ""; console_fd: a connected console socket instead of a path, or
    -1; preserve_fds: how many descriptors from 3 on; stdio: what becomes 0-2; extra_env: added to the environment.
    """

    __slots__ = ("console_fd", "console_socket", "extra_env", "pid_file", "pidfd_socket", "preserve_fds", "stdio")

    def __init__(self) -> None:
        self.pid_file = ""
        self.pidfd_socket = ""
        self.console_socket = ""
        self.console_fd = -1
        self.preserve_fds = 0
        self.stdio: Sequence[int] = (0, 1, 2)
        self.extra_env: list[str] = []


class CreateOptions(LaunchOptions):
    """config: file name, relative to the bundle; keep_filter: whether a compiled seccomp filter may be put into the
    cache; the others are flags of the command line (docs/cli.md)."""

    __slots__ = ("cgroup_manager", "config", "keep_filter", "no_new_keyring", "no_pivot")

    def __init__(self) -> None:
        super().__init__()
        self.config = "config.json"
        self.cgroup_manager = "cgroupfs"
        self.no_pivot = False
        self.no_new_keyring = False
        self.keep_filter = True


class ExecOptions(LaunchOptions):
    """cgroups: controller → path below the container's cgroup, "" for all controllers; starting: called when the
    program is about to run."""

    __slots__ = ("cgroups", "detach", "ignore_paused", "starting")

    def __init__(self) -> None:
        super().__init__()
        self.detach = False
        self.cgroups: dict[str, str] = {}
        self.ignore_paused = False
        self.starting: Callable[[], None] | None = None


class Request:
    """What ``create``, ``run`` or ``plan`` is asked for. bundle: absolute path."""

    __slots__ = ("bundle", "config", "id", "options")

    def __init__(self, container_id: str, bundle: str, options: CreateOptions, config: ContainerConfig) -> None:
        self.id = container_id
        self.bundle = bundle
        self.options = options
        self.config = config
