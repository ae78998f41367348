# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' way: containerd's CRI plugin makes pods and containers with the runtime, as the kubelet asks for them."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from harness import host, inspection
from harness.cri import Box, Cri, Pod
from harness.plugin import kind
from harness.runtime import wait_until

pytestmark = [
    pytest.mark.skipif(not shutil.which("containerd") or not shutil.which("ctr"), reason="the host has no containerd"),
    pytest.mark.skipif(os.geteuid() != 0, reason="makes real containers: needs root"),
]
SLEEP = ("/bin/sleep", "100")
STATUS = "cat /proc/self/status"


@pytest.fixture(scope="module")
def daemon(busybox: Path) -> Iterator[Cri]:
    kind()
    with host.every_hierarchy():
        made = Cri(busybox)
        yield made
        left = made.close()
    assert not left, f"left behind: {left}"


@pytest.fixture
def cri(daemon: Cri) -> Iterator[Cri]:
    yield daemon
    daemon.remove_all()
    left = daemon.leftovers()
    assert not left, f"left behind: {left}"


@pytest.fixture
def pod(cri: Cri) -> Pod:
    return cri.pod()


def test_version_and_readiness(cri: Cri) -> None:
    version = cri.client.call("Version")
    assert (version.runtime_name, version.runtime_api_version) == ("containerd", "v1")
    assert cri.ready()


def test_run(pod: Pod) -> None:
    assert pod.output("one", "echo hi") == "hi\n"


def test_life_of_a_pod(cri: Cri) -> None:
    pod = cri.pod()
    answer = pod.answer()
    assert (answer.status.metadata.name, answer.status.state) == (pod.config["metadata"]["name"], 0)
    assert answer.status.network.ip == "127.0.0.1"
    assert Path(f"/proc/{pod.pid}/cmdline").read_bytes() == b"/pause\0"
    assert [(one.id, one.state) for one in cri.client.call("ListPodSandbox").items] == [(pod.id, 0)]
    pid = pod.pid
    pod.stop()
    assert pod.answer().status.state == 1
    assert not inspection.alive(pid)
    pod.stop()  # the kubelet says it again until it is sure
    pod.remove()
    assert not cri.client.call("ListPodSandbox").items
    assert cri.leftovers() == []


def test_life_of_a_container(pod: Pod) -> None:
    box = pod.create("one", "/bin/sh", "-c", "exit 7")
    assert box.state() == "CREATED"
    box.start()
    status = box.ended()
    assert (status.exit_code, status.reason) == (7, "Error")
    assert status.started_at and status.finished_at
    found = pod.cri.client.call("ListContainers").containers
    assert [(one.id, one.pod_sandbox_id, one.metadata.name) for one in found] == [(box.id, pod.id, "one")]
    box.call("RemoveContainer")
    assert not pod.cri.client.call("ListContainers").containers


def test_success_is_completed(pod: Pod) -> None:
    status = pod.start("one", "/bin/true").ended()
    assert (status.exit_code, status.reason) == (0, "Completed")


def test_two_containers_share_what_a_pod_shares(pod: Pod) -> None:
    sandbox, host_ones = inspection.namespaces(pod.pid), inspection.namespaces(os.getpid())
    first, second = (inspection.namespaces(pod.start(name, *SLEEP).pid) for name in ("one", "two"))
    for name in ("net", "ipc", "uts"):
        assert sandbox[name] == first[name] == second[name] != host_ones[name], name
    for name in ("pid", "mnt"):
        assert len({sandbox[name], first[name], second[name], host_ones[name]}) == 4, name


def test_containers_talk_over_localhost_and_shared_memory(pod: Pod) -> None:
    server = pod.start("server", "/bin/httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/work")
    client = pod.start("client", *SLEEP)
    server.sh("echo hello >/work/index.html; echo shared >/dev/shm/file")
    wait_until(lambda: client.exec("/bin/wget", "-q", "-O", "-", "http://127.0.0.1:8080").exit_code == 0, "the server")
    assert client.sh("wget -q -O - http://127.0.0.1:8080; cat /dev/shm/file; hostname") == (
        f"hello\nshared\n{pod.config['hostname']}\n"
    )


