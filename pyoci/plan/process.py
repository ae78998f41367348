# SPDX-License-Identifier: Apache-2.0
"""``process`` of config.json, or of an exec, as operations (runtime-spec, config.md "Process")."""

from __future__ import annotations

from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.process import ProcessConfig
    from pyoci.plan.facts import Facts

CANNOT_CHOWN = ops.errnos(1, 30, 22)  # EPERM, EROFS, EINVAL: what the caller gave is not ours to give on
REFUSED = ops.errnos(1, 13)  # EPERM, EACCES: a directory may be open to the user alone


def terminal(process: ProcessConfig, console: int, bind: bool) -> list[ops.Op]:
    """The console, or the ownership of what the caller gave as descriptors 0-2."""
    if not process.terminal:
        return [ops.StdioOwner(f"{process.at}/user/uid", process.uid, CANNOT_CHOWN)]
    return [ops.Console(f"{process.at}/terminal", console, process.rows, process.columns, process.uid, bind)]


def limits(process: ProcessConfig) -> list[ops.Op]:
    """Resource limits, scheduling and I/O priority."""
    steps: list[ops.Op] = [
        ops.Setrlimit(limit.where, limit.number, limit.soft, limit.hard, limit.name) for limit in process.rlimits
    ]
    wish = process.scheduler
    if wish:
        steps.append(
            ops.SchedSetattr(
                f"{process.at}/scheduler",
                wish.policy,
                wish.nice,
                wish.priority,
                wish.flags,
                wish.runtime,
                wish.deadline,
                wish.period,
            )
        )
    if process.io_priority is not None:
        steps.append(ops.IoprioSet(f"{process.at}/ioPriority", process.io_priority))
    return steps


def identity(process: ProcessConfig, facts: Facts) -> list[ops.Op]:
    """Environment, working directory, user and program, in the order that CVE-2024-21626 and user-owned
    directories ask for."""
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


def privileges(process: ProcessConfig, facts: Facts) -> list[ops.Op]:
    """Capabilities, no_new_privs and seccomp, then execve.

    Under no_new_privs the filter is the last thing before execve, so a profile need allow nothing of ours. Without,
    loading it takes CAP_SYS_ADMIN, so it comes before the capabilities are dropped (seccomp(2)).
    """
    sets = process.capabilities
    drop = ops.Capset(f"{process.at}/capabilities", sets.effective, sets.permitted, sets.inheritable, sets.ambient)
    load = [ops.Seccomp("/linux/seccomp", *facts.seccomp)] if facts.seccomp else []
    if process.no_new_privileges:
        steps: list[ops.Op] = [ops.NoNewPrivs(f"{process.at}/noNewPrivileges"), drop, *load]
    else:
        steps = [*load, drop]
    return [*steps, ops.Execve(f"{process.at}/args")]
