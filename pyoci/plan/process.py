# SPDX-License-Identifier: Apache-2.0
"""``process`` of config.json, or of an exec, as operations (runtime-spec, config.md "Process")."""

from __future__ import annotations

from pyoci.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyoci.plan.facts import Facts

CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
CAPABILITY_BITS = {"CAP_" + name: 1 << number for number, name in enumerate(CAPABILITIES)}
RLIMITS = (
    *("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING"),
    *("MSGQUEUE", "NICE", "RTPRIO", "RTTIME"),
)
RLIMIT_NUMBERS = {"RLIMIT_" + name: number for number, name in enumerate(RLIMITS)}
SCHEDULERS = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IOPRIO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
DEFAULT_UMASK = 0o022


def capability_mask(names: Iterable[str]) -> int:
    """The bits of these capabilities; names that this kernel generation does not have are left out, as runc does."""
    mask = 0
    for name in names:
        mask |= CAPABILITY_BITS.get(name, 0)
    return mask


def terminal(process: dict[str, Any], facts: Facts, console: int, bind: bool) -> list[ops.Op]:
    """The console, or the ownership of what the caller gave as descriptors 0-2."""
    uid = process["user"].get("uid") or 0
    if not process.get("terminal"):
        return [ops.StdioOwner(uid)]
    size = process.get("consoleSize") or {}
    return [ops.Console(console, size.get("height") or 0, size.get("width") or 0, uid, bind)]


def limits(process: dict[str, Any]) -> list[ops.Op]:
    """Resource limits, scheduling and I/O priority."""
    steps: list[ops.Op] = []
    for index, limit in enumerate(process.get("rlimits") or ()):
        label = limit["type"]
        soft, hard = (ops.signed(limit[key]) for key in ("soft", "hard"))
        steps.append(ops.RLimit(RLIMIT_NUMBERS[label], soft, hard, f"/process/rlimits/{index}", label))
    scheduler = process.get("scheduler")
    if scheduler:
        flags = 0
        for name in scheduler.get("flags") or ():
            flags |= SCHEDULER_FLAGS[name]
        times = [str(scheduler.get(key) or 0) for key in ("runtime", "deadline", "period")]
        num = (SCHEDULERS[scheduler["policy"]], scheduler.get("nice") or 0, scheduler.get("priority") or 0, flags)
        steps.append(ops.Scheduler("/process/scheduler", data=times, num=num))
    priority = process.get("ioPriority")
    if priority:
        value = IOPRIO_CLASSES[priority["class"]] << 13 | (priority.get("priority") or 0)
        steps.append(ops.IoPrio("/process/ioPriority", num=(value,)))
    return steps


def identity(process: dict[str, Any], facts: Facts) -> list[ops.Op]:
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
        ops.Environment("/process/env", data=env),
        ops.Home(uid),
        ops.Cwd(cwd, tolerant=True),
        ops.Bounding(capability_mask(bounding)),
        ops.User(uid, gid, groups, DEFAULT_UMASK if umask is None else umask),
        ops.Cwd(cwd, tolerant=False),
        ops.Program("/process/args", data=list(process["args"])),
    ]


def privileges(process: dict[str, Any], facts: Facts) -> list[ops.Op]:
    """Capabilities, no_new_privs and seccomp, then execve.

    Under no_new_privs the filter is the last thing before execve, so a profile need allow nothing of ours. Without,
    loading it takes CAP_SYS_ADMIN, so it comes before the capabilities are dropped (seccomp(2)).
    """
    capabilities = process.get("capabilities") or {}
    masks = [
        capability_mask(capabilities.get(name) or ()) for name in ("effective", "permitted", "inheritable", "ambient")
    ]
    effective, permitted, inheritable, ambient = masks
    # The kernel holds ambient within permitted and inheritable (capabilities(7)); runc's own default config asks for
    # more, and gets as much.
    drop = ops.Caps(effective, permitted, inheritable, ambient & permitted & inheritable)
    load = [ops.Seccomp(*facts.seccomp)] if facts.seccomp else []
    if process.get("noNewPrivileges"):
        steps: list[ops.Op] = [ops.NoNewPrivs("/process/noNewPrivileges"), drop, *load]
    else:
        steps = [*load, drop]
    return [*steps, ops.Exec("/process/args")]
