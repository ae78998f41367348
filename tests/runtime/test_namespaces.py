# SPDX-License-Identifier: Apache-2.0
"""Namespaces: new ones, joined ones, and the caller's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import inspection, programs
from harness.bundle import Bundle
from harness.runtime import REPOSITORY, Container, Runtime

ALL = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup", "user": "user"}
JOINABLE = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "cgroup": "cgroup"}


def sandbox(runtime: Runtime) -> Container:
    """A container whose namespaces peers join; all but the user's are new."""
    return runtime.start(runtime.bundle().namespace("cgroup"))


def peer(runtime: Runtime, owner: Container, *kinds: str) -> Bundle:
    bundle = runtime.bundle()
    if "uts" in kinds:
        del bundle.config["hostname"]
    for kind in kinds:
        bundle.namespace(kind, f"/proc/{owner.pid}/ns/{JOINABLE[kind]}")
    return bundle


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in ("user", "mount")])
def test_new(runtime: Runtime, kind: str) -> None:
    container = runtime.start(runtime.bundle().namespace(kind))
    assert inspection.namespaces(container.pid)[ALL[kind]] != inspection.namespaces(os.getpid())[ALL[kind]]


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "user"])
def test_left_out_is_the_callers(runtime: Runtime, kind: str) -> None:
    bundle = runtime.bundle().drop_namespace(kind)
    if kind == "uts":
        del bundle.config["hostname"]
    if kind == "network":
        bundle.config["mounts"] = [mount for mount in bundle.mounts if mount["type"] != "sysfs"]
    container = runtime.start(bundle)
    assert inspection.namespaces(container.pid)[ALL[kind]] == inspection.namespaces(os.getpid())[ALL[kind]]


def test_first_process_is_pid_1(runtime: Runtime) -> None:
    assert runtime.output(runtime.bundle().sh("echo $$")) == "1\n"


def test_new_network_has_a_loopback_that_is_up(runtime: Runtime) -> None:
    out = runtime.output(runtime.bundle().args("/bin/ip", "-o", "addr"))
    assert "127.0.0.1/8" in out
    assert len({line.split()[1] for line in out.splitlines()} - {"lo"}) == 0


@pytest.mark.parametrize("kind", JOINABLE)
def test_join(runtime: Runtime, kind: str) -> None:
    owner = sandbox(runtime)
    container = runtime.start(peer(runtime, owner, kind))
    mine, theirs = inspection.namespaces(container.pid), inspection.namespaces(owner.pid)
    assert mine[JOINABLE[kind]] == theirs[JOINABLE[kind]]
    assert mine["mnt"] != theirs["mnt"]
    others = set(JOINABLE.values()) - {JOINABLE[kind], "cgroup"}
    assert all(mine[name] != theirs[name] for name in others)


def test_join_what_a_pod_shares(runtime: Runtime) -> None:
    owner = sandbox(runtime)
    kinds = ("network", "ipc", "uts", "pid")
    container = runtime.start(peer(runtime, owner, *kinds))
    mine, theirs = inspection.namespaces(container.pid), inspection.namespaces(owner.pid)
    assert {mine[JOINABLE[kind]] == theirs[JOINABLE[kind]] for kind in kinds} == {True}
    assert container.state()["status"] == "running"
    assert container.sh("readlink /proc/1/exe || true; cat /proc/1/comm").splitlines()[-1] == "sleep"


def test_procfs_of_a_joined_pid_namespace(runtime: Runtime) -> None:
    """It shows the namespace's processes, though init is no member of it when it mounts."""
    owner = sandbox(runtime)
    assert runtime.output(peer(runtime, owner, "pid").args("/bin/cat", "/proc/1/comm")) == "sleep\n"


def test_procfs_of_a_joined_pid_namespace_on_an_older_kernel(runtime: Runtime) -> None:
    """Linux 6.17 is the first that can be told whose procfs is meant; before, a helper is a member for a moment."""
    owner = sandbox(runtime)
    bundle = peer(runtime, owner, "pid").sh("cat /proc/1/comm; exec sleep 100").save()
    container = runtime.container(bundle)
    older = [str(programs.compiled(REPOSITORY / "tests/harness/oldkernel.c"))]
    runtime.ok("create", "--bundle", bundle.path, "--pid-file", bundle.path / "pid", container.id, caller=older)
    container.start()
    inside = owner.sh("ps -o pid,stat,comm")
    assert [line for line in inside.splitlines() if " Z" in line] == []
    assert len([line for line in inside.splitlines() if "sleep" in line or "sh" in line]) >= 2


NEW_USER_WITH = [("network",), ("ipc",), ("uts",), ("network", "ipc", "uts")]


