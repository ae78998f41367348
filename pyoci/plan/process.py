# SPDX-License-Identifier: Apache-2.0
"""``process`` of config.json, or of an exec, as operations (runtime-spec, config.md "Process")."""

from __future__ import annotations

from pyoci.kernel.capabilities import mask
from pyoci.kernel.process import IOPRIO_CLASSES, RLIMIT_NUMBERS, SCHEDULER_FLAGS, SCHEDULERS
from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Process
    from pyoci.plan.facts import Facts

DEFAULT_UMASK = 0o022
CANNOT_CHOWN = ops.errnos(1, 30, 22)  # EPERM, EROFS, EINVAL: what the caller gave is not ours to give on
REFUSED = ops.errnos(1, 13)  # EPERM, EACCES: a directory may be open to the user alone


def terminal(process: Process, facts: Facts, console: int, bind: bool) -> list[ops.Op]:
    """The console, or the ownership of what the caller gave as descriptors 0-2."""
    uid = process["user"].get("uid") or 0
    if not process.get("terminal"):
        return [ops.StdioOwner("/process/user/uid", uid, CANNOT_CHOWN)]
    size = process.get("consoleSize")
    rows, columns = (size["height"], size["width"]) if size else (0, 0)
    return [ops.Console("/process/terminal", console, rows, columns, uid, bind)]


def limits(process: Process) -> list[ops.Op]:
    """Resource limits, scheduling and I/O priority."""
    steps: list[ops.Op] = []
    for index, limit in enumerate(process.get("rlimits") or ()):
        label = limit["type"]
        where = f"/process/rlimits/{index}"
        steps.append(ops.Setrlimit(where, RLIMIT_NUMBERS[label], limit["soft"], limit["hard"], label))
    scheduler = process.get("scheduler")
    if scheduler:
        flags = 0
        for name in scheduler.get("flags") or ():
            flags |= SCHEDULER_FLAGS[name]
        steps.append(
            ops.SchedSetattr(
                "/process/scheduler",
                SCHEDULERS[scheduler["policy"]],
                nice=scheduler.get("nice") or 0,
                priority=scheduler.get("priority") or 0,
                flags=flags,
                runtime=scheduler.get("runtime") or 0,
                deadline=scheduler.get("deadline") or 0,
                period=scheduler.get("period") or 0,
            )
        )
    priority = process.get("ioPriority")
    if priority:
        value = IOPRIO_CLASSES[priority["class"]] << 13 | (priority.get("priority") or 0)
        steps.append(ops.IoprioSet("/process/ioPriority", value))
    return steps


def identity(process: Process, facts: Facts) -> list[ops.Op]:
    """Environment, working directory, user and program, in the order that CVE-2024-21626 and user-owned
    directories ask for."""
    user = process["user"]
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    umask = user.get("umask")
    cwd = process["cwd"]
    bounding = (process.get("capabilities") or {}).get("bounding") or ()
    groups = [str(group) for group in user.get("additionalGids") or ()]
    env = [*(process.get("env") or ()), *facts.extra_env]
    return [
        ops.Environment("/process/env", env),
        ops.Home("/process/env", uid, otherwise="/"),
        ops.Chdir("/process/cwd", cwd, deferred=REFUSED),
        ops.Bounding("/process/capabilities/bounding", mask(bounding)),
        ops.User("/process/user", uid, gid, groups, DEFAULT_UMASK if umask is None else umask, keep_groups=False),
        ops.Chdir("/process/cwd", cwd, deferred=0),
        ops.Program("/process/args", process["args"]),
    ]


def privileges(process: Process, facts: Facts) -> list[ops.Op]:
    """Capabilities, no_new_privs and seccomp, then execve.

    Under no_new_privs the filter is the last thing before execve, so a profile need allow nothing of ours. Without,
    loading it takes CAP_SYS_ADMIN, so it comes before the capabilities are dropped (seccomp(2)).
    """
    capabilities = process.get("capabilities") or {}
    effective, permitted = mask(capabilities.get("effective") or ()), mask(capabilities.get("permitted") or ())
    inheritable, ambient = mask(capabilities.get("inheritable") or ()), mask(capabilities.get("ambient") or ())
    # The kernel holds ambient within permitted and inheritable (capabilities(7)); runc's own default config asks for
    # more, and gets as much.
    drop = ops.Capset("/process/capabilities", effective, permitted, inheritable, ambient & permitted & inheritable)
    load = [ops.Seccomp("/linux/seccomp", *facts.seccomp)] if facts.seccomp else []
    if process.get("noNewPrivileges"):
        steps: list[ops.Op] = [ops.NoNewPrivs("/process/noNewPrivileges"), drop, *load]
    else:
        steps = [*load, drop]
    return [*steps, ops.Execve("/process/args")]
