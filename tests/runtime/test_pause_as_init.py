# SPDX-License-Identifier: Apache-2.0
"""pause where it works: PID 1 of a PID namespace, sandbox of a bundle, image of podman and containerd."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import inspection
from harness.runtime import REPOSITORY, TIMEOUT, Container, Runtime, wait_until

BUILT = Path(os.environ.get("PAUSE") or REPOSITORY / "build/lib/pyoci/libexec/pause")
ORPHANS = 100
# Each orphan is the child of a shell that has ended when it ends: PID 1 inherits it.
MAKE_ORPHANS = f"""
    number=0
    while [ $number -lt {ORPHANS} ]; do
        sh -c '"$0" "$1" </dev/null >/dev/null 2>&1 & echo $! >>orphans' "$@"
        number=$((number + 1))
    done
"""


class Namespace:
    """pause as PID 1 of a PID namespace with a /proc of its own. `pid` is its PID on the host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.unshare = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", str(BUILT)], start_new_session=True
        )
        wait_until(lambda: self._children(), "pause to start")
        self.pid = self._children()[0]
        wait_until(self._waits, "pause to wait for its signals")

    def _children(self) -> list[int]:
        text = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def _waits(self) -> bool:
        state = inspection.status(self.pid)
        return state["Name"] == "pause" and state["State"][0] == "S"

    def call(self, *command: str) -> str:
        """Runs a command in the namespace of pause, as a peer does that joins it."""
        enter = ["nsenter", "--target", str(self.pid), "--pid", "--mount", f"--wd={self.directory}"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=TIMEOUT, check=True)
        return done.stdout

    def processes(self) -> dict[int, str]:
        """The states of all processes in the namespace by their PID there; the one that looks is left out."""
        text = self.call("sh", "-c", 'cat /proc/[0-9]*/stat 2>/dev/null; echo "$$"')
        *lines, own = text.splitlines()
        states = {int(line.split()[0]): line.rpartition(")")[2].split()[:2] for line in lines}
        return {pid: state for pid, (state, parent) in states.items() if pid != int(own) and parent != own}

    def end(self, signum: int) -> int:
        """Signals pause from the host; returns its exit status, which unshare hands on."""
        os.kill(self.pid, signum)
        return self.unshare.wait(TIMEOUT)


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    """A PID namespace whose first process is pause."""
    if os.geteuid() != 0:
        pytest.skip("a PID namespace needs root")
    made = Namespace(tmp_path)
    yield made
    made.unshare.kill()  # --kill-child takes pause along
    made.unshare.wait()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_pid_1_ends_with_0_on(namespace: Namespace, signum: signal.Signals) -> None:
    assert namespace.end(signum) == 0


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_pid_1_ends_with_0_on_a_signal_of_a_peer(namespace: Namespace, name: str) -> None:
    """The kernel drops what a PID 1 neither handles nor blocks if it comes from its own namespace."""
    with contextlib.suppress(subprocess.CalledProcessError):  # the end of PID 1 kills the peer too
        namespace.call("sh", "-c", f"kill -{name} 1; sleep 5")
    assert namespace.unshare.wait(TIMEOUT) == 0


def test_pid_1_survives_other_signals(namespace: Namespace) -> None:
    for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
        namespace.call("kill", f"-{signum}", "1")
    assert namespace.processes() == {1: "S"}
    assert namespace.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("life", ["0.02", "0.5"])
def test_orphans_are_reaped(namespace: Namespace, life: str) -> None:
    """Orphans that die one by one as they are made, and a hundred that die nearly at once."""
    namespace.call("sh", "-c", MAKE_ORPHANS, "sh", "sleep", life)
    assert len((namespace.directory / "orphans").read_text().split()) == ORPHANS
    wait_until(lambda: namespace.processes() == {1: "S"}, "the burial of all orphans")
    assert namespace.end(signal.SIGTERM) == 0


def test_orphans_that_die_while_pause_is_stopped_are_reaped(namespace: Namespace) -> None:
    """The signals of all merge into one: that one must be enough."""
    os.kill(namespace.pid, signal.SIGSTOP)
    namespace.call("sh", "-c", MAKE_ORPHANS, "sh", "sleep", "0.05")
    wait_until(lambda: list(namespace.processes().values()).count("Z") == ORPHANS, "all orphans to be zombies")
    os.kill(namespace.pid, signal.SIGCONT)
    wait_until(lambda: namespace.processes() == {1: "S"}, "the burial of all orphans")


def test_end_does_not_wait_for_orphans(namespace: Namespace) -> None:
    namespace.call("sh", "-c", MAKE_ORPHANS, "sh", "sleep", "60")
    assert len(namespace.processes()) == ORPHANS + 1
    assert namespace.end(signal.SIGTERM) == 0


# --- bundles/build.sh, and what it makes ------------------------------------------------------------------------------


def build(out: Path) -> None:
    """Runs bundles/build.sh as make does."""
    environment = {"PATH": os.environ["PATH"], "PAUSE": str(BUILT)}
    subprocess.run([REPOSITORY / "bundles/build.sh", out], env=environment, check=True, timeout=60)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What bundles/build.sh makes."""
    out = tmp_path_factory.mktemp("bundles")
    build(out)
    return out


def snapshot(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, mode and change time of all files below a directory; directories are passed by."""
    found = {}
    for folder, _, files in os.walk(directory):
        for name in files:
            info = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (info.st_ino, info.st_mode, info.st_ctime_ns)
    return found