def test_shared_pid_namespace(cri: Cri) -> None:
    pod = cri.pod(namespace_options={"pid": "POD"})
    first, second = pod.start("one", "/bin/sleep", "101"), pod.start("two", "/bin/sleep", "102")
    seen = second.sh("cat /proc/1/cmdline; ps")
    assert seen.startswith("/pause\0")
    assert "sleep 101" in seen and "sleep 102" in seen
    assert first.stop().exit_code == 137
    assert "sleep 101" not in second.sh("ps")


def test_stop_ends_every_process_of_a_container_in_a_shared_pid_namespace(cri: Cri) -> None:
    """No end of a PID namespace ends them: the shim asks for `kill --all`."""
    pod = cri.pod(namespace_options={"pid": "POD"})
    box, other = pod.start("one", "/bin/sh", "-c", "sleep 201 & sleep 202"), pod.start("two", *SLEEP)
    wait_until(lambda: "sleep 201" in other.sh("ps"), "the second process")
    box.stop()
    wait_until(lambda: "sleep 201" not in other.sh("ps"), "the end of the second process")
    assert other.state() == "RUNNING"


def test_pid_namespace_of_another_container(pod: Pod) -> None:
    """As an ephemeral container looks at the one that it debugs."""
    target = pod.start("one", *SLEEP)
    options = {"pid": "TARGET", "target_id": target.id}
    debugger = pod.start("debugger", *SLEEP, security={"namespace_options": options})
    assert inspection.namespaces(debugger.pid)["pid"] == inspection.namespaces(target.pid)["pid"]
    assert debugger.sh("cat /proc/1/cmdline") == "/bin/sleep\x00100\x00"


def test_namespaces_of_the_node(cri: Cri) -> None:
    options = {"network": "NODE", "pid": "NODE", "ipc": "NODE"}
    pod = cri.pod(namespace_options=options)
    mine, its = (inspection.namespaces(pid) for pid in (os.getpid(), pod.start("one", *SLEEP).pid))
    assert {name for name in mine if mine[name] == its[name]} >= {"net", "pid", "ipc", "uts", "user"}
    assert mine["mnt"] != its["mnt"]


@pytest.fixture
def box(pod: Pod) -> Box:
    """A running container."""
    return pod.start("one", *SLEEP)


def test_exec_sync(box: Box) -> None:
    done = box.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 5)


def test_exec_sync_of_much(box: Box) -> None:
    assert len(box.exec("/bin/sh", "-c", "yes | head -c 1000000").stdout) == 1000000


def test_exec_sync_in_time(box: Box) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        box.exec("/bin/sleep", "50", timeout=1)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "sleep 50" not in box.sh("ps")


def test_exec_sync_of_a_missing_program(box: Box) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        box.exec("nonesuch")
    assert "executable file" in failed.value.details()
    assert box.state() == "RUNNING"


def test_missing_program(pod: Pod) -> None:
    box = pod.create("one", "nonesuch")
    with pytest.raises(grpc.RpcError) as failed:
        box.start()
    assert "executable file" in failed.value.details()
    status = box.status()
    assert (status.exit_code, status.reason) == (128, "StartError")


def test_log(pod: Pod) -> None:
    box = pod.start("one", "/bin/sh", "-c", "echo out; sleep 0.2; echo err >&2; sleep 0.2; printf open")
    box.ended()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)"
    for line, rest in zip(box.log(), ("stdout F out\n", "stderr F err\n", "stdout P open\n"), strict=True):
        assert re.fullmatch(f"{stamp} {rest}", line), line


def test_terminal(pod: Pod) -> None:
    assert "stdout F /dev/pts/0\n" in pod.start("one", "/bin/sh", "-c", "tty; sleep 100", tty=True).wait_for_log()


