# SPDX-License-Identifier: Apache-2.0
"""The order of a launch plan: what a container can see comes last, what takes a capability of the host comes first."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.config.normal import ContainerConfig
from pyoci.config.process import ProcessConfig
from pyoci.plan.facts import CgroupEntry, Facts
from pyoci.plan.order import LaunchPlan, create_plan, exec_plan

FILTER = (bytes(16), 0)
LIMITS = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}]
HOOKS: dict[str, Any] = {stage: [{"path": "/h"}] for stage in ("createContainer", "startContainer")}
V1, V2 = CgroupEntry("/c", count=9), CgroupEntry("/c", by_clone=True)


def facts(entry: CgroupEntry, seccomp: bool = False) -> Facts:
    found = Facts()
    found.cgroup = entry
    found.seccomp = FILTER if seccomp else None
    return found


def process(**properties: Any) -> dict[str, Any]:
    return {"args": ["x"], "cwd": "/", "rlimits": LIMITS, **properties}


def created(
    namespaces: dict[str, str], entry: CgroupEntry = V1, seccomp: bool = False, **properties: Any
) -> tuple[LaunchPlan, list[str]]:
    """The plan of ``create`` for namespaces, type → path, and the names of its operations."""
    entries = [{"type": kind, "path": path} if path else {"type": kind} for kind, path in namespaces.items()]
    document: Any = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "hooks": HOOKS,
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "process": process(**properties),
        "linux": {"namespaces": entries},
    }
    plan = create_plan(ContainerConfig(document, "config.json"), facts(entry, seccomp))
    return plan, [op.name for op in plan.operations]


def executed(types: list[str], entry: CgroupEntry = V1, seccomp: bool = False, **properties: Any) -> list[str]:
    body = ProcessConfig(process(**properties), "process")  # type: ignore[arg-type]
    return [op.name for op in exec_plan(body, types, facts(entry, seccomp)).operations]


def last(names: list[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name)


@pytest.mark.parametrize("entry", [V1, V2])
@pytest.mark.parametrize("kinds", [{"pid": ""}, {"pid": "/p"}, {"user": "", "pid": ""}])
def test_hard_limits_rise_in_the_user_namespace_of_the_host(kinds: dict[str, str], entry: CgroupEntry) -> None:
    """First of all; what they are to be comes when the process is complete, and takes no capability."""
    _, names = created({"mount": "", **kinds}, entry)
    assert (names[0], names.count("setrlimit")) == ("setrlimit", 2)
    assert last(names, "setrlimit") > names.index("created")
    names = executed(["mount", *kinds], entry)
    assert (names[0], names.count("setrlimit")) == ("setrlimit", 2)
    assert last(names, "setrlimit") > last(names, "sync")


@pytest.mark.parametrize("entry", [V1, V2])
def test_a_member_of_a_joined_pid_namespace_is_cloned_last(entry: CgroupEntry) -> None:
    plan, names = created({"mount": "", "pid": "/p", "network": ""}, entry)
    end = ["capset", "clone3", "setsid", "created", "setrlimit", "hook", "execve"]
    assert names[names.index("close_range") :] == ["close_range", *end]
    assert names.index("close_range") > names.index("pivot_root") > names.index("hook")
    assert names[names.index("close_range") - 1] == "setns"  # of the PID namespace, which takes a capability
    assert plan.late_clones == 1
    assert executed(["mount", "pid"], entry)[-6:] == ["capset", "clone3", "setsid", "sync", "setrlimit", "execve"]


def test_procfs_of_a_joined_pid_namespace_is_mounted_by_who_is_no_member() -> None:
    _, names = created({"mount": "", "pid": "/p"})
    assert names.index("procfs_of") < names.index("mount") < last(names, "setns") < last(names, "clone3")


@pytest.mark.parametrize("namespaces", [{"mount": "", "pid": ""}, {"mount": "", "pid": "/p"}])
def test_filter_is_last_with_no_new_privileges(namespaces: dict[str, str]) -> None:
    """The hook before it loads it for itself."""
    plan, names = created(namespaces, seccomp=True, noNewPrivileges=True)
    assert names[-2:] == ["seccomp", "execve"]
    assert names.index("no_new_privs") < names.index("capset") < names.index("created")
    assert [getattr(op, "filtered", None) for op in plan.operations if op.name == "hook"] == [False, True]
    assert executed(["mount", "pid"], seccomp=True, noNewPrivileges=True)[-2:] == ["seccomp", "execve"]


@pytest.mark.parametrize("namespaces", [{"mount": "", "pid": ""}, {"mount": "", "pid": "/p"}])
def test_filter_without_no_new_privileges_comes_before_the_capabilities_go(namespaces: dict[str, str]) -> None:
    plan, names = created(namespaces, seccomp=True)
    assert names.index("close_range") + 1 == names.index("seccomp") == names.index("capset") - 1
    assert [getattr(op, "filtered", None) for op in plan.operations if op.name == "hook"] == [False, False]
    names = executed(["mount", "pid"], seccomp=True)
    assert names.index("seccomp") < names.index("capset") < last(names, "clone3")


def test_filter_is_last_for_who_may_load_it() -> None:
    sets = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}
    _, names = created({"mount": "", "pid": ""}, seccomp=True, capabilities=sets)
    assert names[-2:] == ["seccomp", "execve"]


def test_joined_namespaces_come_before_a_new_user_namespace() -> None:
    """They belong to its parent (user_namespaces(7))."""
    _, names = created({"mount": "", "pid": "", "user": "", "network": "/n", "ipc": "/i"})
    assert names.index("setns") < last(names, "setns") < names.index("clone3")


def test_joined_user_namespace_after_what_can_be_entered_from_outside() -> None:
    plan, _ = created({"mount": "", "pid": "", "user": "/u", "network": "/n"})
    setns = [op for op in plan.operations if op.name == "setns"]
    paths = [(getattr(op, "path", ""), bool(getattr(op, "deferred", 0))) for op in setns]
    assert paths == [("/n", True), ("/u", False), ("/n", False)]


def test_new_namespaces_of_a_joined_user_namespace_are_made_inside() -> None:
    for entry in (V1, V2):
        plan, names = created({"mount": "", "pid": "", "user": "/u"}, entry)
        made = next(i for i, op in enumerate(plan.operations) if getattr(op, "namespaces", 0) & 0x20000)
        assert made > names.index("become_root") > names.index("setns")


def test_cgroup_is_entered_by_who_may_still_do_so() -> None:
    """On v2 a user of a joined user namespace may not, nor one who has dropped its capabilities."""
    _, names = created({"mount": "", "pid": "", "user": "/u"}, V2)
    assert names.index("clone3") < names.index("setns")
    assert executed(["mount", "pid", "user"], V2)[1:3] == ["clone3", "setns"]
    assert executed(["mount", "pid", "user"], V1)[1:3] == ["enter_cgroup", "setns"]


def test_one_process_where_it_is_enough() -> None:
    assert "clone3" not in created({"mount": "", "network": ""}, V1)[1]
    assert "clone3" not in executed(["mount"], V1)
    plan, names = created({"mount": "", "pid": ""}, V1)
    assert (plan.early_clones, plan.late_clones, names.count("clone3")) == (1, 0, 1)
