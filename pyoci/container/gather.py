# SPDX-License-Identifier: Apache-2.0
"""Collects the facts of the host that a plan needs. Only the cache of compiled filters is written."""

from __future__ import annotations

import os

from pyoci.errors import SpecError, StateError, reason
from pyoci.plan.facts import CgroupEntry, Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroup import Cgroup, Host
    from pyoci.config.normal import ContainerConfig
    from pyoci.container.options import ExecOptions, Request
    from pyoci.container.state import State

FILTER_MAX = 1 << 20  # bytes of seccomp.bpf


def for_create(request: Request, host: Host, group: Cgroup) -> Facts:
    """Returns the facts for ``create``. Raises SpecError, SeccompError."""
    options = request.options
    facts = Facts(request.bundle, _rootfs(request.config, request.bundle))
    facts.preserve_fds = options.preserve_fds
    facts.extra_env = options.extra_env
    facts.no_pivot = options.no_pivot
    facts.keyring = "" if options.no_new_keyring else f"_ses.{request.id}"
    facts.cgroup = _cgroup_entry(group)
    facts.cgroup_unified = host.unified
    facts.cgroup_directories = [
        (mount.names, mount.mountpoint + group.path) for mount in host.mounts if mount.unified == host.unified
    ]
    if request.config.seccomp:
        from pyoci import seccomp

        program = seccomp.compile(request.config.seccomp, seccomp.CACHE, options.keep_filter)
        facts.seccomp = (program.bpf, program.flags) if program.bpf else None
    return facts


def for_exec(state: State, group: Cgroup, options: ExecOptions) -> Facts:
    """Returns the facts for ``exec``, which ``create`` left in the state directory. group: for the new process."""
    facts = Facts(state.bundle)
    facts.cgroup = _cgroup_entry(group)
    facts.personality = state.personality if state.personality >= 0 else None
    facts.preserve_fds = options.preserve_fds
    facts.extra_env = options.extra_env
    facts.keyring = state.keyring
    if state.seccomp >= 0:
        facts.seccomp = (_filter(state), state.seccomp)
    return facts


def _filter(state: State) -> bytes:
    """Returns the filter that ``create`` has stored. Raises StateError."""
    path = f"{state.directory}/seccomp.bpf"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            program = os.read(descriptor, FILTER_MAX)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(f"read {path}: {reason(error)}") from error
    if not program:
        raise StateError(f"read {path}: it is empty; the container cannot be entered without its filter")
    return program


def _cgroup_entry(group: Cgroup) -> CgroupEntry:
    return CgroupEntry(group.path, group.attaches, *group.planned_entries())


def _rootfs(config: ContainerConfig, bundle: str) -> str:
    """Returns the root file system's absolute path, without symlinks. Raises SpecError."""
    rootfs = os.path.realpath(os.path.join(bundle, config.root))
    if not os.path.isdir(rootfs):
        raise SpecError("/root/path", "there is no such directory", rootfs, "", config.name)
    return rootfs
