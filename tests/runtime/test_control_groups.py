# SPDX-License-Identifier: Apache-2.0
"""Where a container's processes are, who may change that, and how it ends. What limits do: test_resources.py."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import callers, host, inspection, leaks
from harness.bundle import Bundle
from harness.runtime import Container, Runtime, wait_until

everywhere = pytest.mark.usefixtures("cgroups")  # with the control groups of the host, and with v2 alone


def places(name: str) -> list[Path]:
    """The directories of a group in all hierarchies, as far as they exist."""
    return [path for each in host.controllers() if (path := host.CGROUP_ROOT / each / name.lstrip("/")).is_dir()]


def own_path(pid: int) -> set[str]:
    """The paths of a process in the hierarchies that are mounted."""
    names = {"" if name in (".", "unified") else name for name in host.controllers()}
    found = inspection.cgroups(pid)
    return {path for key, path in found.items() for name in key.split(",") if name.removeprefix("name=") in names}


def writable(bundle: Bundle) -> Bundle:
    """With a cgroup namespace and its file system, which is not read-only."""
    mount = next(mount for mount in bundle.mounts if mount["destination"] == "/sys/fs/cgroup")
    mount["options"] = [option for option in mount["options"] if option != "ro"]
    return bundle.namespace("cgroup")


@everywhere
def test_path(runtime: Runtime) -> None:
    """In each hierarchy; on a hybrid host in that of v2 too, where systemd looks."""
    container = runtime.start(runtime.bundle())
    assert own_path(container.pid) == {f"/{container.id}"}
    assert len(places(container.id)) == len(host.controllers())
    container.end()
    container.delete()
    assert places(container.id) == []


@everywhere
def test_nested_path(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["cgroupsPath"] = f"/{bundle.name}-parent/inner/leaf"
    container = runtime.start(bundle)
    assert own_path(container.pid) == {f"/{bundle.name}-parent/inner/leaf"}
    container.end()
    container.delete()
    assert places(f"{bundle.name}-parent/inner/leaf") == []
    for path in (f"{bundle.name}-parent/inner", f"{bundle.name}-parent"):  # engines make and remove the parents
        for place in places(path):
            place.rmdir()


@everywhere
def test_without_a_path(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    del bundle.linux["cgroupsPath"]
    container = runtime.start(bundle)
    assert all(path.rpartition("/")[2].startswith(container.id) for path in own_path(container.pid))


@everywhere
def test_group_is_final_when_create_returns(runtime: Runtime) -> None:
    """Engines read statistics through init's PID from then on."""
    container = runtime.create(runtime.bundle())
    before = inspection.cgroups(container.pid)
    container.start()
    assert inspection.cgroups(container.pid) == before
    assert [place.joinpath("cgroup.procs").read_text().split() for place in places(container.id)] == [
        [str(container.pid)] for _ in host.controllers()
    ]


@everywhere
def test_exec_is_in_the_group(runtime: Runtime) -> None:
    container = runtime.start(runtime.bundle().namespace("cgroup"))
    pid = executed(container)
    assert inspection.cgroups(pid) == inspection.cgroups(container.pid)


def executed(container: Container) -> int:
    """A detached process in a container; its PID."""
    path = container.runtime.tmp / "exec.pid"
    result = container.exec("/bin/sleep", "100", flags=["--detach", "--pid-file", path])
    assert result.code == 0, result
    return int(path.read_text())


@everywhere
def test_group_in_use_is_not_taken(runtime: Runtime) -> None:
    """Two containers in one cgroup: deleting the second must not end the first."""
    first = runtime.start(runtime.bundle())
    second = runtime.bundle().save()
    second.linux["cgroupsPath"] = first.bundle.linux["cgroupsPath"]
    second.save()
    handle = runtime.container(second)
    runtime.call("create", "--bundle", second.path, handle.id)
    runtime.ok("delete", "--force", handle.id)
    assert inspection.alive(first.pid), "another container's process was killed"


@everywhere
def test_children_of_a_dead_init_are_killed(runtime: Runtime) -> None:
    """Without a PID namespace, what the first process left behind is known by the cgroup alone."""
    bundle = runtime.bundle().drop_namespace("pid").sh("setsid sleep 100 & echo up; exec sleep 0.05")
    container = runtime.start(bundle)
    container.wait()
    runtime.ok("delete", "--force", container.id)
    runtime.assert_clean()