def test_stop_with_grace(pod: Pod) -> None:
    box = pod.start("one", "/bin/sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    box.wait_for_log()
    assert box.stop(grace=10).exit_code == 3


def test_stop_after_grace(pod: Pod) -> None:
    box = pod.start("one", "/bin/sh", "-c", "trap 'echo heard' TERM; echo ready; while :; do sleep 0.05; done")
    box.wait_for_log()
    status = box.stop(grace=1)
    assert (status.exit_code, "heard" in box.log()[-1]) == (137, True)
    box.stop()  # of a stopped one


def test_stop_of_a_pod_ends_its_containers(pod: Pod) -> None:
    boxes = [pod.start(name, *SLEEP) for name in ("one", "two")]
    pids = [pod.pid, *(box.pid for box in boxes)]
    pod.stop()
    assert not [pid for pid in pids if inspection.alive(pid)]
    assert [box.ended().exit_code for box in boxes] == [137, 137]


@pytest.mark.parametrize("what", ["container", "sandbox"])
def test_a_death_from_outside_is_noticed(pod: Pod, what: str) -> None:
    box = pod.start("one", *SLEEP)
    if what == "container":
        os.kill(box.pid, signal.SIGKILL)
        assert box.ended().exit_code == 137
        assert pod.answer().status.state == 0
    else:
        os.kill(pod.pid, signal.SIGKILL)
        wait_until(lambda: pod.answer().status.state == 1, "the sandbox's end to be noticed")
        assert box.state() == "RUNNING"


def test_seccomp(pod: Pod) -> None:
    default = inspection.parse_status(pod.output("one", STATUS))
    free = inspection.parse_status(pod.output("two", STATUS, security={"seccomp": {"profile_type": "Unconfined"}}))
    assert (default["Seccomp"], free["Seccomp"]) == ("2", "0")
    assert inspection.status(pod.pid)["Seccomp"] == "2"
    refused = "unshare -U true; echo $?"  # the profile's own doing: without CAP_SYS_ADMIN
    assert pod.output("three", f"{refused} 2>/dev/null") != "0\n"
    assert pod.output("four", refused, security={"seccomp": {"profile_type": "Unconfined"}}) == "0\n"


def test_seccomp_profile_of_the_node(pod: Pod) -> None:
    profile = pod.cri.tmp / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":'
        ' [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}]}'
    )
    security = {"seccomp": {"profile_type": "Localhost", "localhost_ref": str(profile)}}
    assert "quota" in pod.output("one", "mkdir /tmp/a 2>&1; true", security=security).lower()


def test_privileged(cri: Cri) -> None:
    pod = cri.pod(privileged=True)
    script = "mount -t tmpfs none /tmp && echo mounted; touch /proc/sys/kernel/hostname && echo written; "
    script += STATUS
    text = pod.output("one", script, security={"privileged": True, "seccomp": {"profile_type": "Unconfined"}})
    assert text.startswith("mounted\nwritten\n")
    status = inspection.parse_status(text)
    assert status["CapEff"] == inspection.status(os.getpid())["CapEff"]
    assert status["Seccomp"] == "0"
    assert "kmsg" in pod.output("two", "ls /dev", security={"privileged": True}).split()  # as all of the node's devices


def test_not_privileged(pod: Pod) -> None:
    script = (
        "for at in 'mount -t tmpfs none /tmp' 'touch /proc/sys/kernel/hostname'; do $at 2>/dev/null || echo $at; done"
    )
    assert pod.output("one", script) == "mount -t tmpfs none /tmp\ntouch /proc/sys/kernel/hostname\n"
    assert "kmsg" not in pod.output("two", "ls /dev").split()


def test_security_context(pod: Pod) -> None:
    security = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 1000},
        "supplemental_groups": [2000],
        "no_new_privs": True,
        "readonly_rootfs": True,
        "capabilities": {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN"]},
        "masked_paths": ["/proc/version"],
        "readonly_paths": ["/proc/sys"],
    }
    script = "id -u; id -G; touch /work/a 2>/dev/null || echo readonly; cat /proc/version; cat /proc/self/status"
    text = pod.output("one", script, security=security)
    assert text.startswith("1000\n1000 2000\nreadonly\nName:"), text
    status = inspection.parse_status(text)
    assert status["NoNewPrivs"] == "1"
    bounding = int(status["CapBnd"], 16)
    assert (bounding >> 12 & 1, bounding & 1) == (1, 0)  # CAP_NET_ADMIN, CAP_CHOWN


