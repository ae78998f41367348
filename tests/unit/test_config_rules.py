# SPDX-License-Identifier: Apache-2.0
"""The rules beyond the schema, and what is refused because it is not built yet."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pyoci.config import check, default, mounts, normal, rules
from pyoci.errors import SpecError, UnsupportedError
from pyoci.kernel import parameters

Document = dict[str, Any]


def base(*namespaces: str, **linux: Any) -> Document:
    """A small configuration with a mount namespace, further ones, and further properties of linux."""
    kinds = [{"type": each.partition("=")[0], **_path(each)} for each in ("mount", *namespaces)]
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": kinds, **linux},
    }


def _path(namespace: str) -> dict[str, str]:
    _, joined, path = namespace.partition("=")
    return {"path": path} if joined else {}


def mount(destination: str, kind: str = "tmpfs", *options: str) -> Document:
    return {**base(), "mounts": [{"destination": destination, "type": kind, "source": "/x", "options": list(options)}]}


def process(**properties: Any) -> Document:
    document = base()
    document["process"].update(properties)
    return document


def ids(*runs: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in runs]


IDS = ids((0, 100000, 65536))
USER = {"uidMappings": IDS, "gidMappings": IDS}
FAULTS: list[tuple[str, Document]] = [
    ("/linux/namespaces/2/type", base("pid", "pid")),
    ("/linux/namespaces/1/type", base("mount")),
    ("/linux/namespaces", {**base(), "linux": {}}),
    ("/linux/namespaces", {key: value for key, value in base().items() if key != "linux"}),
    ("/hostname", {**base(), "hostname": "box"}),
    ("/domainname", {**base("ipc"), "domainname": "box"}),
    ("/linux/uidMappings", base(uidMappings=IDS)),
    ("/linux/gidMappings", base(gidMappings=IDS)),
    ("/linux/uidMappings", base("user")),
    ("/linux/gidMappings", base("user", uidMappings=IDS)),
    ("/linux/uidMappings", base("user", uidMappings=ids(*[(n, n, 1) for n in range(341)]), gidMappings=IDS)),
    ("/linux/uidMappings/1/containerID", base("user", uidMappings=ids((0, 0, 10), (9, 50, 1)), gidMappings=IDS)),
    ("/linux/gidMappings/1/hostID", base("user", uidMappings=IDS, gidMappings=ids((0, 0, 10), (50, 5, 9)))),
    ("/linux/uidMappings/0/size", base("user", uidMappings=ids((1, 0, 4294967295)), gidMappings=IDS)),
    ("/linux/timeOffsets", base(timeOffsets={"monotonic": {"secs": 1}})),
    ("/linux/timeOffsets", base("time=/proc/1/ns/time", timeOffsets={"monotonic": {"secs": 1}})),
    ("/linux/sysctl/net.ipv4.ip_forward", base("ipc", sysctl={"net.ipv4.ip_forward": "1"})),
    ("/linux/sysctl/net~1ipv4~1ip_forward", base(sysctl={"net/ipv4/ip_forward": "1"})),
    ("/linux/sysctl/kernel.msgmax", base("network", sysctl={"kernel.msgmax": "1"})),
    ("/linux/sysctl/kernel.sem", base(sysctl={"kernel.sem": "1"})),
    ("/linux/sysctl/kernel.shmmax", base("uts", sysctl={"kernel.shmmax": "1"})),
    ("/linux/sysctl/fs.mqueue.msg_max", base("uts", sysctl={"fs.mqueue.msg_max": "1"})),
    ("/linux/sysctl/kernel.domainname", base(sysctl={"kernel.domainname": "x"})),
    ("/linux/sysctl/kernel.hostname", base("uts", sysctl={"kernel.hostname": "x"})),
    ("/linux/sysctl/user.max_user_namespaces", base(sysctl={"user.max_user_namespaces": "1"})),
    ("/linux/sysctl/kernel.core_pattern", base("ipc", "uts", "network", sysctl={"kernel.core_pattern": "x"})),
    ("/linux/sysctl/kernel.shm_next_id", base("ipc", sysctl={"kernel.shm_next_id": "1"})),
    ("/linux/sysctl/vm.swappiness", base("ipc", sysctl={"vm.swappiness": "1"})),
    ("/linux/sysctl/network.x", base("network", sysctl={"network.x": "1"})),
    ("/mounts/0/destination", mount("/proc")),
    ("/mounts/0/destination", mount("proc")),
    ("/mounts/0/destination", mount("//tmp/../proc/")),
    ("/mounts/0/destination", mount("/proc/self/attr", "bind", "bind")),
    ("/mounts/0/destination", mount("/proc/self", "none", "rbind")),
    ("/mounts/0/destination", mount("/proc/./sys", "proc")),
    ("/mounts/0/destination", mount("/proc/cpuinfo/x", "bind", "bind")),
    ("/mounts/0/destination", mount("/proc/net/dev", "bind", "bind")),
    ("/mounts/0/source", {**base(), "mounts": [{"destination": "/x", "type": "bind"}]}),
    ("/mounts/0/type", {**base(), "mounts": [{"destination": "/x", "source": "/y"}]}),
    ("/mounts/0/options", mount("/x", "bind", "ro", "nosiud")),
    ("/linux/seccomp/defaultErrnoRet", base(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1})),
    ("/linux/seccomp/defaultErrnoRet", base(seccomp={"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095})),
    (
        "/linux/seccomp/syscalls/0/errnoRet",
        base(
            seccomp={
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1}],
            }
        ),
    ),
    ("/process/args", process(args=[])),
    ("/process/user/additionalGids", process(user={"uid": 0, "additionalGids": [7] * 65537})),
    ("/process/rlimits/1/type", process(rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2)),
    ("/process/rlimits/0/soft", process(rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}])),
    ("/process/consoleSize/width", process(terminal=True, consoleSize={"height": 1, "width": 65536})),
    ("/process/scheduler/priority", process(scheduler={"policy": "SCHED_OTHER", "priority": 1})),
    ("/process/scheduler/runtime", process(scheduler={"policy": "SCHED_FIFO", "runtime": 1})),
]
FINE: list[Document] = [
    base("pid", "network", "ipc", "uts", "cgroup", "time"),
    base("user", **USER),
    base("user=/proc/1/ns/user"),
    base("user=/proc/1/ns/user", **USER),
    base("user", uidMappings=ids((0, 1000, 1), (1, 100000, 65536)), gidMappings=IDS),
    base("time", timeOffsets={"monotonic": {"secs": -1, "nanosecs": 5}}),
    base(timeOffsets={}),
    base("network", sysctl={"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/mtu": "1"}),
    base("network=/run/netns/a", sysctl={"net.core.somaxconn": "1"}),
    base("ipc", sysctl={"kernel.sem": "1 2", "kernel.shm_rmid_forced": "1", "fs/mqueue/msg_max": "1"}),
    base("uts", sysctl={"kernel.domainname": "x"}),
    base("user", **USER, sysctl={"user.max_user_namespaces": "1"}),
    {**base("uts"), "hostname": "box", "domainname": "x"},
    {**base(), "hostname": ""},
    mount("/proc", "proc"),
    mount("/proc", "none", "rbind"),
    mount("/proc", "bind"),
    mount("/proc", "none", "remount", "ro"),
    mount("/proc/cpuinfo", "bind", "bind", "ro"),
    mount("/proc/sys/kernel/ns_last_pid", "bind", "bind"),
    mount("/process"),
    mount("/srv/proc"),
    mount("data/relative"),
    base(cgroupsPath="a..b/c"),
    base(cgroupsPath="machine.slice:box:one"),
    base(seccomp={"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65535}),
    process(consoleSize={"height": 1, "width": 70000}),
    process(scheduler={"policy": "SCHED_RR", "priority": 5}),
    process(scheduler={"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}),
    process(capabilities={"bounding": ["CAP_UNKNOWN", "unknown"]}),
]


@pytest.mark.parametrize(("pointer", "document"), FAULTS, ids=lambda each: each if isinstance(each, str) else "")
def test_refused(pointer: str, document: Document) -> None:
    with pytest.raises(SpecError) as caught:
        check.config(document)
    assert not isinstance(caught.value, UnsupportedError)
    assert caught.value.pointer == pointer
    line = str(caught.value)
    assert line.startswith(f"config.json: {pointer}: ")
    assert ";" in line, "a remedy is named"
    assert "\n" not in line


@pytest.mark.parametrize("document", FINE)
def test_accepted(document: Document) -> None:
    before = copy.deepcopy(document)
    check.config(document)
    assert document == before


def test_every_rule_is_met() -> None:
    """Each rule refuses one of FAULTS by itself: none is dead."""
    configs = [normal.ContainerConfig(document, "config.json") for _, document in FAULTS]
    for rule in rules.CONFIG_RULES:
        assert any(rule(each) for each in configs), rule.__name__
    for rule in rules.PROCESS_RULES:
        assert any(rule(each.process) for each in configs), rule.__name__


def test_a_container_needs_a_process() -> None:
    document = base()
    del document["process"]
    with pytest.raises(SpecError, match="^config.json: /process: missing"):
        check.config(document)
    with pytest.raises(SpecError, match="^process: /args: missing"):
        check.process({"cwd": "/"})


@pytest.mark.parametrize(
    ("name", "path", "namespace"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/mtu", "net/ipv4/conf/eth0.1/mtu", "network"),
        ("net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu", "network"),
        ("kernel.sem", "kernel/sem", "ipc"),
        ("kernel/domainname", "kernel/domainname", "uts"),
        ("user.max_net_namespaces", "user/max_net_namespaces", "user"),
        ("kernel.panic", "kernel/panic", ""),
        ("net", "", ""),
        ("net..x", "", ""),
        ("net./.x", "", ""),
        ("net.//.x", "", ""),
        ("/net/x", "", ""),
        ("", "", ""),
    ],
)
def test_kernel_parameters(name: str, path: str, namespace: str) -> None:
    assert parameters.path(name) == path
    assert parameters.namespace(path) == namespace


@pytest.mark.parametrize(
    ("destination", "path"),
    [("/a", "/a"), ("a", "/a"), ("//a", "/a"), ("/a/../b", "/b"), ("../../b", "/b"), ("/", "/"), ("a/.//b/", "/a/b")],
)
def test_destinations(destination: str, path: str) -> None:
    assert mounts.MountConfig({"destination": destination}, "/mounts/0").target == path


def notify(**seccomp: Any) -> Document:
    return base(seccomp={"defaultAction": "SCMP_ACT_ALLOW", **seccomp})


def resources(**limits: Any) -> Document:
    return base(resources=limits)


UNSUPPORTED: list[tuple[str, Document]] = [
    ("/process/apparmorProfile", process(apparmorProfile="a")),
    ("/process/selinuxLabel", process(selinuxLabel="a")),
    ("/process/execCPUAffinity", process(execCPUAffinity={"initial": "0"})),
    ("/linux/mountLabel", base(mountLabel="a")),
    ("/linux/intelRdt", base(intelRdt={})),
    ("/linux/netDevices", base("network", netDevices={"eth0": {}})),
    ("/linux/memoryPolicy", base(memoryPolicy={"mode": "MPOL_LOCAL"})),
    ("/linux/personality/flags", base(personality={"domain": "LINUX", "flags": ["X"]})),
    ("/linux/resources/blockIO", resources(blockIO={"weight": 10})),
    ("/linux/resources/network", resources(network={"classID": 1})),
    ("/linux/resources/rdma", resources(rdma={"mlx": {"hcaHandles": 0}})),
    ("/linux/seccomp/defaultAction", notify(defaultAction="SCMP_ACT_NOTIFY", listenerPath="/x")),
    ("/linux/seccomp/syscalls/0/action", notify(syscalls=[{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}])),
    ("/mounts/0/uidMappings", {**base(), "mounts": [{"destination": "/x", "uidMappings": IDS, "gidMappings": IDS}]}),
    *(
        ("/mounts/0/options/1", mount("/x", "tmpfs", "ro", option))
        for option in (
            "idmap",
            "ridmap",
            "idmap=uids=0-1-1",
            "copy-symlink",
            "src-nofollow",
            "dest-nofollow",
        )
    ),
]
ASK_FOR_NOTHING: list[Document] = [
    process(apparmorProfile="", selinuxLabel="", execCPUAffinity={"initial": ""}),
    base(mountLabel="", netDevices={}, personality={"domain": "LINUX", "flags": []}),
    resources(blockIO={"weight": 0, "weightDevice": []}, hugepageLimits=[], network={"classID": 0}, rdma={}),
    resources(blockIO={}, network={}),
    notify(listenerPath="", listenerMetadata=""),
    notify(listenerPath="/run/agent.sock", listenerMetadata="x", flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
    {**base(), "mounts": [{"destination": "/x", "type": "tmpfs", "uidMappings": [], "gidMappings": []}]},
]


@pytest.mark.parametrize(("pointer", "document"), UNSUPPORTED, ids=lambda each: each if isinstance(each, str) else "")
def test_refused_by_name(pointer: str, document: Document) -> None:
    with pytest.raises(UnsupportedError) as caught:
        check.config(document)
    assert caught.value.pointer == pointer
    assert "not supported yet" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("document", ASK_FOR_NOTHING)
def test_zero_values_count_as_absent(document: Document) -> None:
    check.config(document)


def test_default_is_accepted() -> None:
    check.config(default.config())
    check.config(default.config(rootless=True))