@pytest.mark.parametrize("kinds", NEW_USER_WITH, ids=lambda kinds: "-".join(kinds))
def test_new_user_namespace_with_joined_ones(runtime: Runtime, kinds: tuple[str, ...]) -> None:
    """What is joined belongs to the parent of the new one, as with podman run --userns auto --network container:x."""
    owner = sandbox(runtime)
    bundle = peer(runtime, owner, *kinds).map_users()
    bundle.config["mounts"] = [mount for mount in bundle.mounts if mount["type"] not in ("sysfs", "mqueue")]
    container = runtime.start(bundle)
    mine, theirs = inspection.namespaces(container.pid), inspection.namespaces(owner.pid)
    assert {mine[JOINABLE[kind]] == theirs[JOINABLE[kind]] for kind in kinds} == {True}
    assert mine["user"] != theirs["user"]
    assert inspection.status(container.pid)["Uid"].split() == ["100000"] * 4


@pytest.mark.parametrize("kinds", NEW_USER_WITH, ids=lambda kinds: "-".join(kinds))
def test_joined_user_namespace_with_joined_ones_of_the_host(runtime: Runtime, kinds: tuple[str, ...]) -> None:
    """Those of the user namespace and those of its parent may be joined side by side."""
    users, owner = runtime.start(runtime.bundle().map_users()), sandbox(runtime)
    bundle = peer(runtime, owner, *kinds).map_users().namespace("user", f"/proc/{users.pid}/ns/user")
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    bundle.config["mounts"] = [mount for mount in bundle.mounts if mount["type"] not in ("sysfs", "mqueue")]
    container = runtime.start(bundle)
    mine, theirs = inspection.namespaces(container.pid), inspection.namespaces(owner.pid)
    assert {mine[JOINABLE[kind]] == theirs[JOINABLE[kind]] for kind in kinds} == {True}
    assert mine["user"] == inspection.namespaces(users.pid)["user"]


def test_peers_talk_over_localhost(runtime: Runtime) -> None:
    owner = sandbox(runtime)
    server = peer(runtime, owner, "network").sh("echo hello > /tmp/f; exec httpd -f -p 127.0.0.1:8080 -h /tmp")
    runtime.start(server)
    client = peer(runtime, owner, "network").sh(
        "for i in $(seq 100); do wget -q -O - http://127.0.0.1:8080/f 2>/dev/null && exit; usleep 20000; done; exit 1"
    )
    assert runtime.output(client) == "hello\n"


@pytest.mark.parametrize("kind", [*JOINABLE, "user", "mount"])
def test_join_of_the_wrong_type(runtime: Runtime, kind: str) -> None:
    """The error names the property; setns(2), which would refuse it too, has only `invalid argument` to say."""
    wrong = f"/proc/{os.getpid()}/ns/{'uts' if kind != 'uts' else 'net'}"
    error = runtime.refuses(runtime.bundle().namespace(kind, wrong))
    if runtime.kind == "pyoci":
        assert f"not a {kind} namespace" in error
        assert "config.json: /linux/namespaces/" in error