def test_config_of_a_container(pod: Pod) -> None:
    volume = pod.cri.tmp / "volume"
    volume.mkdir()
    (volume / "file").write_text("of the node\n")
    text = pod.output(
        "one",
        "echo $A $0 $1; pwd; cat /volume/file; touch /volume/new 2>/dev/null || echo readonly; ls /dev/extra",
        args=["first", "second"],
        envs=[{"key": "A", "value": "1"}],
        working_dir="/tmp",
        mounts=[{"container_path": "/volume", "host_path": str(volume), "readonly": True}],
        devices=[{"container_path": "/dev/extra", "host_path": "/dev/zero", "permissions": "rwm"}],
    )
    shutil.rmtree(volume)
    assert text == "1 first second\n/tmp\nof the node\nreadonly\n/dev/extra\n"


def test_sysctl_of_a_pod(cri: Cri) -> None:
    pod = cri.pod(sysctls={"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"})
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
    assert pod.output("one", script) == "80\n1\n"


def test_resources_and_stats(pod: Pod) -> None:
    box = pod.start("one", *SLEEP, resources={"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512})
    path = next(path for names, path in inspection.cgroups(box.pid).items() if "memory" in names or not names)
    assert path == f"/{pod.cri.parent}/{box.id}"
    if host.unified():
        assert (host.CGROUP_ROOT / path.lstrip("/") / "memory.max").read_text() == f"{64 << 20}\n"
        assert (host.CGROUP_ROOT / path.lstrip("/") / "cpu.weight").read_text() == "59\n"
    else:
        assert (host.CGROUP_ROOT / f"memory{path}/memory.limit_in_bytes").read_text() == f"{64 << 20}\n"
        assert (host.CGROUP_ROOT / f"cpu{path}/cpu.shares").read_text() == "512\n"
    stats = box.call("ContainerStats").stats
    assert stats.cpu.usage_core_nano_seconds.value > 0
    assert 0 < stats.memory.working_set_bytes.value < 64 << 20


def test_update_of_resources(pod: Pod) -> None:
    """As the kubelet resizes a pod in place."""
    box = pod.start("one", *SLEEP, resources={"memory_limit_in_bytes": 64 << 20})
    box.call("UpdateContainerResources", linux={"memory_limit_in_bytes": 48 << 20})
    name = "memory.max" if host.unified() else "memory/memory.limit_in_bytes"
    hierarchy, _, file = name.rpartition("/")
    assert (host.CGROUP_ROOT / hierarchy / pod.cri.parent / box.id / file).read_text() == f"{48 << 20}\n"


def test_out_of_memory_is_told(pod: Pod) -> None:
    box = pod.start("one", "/bin/sh", "-c", "tail /dev/zero", resources={"memory_limit_in_bytes": 16 << 20})
    assert box.ended(20).exit_code == 137
    wait_until(lambda: box.status().reason == "OOMKilled", "the reason")  # an event of its own


def test_restart_of_the_daemon(pod: Pod) -> None:
    """An upgrade of the node's containerd: pods live on."""
    box, cri = pod.start("one", *SLEEP), pod.cri
    pids = pod.pid, box.pid
    cri.restart()
    assert (pod.pid, box.pid) == pids
    assert (pod.answer().status.state, box.state()) == (0, "RUNNING")
    assert box.sh("echo alive") == "alive\n"
    assert box.stop().exit_code == 137


def test_several_pods_at_once(cri: Cri) -> None:
    def whole(number: int) -> str:
        pod = cri.pod()
        text = pod.output("one", f"echo {number}")
        pod.stop()
        pod.remove()
        return text

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(whole, range(6))) == [f"{number}\n" for number in range(6)]