@everywhere
def test_kill_reaches_what_a_dead_init_left(runtime: Runtime) -> None:
    """The same for SIGKILL by `kill`, as in runc; another signal, or a second time, says that nothing runs."""
    bundle = runtime.bundle().drop_namespace("pid").sh("setsid sleep 100 & echo up; exec sleep 0.05")
    container = runtime.start(bundle)
    container.wait()
    left = [int(pid) for pid in places(container.id)[0].joinpath("cgroup.procs").read_text().split()]
    assert len(left) == 1
    assert "not running" in runtime.fails("kill", container.id, "TERM")
    assert inspection.alive(left[0])
    runtime.ok("kill", container.id, "KILL")
    wait_until(lambda: not inspection.alive(left[0]), "the end of what init left")
    assert "not running" in runtime.fails("kill", container.id, "KILL")


# --- frozen from above -----------------------------------------------------------------------------------------------


class Freezer:
    """A group above containers, which can be frozen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.made = [host.CGROUP_ROOT / each / name for each in host.controllers()]
        for place in self.made:
            place.mkdir()
        for file in () if host.unified() else ("cpuset.cpus", "cpuset.mems"):
            for place in self.made:
                if (place / file).exists() and not (place / file).read_text().strip():
                    (place / file).write_text((place.parent / file).read_text())

    def freeze(self, frozen: bool) -> None:
        """Freezes, and waits until it is so; or thaws."""
        v1 = host.CGROUP_ROOT / "freezer" / self.name / "freezer.state"
        if v1.exists():
            v1.write_text("FROZEN" if frozen else "THAWED")
            wait_until(lambda: v1.read_text().strip() == ("FROZEN" if frozen else "THAWED"), "the freezer")
        else:
            (self.made[0] / "cgroup.freeze").write_text(str(int(frozen)))

    def end(self) -> None:
        """Thaws, ends what a runtime left there, and removes the groups."""
        self.freeze(False)
        below = [file for place in self.made for file in place.rglob("cgroup.procs")]
        for pid in {int(pid) for file in below for pid in file.read_text().split()}:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not inspection.alive(pid), "the end of what a runtime left")
        leaks.control_groups(self.name)


@pytest.fixture
def above(runtime: Runtime) -> Iterator[Freezer]:
    made = Freezer(f"above-{runtime.prefix[2:]}")
    yield made
    made.end()


@everywhere
def test_create_below_a_frozen_group(runtime: Runtime, above: Freezer) -> None:
    """Init would stand still for ever as soon as it is in."""
    above.freeze(True)
    bundle = runtime.bundle().save()
    bundle.linux["cgroupsPath"] = f"/{above.name}/leaf"
    bundle.save()
    error = runtime.fails("create", "--bundle", bundle.path, runtime.container(bundle).id)
    assert "frozen" in error
    if runtime.kind == "pyoci":
        assert error.endswith("one above it is frozen; thaw that, or use another cgroupsPath\n")
    assert [list(place.glob("*/")) for place in above.made] == [[] for _ in above.made]
    assert not (runtime.root / bundle.name).exists()


@everywhere
@pytest.mark.parametrize("pid_namespace", [True, False])
def test_delete_below_a_frozen_group(runtime: Runtime, above: Freezer, pid_namespace: bool) -> None:
    """In v1 not even SIGKILL ends a frozen process."""
    bundle = runtime.bundle().sh("sleep 100 & sleep 100")
    if not pid_namespace:
        bundle.drop_namespace("pid")
    bundle.linux["cgroupsPath"] = f"/{above.name}/leaf"
    container = runtime.start(bundle)
    above.freeze(True)
    runtime.ok("delete", "--force", container.id)
    assert not inspection.alive(container.pid)
    assert [list(place.glob("*/")) for place in above.made] == [[] for _ in above.made]


# --- callers and hosts that are not as usual -------------------------------------------------------------------------


def test_hierarchies_of_a_container_are_not_the_hosts(runtime: Runtime) -> None:
    """The root file system of another container is mounted on the host too. With /sys gone, its cgroups are the only
    ones that mountinfo has."""
    other = runtime.tmp / "other/rootfs/sys/fs/cgroup/pids"
    other.mkdir(parents=True)
    bundle = runtime.bundle().save()
    with host.private_mounts():
        if host.unified():
            subprocess.run(["mount", "-t", "cgroup2", "cgroup2", other], check=True)
        else:
            subprocess.run(["mount", "-t", "cgroup", "-o", "pids", "cgroup", other], check=True)
        subprocess.run(["umount", "--recursive", "--lazy", "/sys"], check=True)
        result = runtime.call("create", "--bundle", bundle.path, runtime.container(bundle).id)
        made = (other / bundle.name).exists()
        runtime.call("delete", "--force", bundle.name)
        subprocess.run(["umount", other], check=True)
    assert not made
    assert result.code == 1, result
    if runtime.kind == "pyoci":
        assert "no cgroup hierarchy mounted at /sys/fs/cgroup" in result.err


@everywhere
def test_another_user_is_told_what_to_do(runtime: Runtime) -> None:
    if subprocess.run(
        [*callers.user(65534), runtime.command, "--version"], capture_output=True, check=False
    ).returncode:
        pytest.skip("other users cannot read the directory of the runtime")
    bundle = runtime.bundle().save()
    root = runtime.tmp / "nobody"
    root.mkdir()
    os.chown(root, 65534, 65534)
    words = ["--root", root, "create", "--bundle", bundle.path, bundle.name]
    error = runtime.fails(*words, bare=True, caller=callers.user(65534))
    if runtime.kind == "pyoci":
        assert error.endswith("(EACCES); run pyoci as root, or with --cgroup-manager disabled\n")
    assert list(root.iterdir()) == []


@everywhere
def test_a_caller_that_may_not_poll(runtime: Runtime) -> None:
    """A seccomp filter of the caller's denies poll(2), which a create that fails needs to undo what it did."""
    bundle = runtime.bundle()
    bundle.hook("createRuntime", "exit 3")
    bundle.save()
    words = ["create", "--bundle", bundle.path, runtime.container(bundle).id]
    runtime.fails(*words, caller=callers.denied("poll", "ppoll"))
    runtime.assert_clean()


