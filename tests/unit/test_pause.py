# SPDX-License-Identifier: Apache-2.0
"""pause, compiled by the command that its source names; and the image archives that are made of it. No root."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyoci

REPOSITORY = Path(__file__).resolve().parents[2]
CROSS = "aarch64-linux-gnu-gcc"
QEMU = "qemu-aarch64-static"
PAGE = os.sysconf("SC_PAGE_SIZE")
MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine, elf(5)
RT_SIGTIMEDWAIT = {"x86_64": 128, "aarch64": 137}
PT_LOAD, PT_GNU_STACK = 1, 0x6474E551
TIMEOUT = 5.0


class Pause:
    """pause for one machine, and how this host runs it."""

    def __init__(self, machine: str, path: Path, emulator: list[str]) -> None:
        self.machine = machine
        self.path = path
        self.command = [*emulator, str(path)]

    @property
    def native(self) -> bool:
        return self.command == [str(self.path)]

    def start(self, *args: str, **how: Any) -> subprocess.Popen[bytes]:
        """Starts pause, and waits until it sleeps in rt_sigtimedwait."""
        child = subprocess.Popen([*self.command, *args], **how)
        try:
            wait_until(lambda: waits_for_signals(child.pid), "pause to wait for its signals")
        except BaseException:
            child.kill()
            child.wait()
            raise
        return child


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for something that has no descriptor to wait on."""
    limit = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < limit, f"waited {TIMEOUT} s in vain for {what}"
        time.sleep(0.002)


def waits_for_signals(pid: int) -> bool:
    """Whether a process sleeps in rt_sigtimedwait, by the system call's number on the host, proc_pid_syscall(5)."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] == str(RT_SIGTIMEDWAIT[platform.machine()])


def field(pid: int, name: str) -> str:
    """A field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    raise AssertionError(f"/proc/{pid}/status has no {name}")


def compile_pause(machine: str, compiler: str, output: Path) -> None:
    """Runs the command that the source names in its first comment."""
    source = REPOSITORY / f"csrc/pause/pause_{machine}.S"
    line = next(line for line in source.read_text().splitlines() if "build: " in line)
    command = shlex.split(line.partition("build: ")[2])
    assert command[0] == "cc"
    command[0] = compiler
    command[command.index("-o") + 1] = str(output)
    subprocess.run(command, cwd=REPOSITORY, check=True)


@pytest.fixture(scope="module", params=sorted(MACHINES))
def pause(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pause:
    """pause for each machine that this host can compile for and run."""
    machine: str = request.param
    output = tmp_path_factory.mktemp(machine) / "pause"
    if machine == platform.machine():
        compile_pause(machine, "cc", output)
        return Pause(machine, output, [])
    if machine != "aarch64" or not shutil.which(CROSS) or not shutil.which(QEMU):
        pytest.skip(f"this {platform.machine()} host has no cross compiler or emulator for {machine}")
    compile_pause(machine, CROSS, output)
    return Pause(machine, output, [QEMU])


@pytest.fixture
def running(pause: Pause) -> Iterator[subprocess.Popen[bytes]]:
    """A pause that waits for its signals."""
    child = pause.start()
    yield child
    child.kill()
    child.wait()


def test_file_is_at_most_1_kib(pause: Pause) -> None:
    assert 0 < pause.path.stat().st_size <= 1024


def segments(data: bytes) -> list[tuple[int, int, int, int]]:
    """Type, flags, size in the file and size in memory of each program header, elf(5)."""
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, offset + number * size) for number in range(count)]
    return [(header[0], header[1], header[5], header[6]) for header in headers]


def test_elf_is_static_with_one_segment_that_nobody_may_write(pause: Pause) -> None:
    data = pause.path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    assert struct.unpack_from("<HH", data, 16) == (2, MACHINES[pause.machine])  # ET_EXEC
    found = {kind: rest for kind, *rest in segments(data)}
    assert [kind for kind, *_ in segments(data)] == [PT_LOAD, PT_GNU_STACK]  # no PT_INTERP, no PT_DYNAMIC
    flags, in_file, in_memory = found[PT_LOAD]
    assert flags == os.R_OK | 1  # PF_R | PF_X
    assert in_file == in_memory < PAGE
    assert found[PT_GNU_STACK][0] == os.R_OK | os.W_OK  # PF_R | PF_W: not executable


