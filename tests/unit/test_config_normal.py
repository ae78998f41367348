# SPDX-License-Identifier: Apache-2.0
"""The normalised configuration: each fact as those who act read it. Written by hand, from the specification."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci import report
from pyoci.config import check, mounts, normal
from pyoci.config.mounts import BIND, CGROUP, FILE_SYSTEM, REMOUNT, MountConfig
from pyoci.config.normal import ContainerConfig
from pyoci.config.process import ProcessConfig
from pyoci.errors import SpecError
from pyoci.kernel.mounts import MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, NODEV, NOSUID, RDONLY
from pyoci.kernel.namespaces import NEWNET, NEWNS, NEWPID, NEWUSER


def container(linux: dict[str, Any] | None = None, **properties: Any) -> ContainerConfig:
    document: Any = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"args": ["x"], "cwd": "/"}}
    return ContainerConfig(document | properties | ({"linux": linux} if linux else {}), "config.json")


def process(**properties: Any) -> ProcessConfig:
    document: Any = {"args": ["x"], "cwd": "/", **properties}
    return ProcessConfig(document, "config.json", "/process")


def mount(*options: str, kind: str = "", destination: str = "/x") -> MountConfig:
    return MountConfig({"destination": destination, "type": kind, "options": list(options)}, "/mounts/0")


def test_the_least_configuration() -> None:
    found = container()
    assert (found.root, found.root_readonly, found.hostname, found.domainname) == ("rootfs", False, "", "")
    assert found.annotations == found.hooks == found.time_offsets == found.resources == {}
    assert found.mounts == found.masked == found.readonly == found.sysctl == found.uid_mappings == []
    assert found.propagation == (MS_SLAVE, True)
    assert (found.namespaces.new, found.namespaces.joined, found.namespaces.types) == (0, [], [])
    assert found.seccomp is found.personality is None
    assert sorted(found.devices) == [f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero")]


def test_the_least_process() -> None:
    found = process()
    assert (found.uid, found.gid, found.umask, found.groups) == (0, 0, 0o022, [])
    assert (found.terminal, found.rows, found.columns) == (False, 0, 0)
    assert found.env == {}
    assert found.rlimits == []
    assert found.scheduler is found.io_priority is found.oom_score_adj is None
    assert not found.no_new_privileges
    sets = found.capabilities
    assert sets.bounding == sets.effective == sets.permitted == sets.inheritable == sets.ambient == 0


def test_no_process() -> None:
    with pytest.raises(SpecError, match="^other.json: /process: missing; a container needs a process"):
        ContainerConfig({"ociVersion": "1.3.0", "root": {"path": "/"}}, "other.json")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("a/b", "/a/b"),
        ("//a", "/a"),
        ("/a//b/", "/a/b"),
        ("/a/./b/.", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/.a/..b/c..", "/.a/..b/c.."),
        ("...", "/..."),
    ],
)
def test_clean(given: str, path: str) -> None:
    assert mounts.clean(given) == path


@pytest.mark.parametrize(
    ("kind", "options", "expected", "recursive"),
    [
        ("bind", (), BIND, False),
        ("rbind", (), BIND, True),
        ("none", ("bind",), BIND, False),
        ("none", ("rbind",), BIND, True),
        ("", ("rbind", "bind"), BIND, False),
        ("bind", ("rbind", "ro"), BIND, True),
        ("tmpfs", ("ro",), FILE_SYSTEM, False),
        ("", ("ro",), FILE_SYSTEM, False),
        ("cgroup", (), CGROUP, False),
        ("cgroup2", ("ro",), CGROUP, False),
        ("cgroup", ("bind",), BIND, False),
        ("none", ("remount", "ro"), REMOUNT, False),
        ("none", ("remount", "bind", "ro"), REMOUNT, False),
        ("none", ("bind", "remount", "ro"), REMOUNT, False),
    ],
)
def test_kind_of_a_mount(kind: str, options: tuple[str, ...], expected: str, recursive: bool) -> None:
    found = mount(*options, kind=kind)
    assert (found.kind, found.recursive) == (expected, recursive)


def test_options_of_a_mount() -> None:
    found = mount("ro", "nosuid", "rnodev", "rslave", "size=1m,mode=755", "defaults", "tmpcopyup", kind="tmpfs")
    assert found.attr == (RDONLY | NOSUID, 0)
    assert found.recursive_attr == (NODEV, 0)
    assert (found.propagation, found.propagation_recursive) == (MS_SLAVE, True)
    assert found.data == ["size=1m", "mode=755"]
    assert found.copy_up
    later = mount("ro", "rw", "suid", "nosuid", "rshared", "private")
    assert later.attr == (NOSUID, RDONLY)
    assert (later.propagation, later.propagation_recursive) == (MS_PRIVATE, False)


@pytest.mark.parametrize(
    ("entries", "bound"),
    [
        ([], False),
        ([("/dev", "tmpfs", "")], False),
        ([("/dev", "bind", "")], True),
        ([("/dev", "rbind", "")], True),
        ([("//dev", "none", "bind")], True),
        ([("dev/.", "none", "rbind")], True),
        ([("/dev/pts", "bind", "")], False),
        ([("/dev", "bind", ""), ("/dev", "tmpfs", "")], False),
        ([("/dev", "tmpfs", ""), ("/dev", "bind", "")], True),
        ([("/dev", "bind", ""), ("/dev", "none", "remount")], True),
    ],
)
def test_whether_dev_is_bound(entries: list[tuple[str, str, str]], bound: bool) -> None:
    rows = [{"destination": path, "type": kind, "options": [option]} for path, kind, option in entries]
    found = container(mounts=rows)
    assert found.dev_is_bound is bound
    assert bool(found.devices) is not bound


def test_devices() -> None:
    found = container(
        {
            "devices": [
                {"path": "/dev/null", "type": "c", "major": 9, "minor": 8, "fileMode": 0o100600, "uid": 5},
                {"path": "/dev//fifo", "type": "p"},
                {"path": "/dev/fifo", "type": "p", "gid": 7},
                {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0},
            ]
        }
    ).devices
    null, fifo, disk = found["/dev/null"], found["/dev/fifo"], found["/dev/sda"]
    assert len(found) == 8
    assert (null.kind, null.major, null.minor, null.mode, null.uid, null.gid) == (0o020000, 9, 8, 0o600, 5, 0)
    assert (null.path, null.where) == ("/dev/null", "/linux/devices/0")
    assert (fifo.kind, fifo.major, fifo.minor, fifo.mode, fifo.gid) == (0o010000, 0, 0, 0o666, 7)
    assert fifo.where == "/linux/devices/2"
    assert disk.kind == 0o060000
    assert container().devices["/dev/null"].minor == 3, "the default is as it was"


def test_namespaces() -> None:
    entries = [{"type": "network"}, {"type": "mount", "path": "/m"}, {"type": "pid", "path": ""}]
    found = container({"namespaces": [*entries, {"type": "user", "path": "/u"}]}).namespaces
    assert found.new == NEWNET | NEWPID
    assert [(each.type, each.flag, each.path, each.where) for each in found.joined] == [
        ("user", NEWUSER, "/u", "/linux/namespaces/3"),
        ("mount", NEWNS, "/m", "/linux/namespaces/1"),
    ]
    assert found.types == ["network", "mount", "pid", "user"]
    assert found.joins(NEWUSER) and not found.joins(NEWNET)
    assert found.private(NEWUSER) and found.private(NEWNET)
    assert not found.private(0x04000000)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("", (MS_SLAVE, True)),
        ("private", (MS_PRIVATE, False)),
        ("rprivate", (MS_PRIVATE, True)),
        ("rshared", (MS_SHARED, True)),
        ("slave", (MS_SLAVE, False)),
        ("unbindable", (MS_UNBINDABLE, False)),
        ("runbindable", (MS_UNBINDABLE, True)),
    ],
)
def test_propagation(wish: str, expected: tuple[int, bool]) -> None:
    assert container({"rootfsPropagation": wish}).propagation == expected


def test_paths_once_each() -> None:
    found = container({"maskedPaths": ["/a", "b", "/a/", "/./a", "/c"], "readonlyPaths": ["/a"]})
    assert found.masked == [
        ("/a", "/linux/maskedPaths/0"),
        ("/b", "/linux/maskedPaths/1"),
        ("/c", "/linux/maskedPaths/4"),
    ]
    assert found.readonly == [("/a", "/linux/readonlyPaths/0")]


def test_hooks() -> None:
    hook = {"path": "/bin/true"}
    found = container(hooks={"poststop": [hook], "prestart": [], "createRuntime": [hook, hook], "x-own": [hook]}).hooks
    assert found == {"createRuntime": [hook, hook], "poststop": [hook]}
    assert list(normal.HOOKS) == list(dict.fromkeys(normal.HOOKS))


def test_parameters() -> None:
    (found,) = container({"sysctl": {"net.ipv4.conf.eth0/1.mtu": "1"}}).sysctl
    assert (found.path, found.value) == ("net/ipv4/conf/eth0.1/mtu", "1")
    assert found.where == "/linux/sysctl/net.ipv4.conf.eth0~11.mtu"


def test_personality() -> None:
    assert container({"personality": {"domain": "LINUX"}}).personality == 0
    assert container({"personality": {"domain": "LINUX32"}}).personality == 8


def test_variables() -> None:
    found = process(env=["A=1", "B=x=y", "A=2", "C="])
    assert list(found.env.values()) == ["A=2", "B=x=y", "C="]
    assert "HOME" not in process(env=["HOME=/x", "HOME="]).env
    assert process(env=["HOME=", "HOME=/x"]).env["HOME"] == "HOME=/x"


def test_size_of_a_terminal() -> None:
    size = {"height": 5, "width": 7}
    found = process(terminal=True, consoleSize=size)
    assert (found.rows, found.columns) == (5, 7)
    assert process(consoleSize=size).rows == 0, "ignored without a terminal (config.md)"


def test_capabilities() -> None:
    found = process(
        capabilities={
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NEW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_CHOWN", "CAP_NET_RAW"],
            "ambient": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "kill"],
        }
    ).capabilities
    assert (found.bounding, found.permitted, found.inheritable) == (0b100001, 0b100001, 1 | 1 << 13)
    assert found.effective == 0
    assert found.ambient == 1
    assert list(found.unknown) == ["CAP_NEW", "kill"]
    assert found.not_inheritable == ["CAP_KILL", "CAP_NET_RAW"]


def test_limits_and_scheduling() -> None:
    found = process(
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
        scheduler={"policy": "SCHED_FIFO", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"]},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 4},
        oomScoreAdj=0,
    )
    (limit,) = found.rlimits
    assert (limit.number, limit.soft, limit.hard, limit.where) == (7, 1, 2, "/process/rlimits/0")
    assert found.scheduler
    assert (found.scheduler.policy, found.scheduler.priority, found.scheduler.flags) == (1, 3, 3)
    assert found.io_priority == 2 << 13 | 4
    assert found.oom_score_adj == 0


def test_warnings() -> None:
    told: list[tuple[str, str]] = []
    report.listen(lambda level, text: told.append((level, text)))
    try:
        check.process({"args": ["x"], "cwd": "/", "capabilities": {"ambient": ["CAP_KILL", "CAP_X"]}}, "p.json")
        check.process({"args": ["x"], "cwd": "/", "capabilities": {"bounding": ["CAP_KILL"]}}, "p.json")
    finally:
        report.listen(None)
    assert told == [
        ("warning", "p.json: /capabilities: unknown capabilities are not granted: CAP_X"),
        (
            "warning",
            "p.json: /capabilities/ambient: not granted, because not both permitted and inheritable: CAP_KILL",
        ),
    ]