@everywhere
def test_thirty_thousand_device_rules(runtime: Runtime) -> None:
    """Half of them take away what the others add. Neither their number nor how they meet makes create hang."""
    bundle = runtime.bundle()
    rules = bundle.linux["resources"]["devices"]
    for number in range(30000):
        major, minor = 1000 + number % 15000 // 100, number % 100 * 2
        rules.append({"allow": number < 15000, "type": "c", "major": major, "minor": minor, "access": "rw"})
    rules.append({"allow": True, "type": "c", "major": 240, "minor": 1, "access": "r"})
    numbers = {"allowed": (240, 1), "denied": (1003, 4)}
    bundle.linux["devices"] = [
        {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor}
        for name, (major, minor) in numbers.items()
    ]
    container = runtime.start(bundle)
    denied = container.exec("/bin/cat", "/dev/denied").err
    allowed = container.exec("/bin/cat", "/dev/allowed").err
    assert "not permitted" in denied
    assert "No such device or address" in allowed, "it has no driver"


# --- huge pages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hugetlb() -> Iterator[None]:
    """The hierarchy of v1 for huge pages, or the controller of v2. Tests with it come last (plugin.py)."""
    with host.every_hierarchy():
        yield


@pytest.mark.parametrize("limit", [0, 4 << 20])
def test_limit_of_huge_pages(runtime: Runtime, hugetlb: None, limit: int) -> None:
    """A kubelet sends 0 for each size that the node has, where a container asks for none."""
    sizes = [path.name.removeprefix("hugepages-") for path in Path("/sys/kernel/mm/hugepages").iterdir()]
    if "2048kB" not in sizes:
        pytest.skip(f"the kernel has huge pages of {sizes}")
    bundle = runtime.bundle()
    bundle.linux["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": limit}]
    container = runtime.start(bundle)
    below = "" if host.unified() else "hugetlb"
    names = ("max", "rsvd.max") if host.unified() else ("limit_in_bytes", "rsvd.limit_in_bytes")
    group = host.CGROUP_ROOT / below / container.id
    assert [(group / f"hugetlb.2MB.{name}").read_text() for name in names] == [f"{limit}\n"] * 2