def test_build_id_and_paths_are_not_in_the_file(pause: Pause) -> None:
    data = pause.path.read_bytes()
    assert b"GNU\0" not in data
    assert b"pause_" not in data


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version_is_the_package_s(pause: Pause, flag: str) -> None:
    done = subprocess.run([*pause.command, flag], capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"pyoci pause {pyoci.VERSION}\n", "")


def test_version_that_cannot_be_written_fails(pause: Pause) -> None:
    with open("/dev/full", "wb") as full:
        assert subprocess.run([*pause.command, "-v"], stdout=full, timeout=TIMEOUT).returncode == 1


@pytest.mark.parametrize("argument", ["", "-", "-vv", "--versio", "--versions", "v"])
def test_other_arguments_are_no_version_flag(pause: Pause, argument: str) -> None:
    child = pause.start(argument, stdout=subprocess.PIPE)
    child.terminate()
    out, _ = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out) == (0, b"")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_ends_with_0_on(running: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    running.send_signal(signum)
    assert running.wait(TIMEOUT) == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_ends_with_0_on_a_signal_inherited_as_ignored(pause: Pause, signum: signal.Signals) -> None:
    child = pause.start(preexec_fn=lambda: signal.signal(signum, signal.SIG_IGN))
    child.send_signal(signum)
    assert child.wait(TIMEOUT) == 0


def test_goes_on_after_stop_and_continue(running: subprocess.Popen[bytes]) -> None:
    running.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, running.pid, os.WSTOPPED)
    running.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, running.pid, os.WCONTINUED)
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.1)
    running.terminate()
    assert running.wait(TIMEOUT) == 0


def test_goes_on_after_sigchld_without_a_child(running: subprocess.Popen[bytes]) -> None:
    for _ in range(3):
        running.send_signal(signal.SIGCHLD)
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.1)
    running.terminate()
    assert running.wait(TIMEOUT) == 0


def test_takes_no_processor_time(running: subprocess.Popen[bytes]) -> None:
    def switches() -> int:
        return sum(int(field(running.pid, f"{kind}_ctxt_switches")) for kind in ("voluntary", "nonvoluntary"))

    before = switches()
    time.sleep(0.2)
    assert switches() == before