def test_join_of_a_plain_file(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    (runtime.tmp / "file").touch()
    bundle.namespace("network", str(runtime.tmp / "file"))
    runtime.refuses(bundle)


def test_join_of_a_missing_path(runtime: Runtime) -> None:
    assert "/none/ns" in runtime.refuses(runtime.bundle().namespace("network", "/none/ns"))


def test_path_of_a_dead_process(runtime: Runtime) -> None:
    owner = sandbox(runtime)
    bundle = peer(runtime, owner, "network")
    owner.end()
    runtime.ok("delete", owner.id)
    runtime.refuses(bundle)


@pytest.mark.parametrize("kind", ["network", "pid"])
def test_type_twice(runtime: Runtime, kind: str) -> None:
    bundle = runtime.bundle()
    bundle.linux["namespaces"].append({"type": kind})
    runtime.refuses(bundle)


def test_unknown_type(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["namespaces"].append({"type": "nonesuch"})
    assert "nonesuch" in runtime.refuses(bundle)


def test_shared_pid_namespace_ends_by_the_cgroup(runtime: Runtime) -> None:
    """Without a PID namespace of its own, a container's other processes are known by the cgroup alone."""
    owner = sandbox(runtime)
    container = runtime.start(peer(runtime, owner, "pid").sh("sleep 100 & echo up; sleep 100"))
    container.wait_for("up")
    runtime.ok("kill", "--all", container.id, "KILL")
    container.wait()
    assert inspection.alive(owner.pid)
    container.delete()
    inside = inspection.namespaces(owner.pid)["pid"]
    alive = [pid for pid in inspection.descendants(os.getpid()) if inspection.alive(pid)]
    assert [pid for pid in alive if inspection.namespaces(pid)["pid"] == inside] == [owner.pid]


def test_user_namespace(runtime: Runtime) -> None:
    bundle = runtime.bundle().map_users(100000, 65536)
    container = runtime.start(bundle.sh("id -u; id -g; echo up; sleep 100"))
    container.wait_for("up")
    assert container.output.split() == ["0", "0", "up"]
    assert inspection.status(container.pid)["Uid"].split() == ["100000"] * 4
    assert Path(f"/proc/{container.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert Path(f"/proc/{container.pid}/gid_map").read_text().split() == ["0", "100000", "65536"]
    assert inspection.namespaces(container.pid)["user"] != inspection.namespaces(os.getpid())["user"]


def test_user_namespace_owns_the_others(runtime: Runtime) -> None:
    """Root of the user namespace may configure the network that was made with it."""
    bundle = runtime.bundle().map_users().capabilities("CAP_NET_ADMIN").sh("ip link set lo down && echo ok")
    assert runtime.output(bundle) == "ok\n"


def test_new_namespaces_belong_to_a_joined_user_namespace(runtime: Runtime) -> None:
    """They are made inside of it: made before it is entered, they would be the host's (user_namespaces(7))."""
    owner = runtime.start(runtime.bundle().map_users())
    bundle = runtime.bundle().map_users().namespace("user", f"/proc/{owner.pid}/ns/user").namespace("cgroup")
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    container = runtime.start(bundle)
    expected = inspection.namespaces(owner.pid)["user"]
    assert inspection.namespaces(container.pid)["user"] == expected
    new = [name for kind, name in ALL.items() if kind != "user"]
    found = {name: inspection.owner_of(f"/proc/{container.pid}/ns/{name}") for name in new}
    assert found == dict.fromkeys(new, expected)


def test_user_namespace_and_another_user(runtime: Runtime) -> None:
    bundle = runtime.bundle().map_users().args("/bin/cat", "/proc/self/status")
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7]}
    status = inspection.parse_status(runtime.output(bundle))
    assert status["Uid"].split() == ["1000"] * 4
    assert "7" in status["Groups"].split()


def test_user_namespace_with_exec(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().map_users())
    assert container.sh("id -u; cat /proc/self/uid_map").split() == ["0", "0", "100000", "65536"]


def test_user_namespace_without_mappings(runtime: Runtime) -> None:
    runtime.refuses(runtime.bundle().namespace("user"))


def test_mappings_without_user_namespace(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1}]
    runtime.refuses(bundle)


def test_user_that_is_not_mapped(runtime: Runtime) -> None:
    bundle = runtime.bundle().map_users(100000, 10)
    bundle.process["user"] = {"uid": 1000, "gid": 0}
    runtime.refuses(bundle)


def test_cgroup_namespace(runtime: Runtime) -> None:
    bundle = runtime.bundle().namespace("cgroup").args("/bin/cat", "/proc/self/cgroup")
    paths = {line.split(":", 2)[2] for line in runtime.output(bundle).splitlines() if line.split(":")[1]}
    assert paths <= {"/"} or all(path == "/" for path in paths)


def test_time_namespace(runtime: Runtime) -> None:
    bundle = runtime.bundle().namespace("time").args("/bin/cat", "/proc/self/timens_offsets")
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 3600, "nanosecs": 5}, "monotonic": {"secs": -1}}
    found = {line.split()[0]: line.split()[1:] for line in runtime.output(bundle).splitlines()}
    assert found == {"monotonic": ["-1", "0"], "boottime": ["3600", "5"]}


def test_time_offsets_without_time_namespace(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 3600}}
    runtime.refuses(bundle)


def test_hostname_and_domainname(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("hostname; cat /proc/sys/kernel/domainname")
    bundle.config["hostname"], bundle.config["domainname"] = "a-host", "a-domain"
    assert runtime.output(bundle).split() == ["a-host", "a-domain"]


def test_hostname(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/hostname")
    bundle.config["hostname"] = "h" * 64
    assert runtime.output(bundle) == "h" * 64 + "\n"


def test_hostname_without_uts_namespace(runtime: Runtime) -> None:
    mine = os.uname().nodename
    assert "hostname" in runtime.refuses(runtime.bundle().drop_namespace("uts")).lower()
    assert os.uname().nodename == mine


def test_sysctl(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}
    assert runtime.output(bundle).split() == ["1", "4096"]


@pytest.mark.parametrize("name", ["kernel.pid_max", "vm.swappiness", "net/../kernel/pid_max"])
def test_sysctl_of_the_host(runtime: Runtime, name: str) -> None:
    bundle = runtime.bundle()
    bundle.linux["sysctl"] = {name: "4242"}
    assert name.replace("/", ".").split(".")[-1] in runtime.refuses(bundle)


def test_sysctl_of_a_namespace_that_is_the_hosts(runtime: Runtime) -> None:
    bundle = runtime.bundle().drop_namespace("network")
    bundle.config["mounts"] = [mount for mount in bundle.mounts if mount["type"] != "sysfs"]
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    assert "net.ipv4.ip_forward" in runtime.refuses(bundle)


def test_sysctl_unknown(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["sysctl"] = {"net.nonesuch": "1"}
    assert "nonesuch" in runtime.refuses(bundle)