def test_no_huge_pages_where_the_host_cannot_limit_them(runtime: Runtime) -> None:
    if host.has_controller("hugetlb"):
        pytest.skip("the host can limit huge pages")
    bundle = runtime.bundle()
    bundle.linux["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": 0}]
    runtime.start(bundle)
    bundle = runtime.bundle()
    bundle.linux["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": 2 << 20}]
    bundle.save()
    error = runtime.fails("create", "--bundle", bundle.path, runtime.container(bundle).id)
    if runtime.kind == "pyoci":
        assert "/linux/resources/hugepageLimits/0/limit: the hugetlb controller is not" in error


# --- delegation, which is v2's ---------------------------------------------------------------------------------------


def test_all_controllers_are_handed_down(cgroup_v2: None, runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.linux["cgroupsPath"] = f"/{bundle.name}/inner/leaf"
    runtime.start(bundle)
    expected = (host.CGROUP_ROOT / "cgroup.controllers").read_text()
    if not expected.strip():
        pytest.skip("all controllers of this host are in use by v1")
    assert (host.CGROUP_ROOT / bundle.name / "inner/leaf/cgroup.controllers").read_text() == expected
    runtime.ok("delete", "--force", bundle.name)
    for path in (f"{bundle.name}/inner", bundle.name):
        (host.CGROUP_ROOT / path).rmdir()


def test_the_group_is_given_to_root_of_a_user_namespace(cgroup_v2: None, runtime: Runtime) -> None:
    """It may make groups of its own and move processes; its limits stay the host's (config-linux.md)."""
    script = "mkdir /sys/fs/cgroup/own && echo 0 > /sys/fs/cgroup/own/cgroup.procs && cat /proc/self/cgroup"
    container = runtime.start(writable(runtime.bundle().map_users(100000)))
    group = host.CGROUP_ROOT / container.id
    listed = set(Path("/sys/kernel/cgroup/delegate").read_text().split())
    for path in [group, *group.iterdir()]:
        expected = 100000 if path == group or path.name in listed else 0
        assert path.stat().st_uid == expected, path
    assert "0::/own" in container.sh(script).splitlines()


@pytest.mark.parametrize("why", ["read-only", "no cgroup namespace", "no user namespace"])
def test_the_group_stays_the_hosts(cgroup_v2: None, runtime: Runtime, why: str) -> None:
    bundle = runtime.bundle() if why == "no user namespace" else runtime.bundle().map_users(100000)
    writable(bundle)
    if why == "no cgroup namespace":
        bundle.drop_namespace("cgroup")
    elif why == "read-only":
        bundle.mounts[-1]["options"].append("ro")
    container = runtime.start(bundle)
    group = host.CGROUP_ROOT / container.id
    assert {path.stat().st_uid for path in [group, *group.iterdir()]} == {0}


def test_exec_into_a_container_that_has_handed_its_processes_down(cgroup_v2: None, runtime: Runtime) -> None:
    """As systemd does, or an engine in a container: a group with controllers for those below it takes no process, so
    exec joins init where that is (cgroup-v2.rst, "No Internal Process Constraint")."""
    if not host.has_controller("hugetlb") and not host.has_controller("memory"):
        pytest.skip("all controllers of this host are in use by v1")
    script = """
    mkdir /sys/fs/cgroup/init.scope /sys/fs/cgroup/other
    echo 1 > /sys/fs/cgroup/init.scope/cgroup.procs
    for name in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$name" > /sys/fs/cgroup/cgroup.subtree_control; done
    cat /sys/fs/cgroup/cgroup.subtree_control; echo up; sleep 100
    """
    container = runtime.start(writable(runtime.bundle()).sh(script))
    container.wait_for("up")
    assert container.output != "up\n"
    assert inspection.cgroups(container.pid) == {"": f"/{container.id}/init.scope"}
    assert inspection.cgroups(executed(container))[""] == f"/{container.id}/init.scope"
    assert container.sh("echo hi") == "hi\n"
    container.end()
    container.delete()
    assert not (host.CGROUP_ROOT / container.id).exists()


def test_exec_waits_for_no_frozen_group(cgroup_v2: None, runtime: Runtime) -> None:
    """The container is paused, by whoever may write its group; exec says so."""
    container = runtime.start(runtime.bundle())
    (host.CGROUP_ROOT / container.id / "cgroup.freeze").write_text("1")
    begin = time.monotonic()
    assert "paused" in runtime.fails("exec", container.id, "/bin/true")
    assert time.monotonic() - begin < 5
    runtime.ok("delete", "--force", container.id)