def leave_dead_child() -> None:
    """Before an exec: a child that is a zombie by then."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


def leave_dying_child() -> None:
    """Before an exec: a child that dies 0.2 s later."""
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)


@pytest.mark.parametrize("leave", [leave_dead_child, leave_dying_child])
def test_children_from_before_the_exec_are_buried(pause: Pause, leave: Callable[[], None]) -> None:
    child = subprocess.Popen(pause.command, preexec_fn=leave)
    try:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        wait_until(lambda: waits_for_signals(child.pid) and not children.read_text(), "the end of all children")
        child.terminate()
        assert child.wait(TIMEOUT) == 0
    finally:
        child.kill()
        child.wait()


def test_resident_memory_is_at_most_16_kib(pause: Pause) -> None:
    if not pause.native:
        pytest.skip("under an emulator the memory is the emulator's")
    if PAGE != 4096:
        pytest.skip(f"the bound is for pages of 4 KiB; here they have {PAGE} bytes")
    for _ in range(20):  # where the kernel puts the stack is random
        child = pause.start(env={"PATH": "/bin", "HOME": "/"})
        try:
            assert 0 < int(field(child.pid, "VmRSS").split()[0]) <= 16
            maps = Path(f"/proc/{child.pid}/smaps").read_text()
            assert sum(int(line.split()[1]) for line in maps.splitlines() if line.startswith("Rss:")) <= 16
            permissions = [line.split()[1] for line in maps.splitlines() if "-" in line.split()[0]]
            assert not [text for text in permissions if "w" in text and "x" in text]
        finally:
            child.kill()
            child.wait()


# --- image archives ---------------------------------------------------------------------------------------------------


def make_image(rootfs: Path, output: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs bundles/image.py as build.sh does."""
    command = [sys.executable, "-I", str(REPOSITORY / "bundles/image.py"), "--rootfs", str(rootfs)]
    command += ["--output", str(output), "--name", "localhost/test:1", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A small root file system with one of each kind of file that an unprivileged user can make."""
    root = tmp_path / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_text("text of tool\n")
    (root / "bin/tool").chmod(0o4755)
    (root / "bin/alias").symlink_to("tool")
    os.link(root / "bin/tool", root / "bin/twin")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return root


def read_archive(path: Path) -> dict[str, bytes]:
    """The files of a layout by their paths."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """What a descriptor names, after a check of its digest and size."""
    kind, _, digest = descriptor["digest"].partition(":")
    data = files[f"blobs/{kind}/{digest}"]
    assert (kind, digest, descriptor["size"]) == ("sha256", hashlib.sha256(data).hexdigest(), len(data))
    return data


def test_archive_is_an_oci_layout(rootfs: Path, tmp_path: Path) -> None:
    flags = ["--entrypoint=/bin/tool", "--entrypoint=-x", "--user", "65535:65535", "--architecture", "arm64"]
    done = make_image(rootfs, tmp_path / "image.tar", *flags, "--env=A=b", "--command=c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    files = read_archive(tmp_path / "image.tar")
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files.pop("index.json"))["manifests"]
    assert entry["annotations"] == {
        "org.opencontainers.image.ref.name": "localhost/test:1",
        "io.containerd.image.name": "localhost/test:1",
    }
    assert entry["platform"] == {"architecture": "arm64", "os": "linux"}
    manifest = json.loads(blob(files, entry))
    config = json.loads(blob(files, manifest["config"]))
    (layer,) = manifest["layers"]
    blob(files, layer)
    assert len(files) == 3
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}
    assert (config["architecture"], config["os"], config["created"]) == ("arm64", "linux", "1970-01-01T00:00:00Z")
    assert config["config"] == {
        "Entrypoint": ["/bin/tool", "-x"],
        "User": "65535:65535",
        "Env": ["A=b"],
        "Cmd": ["c"],
    }


def test_layer_keeps_types_permissions_and_links(rootfs: Path, tmp_path: Path) -> None:
    assert make_image(rootfs, tmp_path / "image.tar", SOURCE_DATE_EPOCH="86400").returncode == 0
    files = read_archive(tmp_path / "image.tar")
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(files, entry))
    assert json.loads(blob(files, manifest["config"]))["created"] == "1970-01-02T00:00:00Z"
    with tarfile.open(fileobj=io.BytesIO(blob(files, manifest["layers"][0]))) as tar:
        members = {member.name: member for member in tar}
        content = tar.extractfile("bin/tool")
        assert content is not None and content.read() == b"text of tool\n"
    assert list(members) == ["bin", "bin/alias", "bin/tool", "bin/twin", "tmp"]
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members.values()} == {(0, 0, "", 86400)}
    assert (members["bin/tool"].mode, members["tmp"].mode) == (0o4755, 0o1777)
    assert members["bin/alias"].issym() and members["bin/alias"].linkname == "tool"
    assert members["bin/twin"].islnk() and members["bin/twin"].linkname == "bin/tool"


def test_archive_is_the_same_whenever_it_is_made(rootfs: Path, tmp_path: Path) -> None:
    assert make_image(rootfs, tmp_path / "first.tar").returncode == 0
    again = tmp_path / "again"
    shutil.copytree(rootfs, again, symlinks=True)
    (again / "bin/twin").unlink()
    os.link(again / "bin/tool", again / "bin/twin")
    os.utime(again / "bin/tool", (10**9, 10**9))
    assert make_image(again, tmp_path / "second.tar", TZ="Asia/Tokyo", LC_ALL="C").returncode == 0
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root: shutil.rmtree(root), "not a directory"),
        (lambda root: os.mknod(root / "socket", 0o140644), "a socket cannot be in an image"),
    ],
)
def test_archive_that_cannot_be_made_leaves_nothing(rootfs: Path, tmp_path: Path, break_it: Any, words: str) -> None:
    break_it(rootfs)
    done = make_image(rootfs, tmp_path / "image.tar")
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert [path for path in tmp_path.iterdir() if path != rootfs] == []


def test_archive_refuses_a_wrong_source_date_epoch(rootfs: Path, tmp_path: Path) -> None:
    done = make_image(rootfs, tmp_path / "image.tar", SOURCE_DATE_EPOCH="yesterday")
    assert (done.returncode, done.stderr) == (1, "image: SOURCE_DATE_EPOCH: 'yesterday' is not a number of seconds\n")