def test_build_again_leaves_the_root_file_systems_alone(built: Path) -> None:
    before = snapshot(built / "rootfs")
    images = {path.name: path.read_bytes() for path in built.glob("*.tar")}
    assert sorted(images) == ["busybox-image.tar", "pause-image.tar"]
    build(built)
    assert snapshot(built / "rootfs") == before
    assert {path.name: path.read_bytes() for path in built.glob("*.tar")} == images


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PAUSE", "/nonexistent", "/nonexistent: not found; run make"),
        ("BUSYBOX", "/nonexistent", "/nonexistent: not found; install busybox-static"),
        ("BUSYBOX", "/bin/sh", "/bin/sh: is not static"),
    ],
)
def test_build_names_what_it_lacks(tmp_path: Path, variable: str, value: str, words: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PAUSE": str(BUILT), variable: value}
    command = [REPOSITORY / "bundles/build.sh", tmp_path / "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def create(runtime: Runtime, directory: Path) -> Container:
    """Creates the container of a bundle that is not the harness's."""
    handle = runtime.container(runtime.bundle())
    pid_file = runtime.tmp / f"{handle.id}.pid"
    runtime.ok("create", "--bundle", directory, "--pid-file", pid_file, handle.id)
    handle.pid = int(pid_file.read_text())
    return handle


def test_busybox_bundle_runs(runtime: Runtime, built: Path) -> None:
    handle = runtime.container(runtime.bundle())
    assert runtime.ok("run", "--bundle", built / "busybox", handle.id).out.startswith("hello from busybox, process 1 ")


def test_pause_bundle_runs_small_and_without_power(runtime: Runtime, built: Path) -> None:
    before = snapshot(built / "rootfs")
    handle = create(runtime, built / "pause")
    handle.start()
    wait_until(lambda: inspection.status(handle.pid)["Name"] == "pause", "pause to be executed")
    status = inspection.status(handle.pid)
    assert int(status["VmRSS"].split()[0]) <= 16
    assert status["Uid"].split() == ["65535"] * 4
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    handle.kill("TERM")
    assert handle.wait() == 0
    assert handle.state()["status"] == "stopped"
    handle.delete()
    assert snapshot(built / "rootfs") == before


def test_pause_bundle_reaps_the_orphans_of_a_peer(runtime: Runtime, built: Path) -> None:
    sandbox = create(runtime, built / "pause")
    sandbox.start()
    peer = runtime.bundle()
    for kind in ("pid", "network", "ipc", "uts"):
        peer.namespace(kind, f"/proc/{sandbox.pid}/ns/{'net' if kind == 'network' else kind}")
    peer.sh(f"cd /tmp; set -- sleep 0.2; {MAKE_ORPHANS} wc -l <orphans; cat /proc/1/comm")
    assert runtime.output(peer).split() == [str(ORPHANS), "pause"]
    children = Path(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children")
    wait_until(lambda: children.read_text() == "", "the burial of all orphans")
    sandbox.kill("TERM")
    assert sandbox.wait() == 0


# --- the engines take the images --------------------------------------------------------------------------------------


def need(*programs: str) -> None:
    """Skips the test on a host without these programs."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        pytest.skip(f"this host has no {' and no '.join(missing)}")


def engine(*command: str | Path) -> str:
    """Runs a command of an engine; returns what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture
def podman() -> Iterator[list[str]]:
    """podman with a storage of its own."""
    need("podman")
    with tempfile.TemporaryDirectory(prefix="pyoci-podman-") as name:  # short: podman takes 50 characters at most
        storage = ["--root", f"{name}/root", "--runroot", f"{name}/run", "--tmpdir", f"{name}/tmp"]
        yield ["podman", *storage, "--storage-driver", "vfs", "--events-backend", "file"]


@pytest.mark.parametrize("how", ["load", "pull"])
def test_podman_takes_the_images(podman: list[str], built: Path, how: str) -> None:
    for name in ("pause", "busybox"):
        archive = built / f"{name}-image.tar"
        if how == "load":
            assert f"localhost/pyoci-{name}:0.1" in engine(*podman, "load", "--input", archive)
        else:
            engine(*podman, "pull", "--quiet", f"oci-archive:{archive}")
    (pause,) = json.loads(engine(*podman, "image", "inspect", "localhost/pyoci-pause:0.1"))
    assert pause["Config"] == {"User": "65535:65535", "Entrypoint": ["/pause"]}
    (busybox,) = json.loads(engine(*podman, "image", "inspect", "localhost/pyoci-busybox:0.1"))
    assert busybox["Config"] == {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}


CONTAINERD = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{0}/grpc"
[ttrpc]
address = "{0}/ttrpc"
"""


@pytest.fixture
def ctr() -> Iterator[list[str]]:
    """ctr with a containerd of its own."""
    need("containerd", "ctr")
    with tempfile.TemporaryDirectory(prefix="pyoci-ctr-") as name:  # short: a socket's path has 108 bytes at most
        directory = Path(name)
        (directory / "config.toml").write_text(CONTAINERD.format(directory))
        with open(directory / "log", "wb") as log:
            daemon = subprocess.Popen(["containerd", "--config", directory / "config.toml"], stdout=log, stderr=log)
        try:
            wait_until((directory / "grpc").exists, "containerd to listen", timeout=30)
            yield ["ctr", "--address", str(directory / "grpc")]
        finally:
            daemon.terminate()
            daemon.wait(TIMEOUT)


def test_containerd_takes_the_images(ctr: list[str], built: Path) -> None:
    for name in ("pause", "busybox"):
        engine(*ctr, "images", "import", "--snapshotter", "native", built / f"{name}-image.tar")
    names = engine(*ctr, "images", "list", "--quiet").split()
    assert names == ["localhost/pyoci-busybox:0.1", "localhost/pyoci-pause:0.1"]
    checked = engine(*ctr, "images", "check", "--snapshotter", "native").splitlines()[1:]
    assert len(checked) == 2 and all(
        " complete " in line and line.endswith(" true") for line in map(str.rstrip, checked)
    )
