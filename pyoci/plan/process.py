# SPDX-License-Identifier: Apache-2.0
"""Turns ``process`` of config.json or of exec into operations (runtime-spec, config.md "Process")."""

from __future__ import annotations

from pyoci.kernel.capabilities import BITS
from pyoci.kernel.process import SCHEDULER_FLAGS, SCHEDULERS
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.process import ProcessConfig
    from pyoci.plan.facts import Facts

CANNOT_CHOWN = ops.errnos(1, 30, 22)  # EPERM, EROFS, EINVAL: the caller's files cannot be given away
REFUSED = ops.errnos(1, 13)  # EPERM, EACCES: a directory may be open to the user only


def terminal(process: ProcessConfig, console: int, bind: bool) -> list[ops.Op]:
    """Returns the console, or the change of owner of descriptors 0-2."""
    if not process.terminal:
        return [ops.StdioOwner(f"{process.at}/user/uid", process.uid, CANNOT_CHOWN)]
    return [ops.Console(f"{process.at}/terminal", console, process.rows, process.columns, process.uid, bind)]


def raised_limits(process: ProcessConfig) -> list[ops.Op]:
    """Returns the hard limits to raise, which init may do only in the host's user namespace."""
    return [
        ops.Setrlimit(limit.where, limit.number, limit.soft, limit.hard, limit.name, upwards=True)
        for limit in process.rlimits
    ]


def limits(process: ProcessConfig) -> list[ops.Op]:
    """Returns the resource limits, which need no capability after raise. They come last, because init itself needs some
    descriptors and memory."""
    return [
        ops.Setrlimit(limit.where, limit.number, limit.soft, limit.hard, limit.name, upwards=False)
        for limit in process.rlimits
    ]


def scheduling(process: ProcessConfig) -> list[ops.SchedSetattr]:
    """Returns the CPU scheduling."""
    wanted = process.scheduler
    if not wanted:
        return []
    times = (wanted.runtime, wanted.deadline, wanted.period)
    return [
        ops.SchedSetattr(f"{process.at}/scheduler", wanted.policy, wanted.nice, wanted.priority, wanted.flags, *times)
    ]


def is_inherited(scheduler: ops.SchedSetattr) -> bool:
    """Returns whether children inherit the policy (sched(7))."""
    is_deadline = scheduler.policy == SCHEDULERS["SCHED_DEADLINE"]
    return not (is_deadline or scheduler.flags & SCHEDULER_FLAGS["SCHED_FLAG_RESET_ON_FORK"])


def priority(process: ProcessConfig) -> list[ops.Op]:
    """Returns the I/O priority, which children inherit."""
    if process.io_priority is None:
        return []
    return [ops.IoprioSet(f"{process.at}/ioPriority", process.io_priority)]


def identity(process: ProcessConfig, facts: Facts) -> list[ops.Op]:
    """Returns environment, working directory, user and program, in the order that CVE-2024-21626 and directories of the
    user require."""
    at, cwd = process.at, process.cwd
    env = process.env
    if facts.extra_env:
        env = {**env, **{line.partition("=")[0]: line for line in facts.extra_env}}
    groups = [str(group) for group in process.groups]
    return [
        ops.Environment(f"{at}/env", list(env.values())),
        ops.Home(f"{at}/env", process.uid, otherwise="/"),
        ops.Chdir(f"{at}/cwd", cwd, deferred=REFUSED),
        ops.Bounding(f"{at}/capabilities/bounding", process.capabilities.bounding),
        ops.User(f"{at}/user", process.uid, process.gid, groups, process.umask, keep_groups=False),
        ops.Chdir(f"{at}/cwd", cwd, deferred=0),
        ops.Program(f"{at}/args", process.args),
    ]


class Privileges:
    """Capabilities, no_new_privs and the filter.

    drop: operations after which the process has only the capabilities that it shall have; last: the last operations,
    with execve; filtered: whether the filter is among the last, so that a hook before it must load it itself.

    Loading a filter needs no_new_privs or CAP_SYS_ADMIN (seccomp(2)). If the process has one of them at the end, the
    filter is the last thing before execve, and a profile need not allow anything for init. Otherwise it is loaded while
    init still has all capabilities, and must allow everything that init does after it, as with runc.
    """

    __slots__ = ("drop", "filtered", "last")

    def __init__(self, process: ProcessConfig, facts: Facts) -> None:
        sets = process.capabilities
        at = f"{process.at}/capabilities"
        self.drop: list[ops.Op] = [ops.Capset(at, sets.effective, sets.permitted, sets.inheritable, sets.ambient)]
        self.last: list[ops.Op] = [ops.Execve(f"{process.at}/args")]
        self.filtered = False
        if process.no_new_privileges:
            self.drop.insert(0, ops.NoNewPrivs(f"{process.at}/noNewPrivileges"))
        if facts.seccomp:
            self.filtered = process.no_new_privileges or bool(sets.effective & BITS["CAP_SYS_ADMIN"])
            (self.last if self.filtered else self.drop).insert(0, ops.Seccomp("/linux/seccomp", *facts.seccomp))
