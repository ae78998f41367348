# SPDX-License-Identifier: Apache-2.0
"""podman calls the runtime: containers, exec, pods with our pause, exit codes that its users know."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import host, inspection
from harness.console import Terminal
from harness.plugin import kind
from harness.podman import IMAGE, PAUSE_IMAGE, Podman

pytestmark = [
    pytest.mark.skipif(not shutil.which("podman"), reason="the host has no podman"),
    pytest.mark.skipif(os.geteuid() != 0, reason="makes real containers: needs root"),
    pytest.mark.skipif(not PAUSE_IMAGE.exists(), reason="the pause image is not built: run make"),
]


@pytest.fixture(scope="module")
def installation(busybox: Path) -> Iterator[Podman]:
    kind()
    for _ in range(100):
        hidden = host.hidden_hierarchies()
        if not hidden:
            break
        time.sleep(0.1)
    else:
        pytest.skip(f"the host uses {hidden} of cgroup v1 where podman cannot see it (other tests run beside these?)")
    made = Podman(busybox)
    yield made
    left = made.close()
    assert not left, f"left behind: {left}"


@pytest.fixture
def podman(installation: Podman) -> Iterator[Podman]:
    yield installation
    installation.remove_all()


def test_run(podman: Podman) -> None:
    done = podman.run(IMAGE, "/bin/echo", "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code(podman: Podman, code: int) -> None:
    assert podman.run(IMAGE, "/bin/sh", "-c", f"exit {code}").returncode == code


def test_exit_code_125_for_a_bad_option(podman: Podman) -> None:
    assert podman.run("--nonesuch", IMAGE, "/bin/true").returncode == 125


def test_exit_code_126_for_a_file_that_cannot_be_executed(podman: Podman) -> None:
    assert podman.run(IMAGE, "/etc/passwd").returncode == 126


def test_exit_code_127_for_a_missing_program(podman: Podman) -> None:
    done = podman.run(IMAGE, "nonesuch")
    assert done.returncode == 127
    assert "executable file" in done.stderr


def test_create_start_logs_stop_rm(podman: Podman) -> None:
    name = podman.ok(
        "create",
        "--network",
        "none",
        IMAGE,
        "/bin/sh",
        "-c",
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
    ).strip()
    assert json.loads(podman.ok("inspect", name))[0]["State"]["Status"] == "created"
    podman.ok("start", name)
    assert json.loads(podman.ok("inspect", name))[0]["State"]["Running"] is True
    for _ in range(100):
        if podman.ok("logs", name) == "up\n":
            break
        time.sleep(0.05)
    podman.ok("stop", "--time", "5", name)
    assert podman.ok("logs", name) == "up\nbye\n"
    assert json.loads(podman.ok("inspect", name))[0]["State"]["ExitCode"] == 0
    podman.ok("start", name)
    podman.ok("rm", "--force", "--time", "0", name)
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_stop_kills_after_its_time(podman: Podman) -> None:
    name = podman.ok(
        "run", "--detach", "--network", "none", IMAGE, "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"
    )
    podman.ok("stop", "--time", "1", name.strip())
    assert json.loads(podman.ok("inspect", name.strip()))[0]["State"]["ExitCode"] == 137


@pytest.fixture
def running(podman: Podman) -> str:
    """A running container."""
    return podman.ok("run", "--detach", "--network", "none", IMAGE, "/bin/sleep", "100").strip()


def test_exec(podman: Podman, running: str) -> None:
    done = podman.call("exec", running, "/bin/sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (5, "out\n", "err")


def test_exec_with_options(podman: Podman, running: str) -> None:
    out = podman.ok(
        "exec",
        "--user",
        "1000:1000",
        "--workdir",
        "/work",
        "--env",
        "A=1",
        running,
        "/bin/sh",
        "-c",
        "id -u; pwd; echo $A",
    )
    assert out.split() == ["1000", "/work", "1"]


def test_exec_detached(podman: Podman, running: str) -> None:
    podman.ok("exec", "--detach", running, "/bin/sh", "-c", "echo done > /tmp/mark")
    for _ in range(100):
        if podman.call("exec", running, "/bin/cat", "/tmp/mark").stdout == "done\n":
            return
        time.sleep(0.05)
    pytest.fail("the detached process did not run")


@pytest.mark.parametrize(("program", "code"), [("nonesuch", 127), ("/etc/passwd", 126), ("/etc", 126)])
def test_exec_that_fails(podman: Podman, running: str, program: str, code: int) -> None:
    assert podman.call("exec", running, program).returncode == code


def test_exec_in_a_stopped_container(podman: Podman, running: str) -> None:
    podman.ok("stop", "--time", "0", running)
    assert podman.call("exec", running, "/bin/true").returncode in (125, 255)


def test_kill_with_a_signal(podman: Podman) -> None:
    name = podman.ok(
        "run",
        "--detach",
        "--network",
        "none",
        IMAGE,
        "/bin/sh",
        "-c",
        "trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done",
    ).strip()
    for _ in range(100):
        if podman.ok("logs", name):
            break
        time.sleep(0.05)
    podman.ok("kill", "--signal", "USR1", name)
    assert podman.ok("wait", name).strip() == "9"


def test_user(podman: Podman) -> None:
    assert podman.run("--user", "1000:1000", IMAGE, "/bin/sh", "-c", "id -u; id -g").stdout.split() == ["1000", "1000"]


def test_capabilities(podman: Podman) -> None:
    out = podman.run(
        "--cap-drop", "all", "--cap-add", "CHOWN", IMAGE, "/bin/grep", "CapEff", "/proc/self/status"
    ).stdout
    assert int(out.split()[1], 16) == 1


def test_privileged(podman: Podman) -> None:
    done = podman.run("--privileged", IMAGE, "/bin/sh", "-c", "mount -t tmpfs none /tmp && echo mounted")
    assert (done.returncode, done.stdout) == (0, "mounted\n"), done


def test_read_only_and_tmpfs(podman: Podman) -> None:
    done = podman.run(
        "--read-only", "--tmpfs", "/scratch:size=1m", IMAGE, "/bin/sh", "-c", "echo x > /scratch/x && echo x > /x"
    )
    assert "Read-only file system" in done.stderr


def test_volume(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shared\n")
    done = podman.run("--volume", f"{tmp_path}:/data", IMAGE, "/bin/sh", "-c", "cat /data/file; echo new > /data/new")
    assert done.stdout == "shared\n"
    assert (tmp_path / "new").read_text() == "new\n"


def test_limits(podman: Podman) -> None:
    names = ("memory.max", "pids.max") if host.unified() else ("memory/memory.limit_in_bytes", "pids/pids.max")
    limits = ("--memory", "64m", "--pids-limit", "50", "--cgroupns", "private")
    out = podman.run(*limits, IMAGE, "/bin/cat", *(f"/sys/fs/cgroup/{name}" for name in names)).stdout
    assert out.split() == [str(64 << 20), "50"]


def test_pause_and_unpause(podman: Podman, running: str) -> None:
    podman.ok("pause", running)
    podman.ok("unpause", running)
    assert podman.ok("exec", running, "/bin/echo", "alive") == "alive\n"


def test_update_and_top(podman: Podman, running: str) -> None:
    """podman update names a file with the limits."""
    podman.ok("update", "--memory", "96m", "--cpus", "0.5", running)
    pid = int(podman.ok("inspect", "--format", "{{.State.Pid}}", running))
    groups = inspection.cgroups(pid)
    path = next(path for names, path in groups.items() if not names or "memory" in names.split(",")).lstrip("/")
    file = f"{path}/memory.max" if host.unified() else f"memory/{path}/memory.limit_in_bytes"
    assert (host.CGROUP_ROOT / file).read_text() == f"{96 << 20}\n"
    assert "sleep 100" in podman.ok("top", running)


def test_init_flag(podman: Podman) -> None:
    """podman's own init, catatonit, may be missing on a host."""
    if not shutil.which("catatonit") and not Path("/usr/libexec/podman/catatonit").exists():
        pytest.skip("the host has no catatonit")
    assert podman.run("--init", IMAGE, "/bin/echo", "hi").stdout == "hi\n"


