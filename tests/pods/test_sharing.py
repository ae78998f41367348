# SPDX-License-Identifier: Apache-2.0
"""What the containers of a pod share, and what they do not."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness import inspection
from harness.pods import WAITS, Pods
from harness.runtime import wait_until


def test_namespaces(pods: Pods) -> None:
    with pods.start(pods.container("a"), pods.container("b")) as pod:
        pids = {name: pod.pid(name) for name in ("pause", "a", "b")}
        found = {name: inspection.namespaces(pid) for name, pid in pids.items()}
        host = inspection.namespaces(os.getpid())
        for kind in ("net", "ipc", "uts"):
            assert found["a"][kind] == found["b"][kind] == found["pause"][kind] != host[kind], kind
        for kind in ("mnt", "pid"):
            assert len({found["pause"][kind], found["a"][kind], found["b"][kind], host[kind]}) == 4, kind
        for one in pod.inspect()["containers"]:
            for kind, shown in one["namespaces"].items():
                assert f"{kind}:[{shown['inode']}]" == found[one["name"]][kind]
                assert shown["sandbox"] == (found[one["name"]][kind] == found["pause"][kind])
                assert shown["host"] == (found[one["name"]][kind] == host[kind])


def test_matrix_for_people(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        text = pod.runtime.ok("pod", "inspect", pod.name).out
        lines = [line.split() for line in text.splitlines()]
        (head,) = [words for words in lines if words[:1] == ["NAMESPACES"]]
        assert head[1:] == ["net", "ipc", "uts", "pid", "mnt", "cgroup", "user"]
        pause, a = (inspection.namespaces(pod.pid(name)) for name in ("pause", "a"))
        inode = {kind: text.partition("[")[2][:-1] for kind, text in pause.items()}
        own = {kind: text.partition("[")[2][:-1] for kind, text in a.items()}
        assert ["pause", inode["net"], inode["ipc"], inode["uts"], inode["pid"], inode["mnt"]] in [w[:6] for w in lines]
        shared = ["=", inode["net"], "=", inode["ipc"], "=", inode["uts"], own["pid"], own["mnt"]]
        assert ["a", *shared] in [words[:9] for words in lines]


def test_pid_namespace_on_demand(pods: Pods) -> None:
    with pods.start(pods.container("a"), pods.container("b"), shareProcessNamespace=True) as pod:
        pids = {name: pod.pid(name) for name in ("pause", "a", "b")}
        assert len({inspection.namespaces(pid)["pid"] for pid in pids.values()}) == 1
        assert "/pause" in pod.sh("a", "cat /proc/1/cmdline | tr '\\0' ' '")
        assert pod.stop()["phase"] == "Succeeded"


def test_pause_reaps_orphans(pods: Pods) -> None:
    orphans = "i=0; while [ $i -lt 100 ]; do (sh -c 'exit 0' &) ; i=$((i+1)); done; echo made; " + WAITS
    with pods.start(pods.container("a", orphans), shareProcessNamespace=True) as pod:
        pod.wait_for_log("a", "made")
        states = "cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z' || true"
        wait_until(lambda: pod.sh("a", states).strip() == "0", "no zombie")


def test_a_container_takes_its_processes_along_in_a_shared_pid_namespace(pods: Pods) -> None:
    script = "setsid sleep 987654 & echo up"
    with pods.start(pods.container("a", script), pods.container("b"), shareProcessNamespace=True) as pod:
        wait_until(lambda: pod.member("a")["status"] == "terminated", "the end of a")
        wait_until(lambda: "987654" not in pod.sh("b", "ps"), "the end of its child")


def test_localhost(pods: Pods) -> None:
    server = "mkdir /www; echo the page >/www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /www"
    client = """
        tries=0
        until page=$(wget -q -O - http://localhost:8080/); do
            tries=$((tries+1)); [ $tries -lt 50 ] || exit 1; usleep 100000
        done
        echo "got $page"
    """
    with pods.start(pods.container("server", server), pods.container("client", client)) as pod:
        pod.wait_for_log("client", "got the page")
        assert pod.member("client")["code"] in (0, None)


def test_host_name_and_etc(pods: Pods) -> None:
    script = "hostname; cat /etc/hostname; grep localhost /etc/hosts; echo $HOSTNAME; nc -h >/dev/null 2>&1; exit 0"
    out = pods.output(pods.container("a", script), hostname="somebody")
    assert [line.split("| ")[1] for line in out.splitlines() if "localhost" not in line] == ["somebody"] * 3
    assert "127.0.0.1\tlocalhost" in out


def test_the_host_keeps_its_name(pods: Pods) -> None:
    before = os.uname().nodename
    pods.output(pods.container("a", "hostname"))
    assert os.uname().nodename == before


def volume(**how: Any) -> dict[str, Any]:
    return {"volumeMounts": [{"name": "v", "mountPath": "/v", **how}]}


def test_shared_volume(pods: Pods) -> None:
    init = pods.container("fill", "echo from init >/v/file; ls -ld /v", **volume())
    with pods.start(
        pods.container("a", "echo from a >>/v/file; " + WAITS, **volume()),
        pods.container("b", WAITS, **volume(readOnly=True)),
        initContainers=[init], volumes=[{"name": "v", "emptyDir": {}}],
    ) as pod:  # fmt: skip
        pod.wait_for_log("a", "up")
        assert pod.sh("b", "cat /v/file") == "from init\nfrom a\n"
        assert "Read-only file system" in pod.sh("b", "echo x 2>&1 >/v/file || true")
        assert "drwxrwxrwx" in pod.logs("fill")
        directory = pod.path / "volumes/v"
        assert (directory / "file").read_text() == "from init\nfrom a\n"
        pod.stop()
        assert (directory / "file").exists()


def test_programs_run_where_the_state_root_is_noexec(pods: Pods) -> None:
    """As /run is on many hosts: neither the sandbox nor a program on a volume minds."""
    pods.directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,nosuid,nodev", "tmpfs", pods.directory], check=True)
    try:
        out = pods.output(
            pods.container("a", "/v/echo it runs; echo x >/dev/null", **volume()),
            initContainers=[pods.container("fill", "cp /bin/busybox /v/echo", **volume())],
            volumes=[{"name": "v", "emptyDir": {}}],
        )
    finally:
        subprocess.run(["umount", pods.directory], check=True)
    assert out == "a            | it runs\n"


def test_volume_in_memory(pods: Pods) -> None:
    script = "mount | grep ' /v '; dd if=/dev/zero of=/v/x bs=1M count=2 2>&1; stat -c %s /v/x"
    out = pods.output(
        pods.container("a", script, **volume()),
        volumes=[{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
    )
    assert "tmpfs" in out
    assert "No space left" in out
    assert out.splitlines()[-1].endswith("| 1048576")


def test_group_of_volumes(pods: Pods) -> None:
    out = pods.output(
        pods.container("a", "stat -c '%g %a' /v; echo x >/v/x; stat -c %g /v/x; id -G", **volume()),
        volumes=[{"name": "v", "emptyDir": {}}],
        securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 4242},
    )
    assert [line.split("| ")[1] for line in out.splitlines()] == ["4242 2777", "4242", "1000 4242"]


@pytest.mark.parametrize("kind", ["", "Directory", "DirectoryOrCreate"])
def test_host_directory(pods: Pods, kind: str) -> None:
    host = pods.runtime.tmp / "host"
    if kind != "DirectoryOrCreate":
        host.mkdir()
    spec = {"path": str(host), **({"type": kind} if kind else {})}
    pods.output(pods.container("a", "echo x >/v/x", **volume()), volumes=[{"name": "v", "hostPath": spec}])
    assert (host / "x").read_text() == "x\n"


def test_host_file(pods: Pods) -> None:
    host = pods.runtime.tmp / "file"
    spec = {"path": str(host), "type": "FileOrCreate"}
    pods.output(pods.container("a", "echo x >/v", **volume()), volumes=[{"name": "v", "hostPath": spec}])
    assert host.read_text() == "x\n"


@pytest.mark.parametrize("kind", ["", "File", "Directory"])
def test_host_path_that_is_not_there(pods: Pods, kind: str) -> None:
    spec = {"path": str(pods.runtime.tmp / "nothing"), "type": kind}
    result = pods.run(pods.container("a", **volume()), volumes=[{"name": "v", "hostPath": spec}])
    assert result.code == 1
    assert f"volume v: hostPath {spec['path']}: does not exist" in result.err
    pods.assert_nothing_left()


def test_host_path_of_another_kind(pods: Pods) -> None:
    spec = {"path": str(pods.runtime.tmp), "type": "Socket"}
    result = pods.run(pods.container("a", **volume()), volumes=[{"name": "v", "hostPath": spec}])
    assert "is not a socket, which type Socket asks for" in result.err


def test_propagation(pods: Pods) -> None:
    host = pods.runtime.tmp / "host"
    host.mkdir()
    script = "grep ' /v ' /proc/self/mountinfo"
    for way, shown in (("None", False), ("HostToContainer", True)):
        out = pods.output(
            pods.container("a", script, **volume(mountPropagation=way)),
            volumes=[{"name": "v", "hostPath": {"path": str(host)}}],
        )
        # A slave of a mount that is itself shared has a master; where the host shares nothing there is none to have.
        shared = "shared:" in next(
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == mount_of(host)
        )
        assert ("master:" in out) == (shown and shared)
        assert "shared:" not in out


def mount_of(path: Path) -> str:
    while not os.path.ismount(path):
        path = path.parent
    return str(path)


def test_shared_memory(pods: Pods) -> None:
    with pods.start(pods.container("a"), pods.container("b")) as pod:
        pod.sh("a", "echo in memory >/dev/shm/x")
        assert pod.sh("b", "cat /dev/shm/x") == "in memory\n"


def test_no_container_writes_into_the_image(pods: Pods) -> None:
    def snapshot() -> list[tuple[str, int, int, int]]:
        found = []
        for path in sorted([pods.image, *pods.image.rglob("*")]):
            stat = path.lstat()
            found.append((str(path), stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns))
        return found

    before = snapshot()
    time.sleep(0.01)
    script = "rm /bin/wget; echo x >/etc/passwd; mkdir /new; chmod 700 /tmp; touch /bin/busybox; ls / /bin"
    out = pods.output(pods.container("a", script, **volume()), volumes=[{"name": "v", "emptyDir": {}}])
    assert "new" in out
    assert "wget" not in out
    assert snapshot() == before


def test_root_directory_has_the_image_s_owner_and_mode(pods: Pods) -> None:
    pods.image.chmod(0o751)
    os.chown(pods.image, 1234, 4321)
    assert pods.output(pods.container("a", "stat -c '%a %u %g' /")) == "a            | 751 1234 4321\n"


def test_deep_directories_are_removed(pods: Pods) -> None:
    """A container must not be able to make its pod unremovable."""
    script = """
        way=$(printf 'd/%.0s' $(seq 700))
        for base in /v /; do
            cd $base
            for i in 1 2 3; do mkdir -p ${way}file; ln -s / d/link; cd $way; done
        done
        echo deep
    """
    out = pods.output(pods.container("a", script, **volume()), volumes=[{"name": "v", "emptyDir": {}}])
    assert out == "a            | deep\n"
    pods.assert_nothing_left()


def test_two_pods_of_one_image(pods: Pods) -> None:
    with pods.start(pods.container("a")) as one:
        other = pods.start(pods.container("a"))
        one.sh("a", "echo mine >/file")
        assert other.sh("a", "ls /file 2>&1 || true") == "ls: /file: No such file or directory\n"
        assert inspection.namespaces(one.pid("a"))["net"] != inspection.namespaces(other.pid("a"))["net"]
        other.runtime.ok("pod", "rm", "-f", other.name)