def test_user_namespace(podman: Podman) -> None:
    done = podman.run(
        "--uidmap",
        "0:100000:65536",
        "--gidmap",
        "0:100000:65536",
        IMAGE,
        "/bin/sh",
        "-c",
        "id -u; cat /proc/self/uid_map",
    )
    assert done.stdout.split() == ["0", "0", "100000", "65536"], done


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_terminal(podman: Podman, verb: str) -> None:
    script = "tty; read line; echo got $line; exit 3"
    if verb == "run":
        words = ["run", "--rm", "--interactive", "--tty", "--network", "none", IMAGE, "/bin/sh", "-c", script]
    else:
        name = podman.ok("run", "--detach", "--network", "none", IMAGE, "/bin/sleep", "100").strip()
        words = ["exec", "--interactive", "--tty", name, "/bin/sh", "-c", script]
    master, slave = os.openpty()
    child = subprocess.Popen(
        ["setsid", "-c", "podman", *podman.flags, *words],
        env=podman.environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    with Terminal(master) as terminal:
        terminal.read_until("/dev/pts/0", 20)
        terminal.type("typed\n")
        terminal.read_until("got typed", 20)
        assert child.wait(20) == 3


def test_pod_talks_over_localhost(podman: Podman) -> None:
    """Our pause as the infra container, a server and a client as its peers, and a volume that they share."""
    podman.pod("web")
    podman.ok("volume", "create", "shared")
    podman.ok(
        "run",
        "--detach",
        "--pod",
        "web",
        "--volume",
        "shared:/data",
        "--name",
        "server",
        IMAGE,
        "/bin/sh",
        "-c",
        "echo page > /data/index.html; exec httpd -f -p 127.0.0.1:8080 -h /data",
    )
    client = podman.call(
        "run",
        "--rm",
        "--pod",
        "web",
        "--volume",
        "shared:/data",
        IMAGE,
        "/bin/sh",
        "-c",
        "for i in $(seq 50); do wget -q -O - http://127.0.0.1:8080/ && break; sleep 0.1; done; cat /data/index.html",
    )
    assert client.stdout == "page\npage\n", client
    infra = json.loads(podman.ok("pod", "inspect", "web"))["InfraContainerID"]
    spaces = []
    for name in (infra, "server"):
        pid = json.loads(podman.ok("inspect", name))[0]["State"]["Pid"]
        spaces.append({space: os.readlink(f"/proc/{pid}/ns/{space}") for space in ("net", "ipc", "uts", "mnt", "pid")})
    shared = {space for space in spaces[0] if spaces[0][space] == spaces[1][space]}
    assert shared == {"net", "ipc", "uts"}
    podman.ok("pod", "stop", "--time", "1", "web")
    podman.ok("pod", "rm", "web")
    podman.ok("volume", "rm", "shared")


def test_pod_with_a_shared_pid_namespace(podman: Podman) -> None:
    """pause is PID 1 and reaps what its peers leave; podman ends peers by `kill --all`."""
    podman.pod("shared", "--share", "pid,net,ipc,uts")
    podman.ok("run", "--detach", "--pod", "shared", "--name", "peer", IMAGE, "/bin/sh", "-c", "sleep 200 & sleep 200")
    out = podman.ok(
        "exec",
        "peer",
        "/bin/sh",
        "-c",
        "for i in $(seq 100); do (sleep 0.02 &) ; done; sleep 0.5; ps -o stat | grep -c Z; cat /proc/1/comm",
    ).split()
    assert out == ["0", "pause"]
    podman.ok("stop", "--time", "0", "peer")
    podman.ok("pod", "rm", "--force", "--time", "0", "shared")


def test_restart(podman: Podman, running: str) -> None:
    podman.ok("restart", "--time", "0", running)
    assert podman.ok("exec", running, "/bin/echo", "again") == "again\n"


def test_many_in_a_row(podman: Podman) -> None:
    for number in range(5):
        assert podman.run(IMAGE, "/bin/echo", str(number)).stdout == f"{number}\n"


def test_top_and_stats(podman: Podman, running: str) -> None:
    """Both read cgroup files and /proc through what the runtime made."""
    assert "sleep" in podman.ok("top", running)
    stats = json.loads(podman.ok("stats", "--no-stream", "--format", "json", running))
    assert stats[0]["pids"] == "1"


def test_checkpoint_is_probed_by_help(podman: Podman) -> None:
    """podman asks `checkpoint --help` whether there is one; the answer may be no, but must be clean."""
    assert "Traceback" not in podman.call("info").stderr


def test_without_control_groups(podman: Podman) -> None:
    """Podman allows it only for runtimes that a list names; the drop-in of `make install` has the name of that list."""
    done = podman.run("--cgroups=disabled", IMAGE, "/bin/echo", "hi")
    assert (done.returncode, done.stdout) == (0, "hi\n"), done
