# SPDX-License-Identifier: Apache-2.0
"""pyoci.container.terminal and pidfile: real sockets, real pseudoterminals, real signals.

A driver in a process of its own is what ``run`` and ``exec`` are in the foreground: it starts a program, on a
terminal or on its own descriptors, and ends with what ``foreground`` gives.
"""

from __future__ import annotations

import array
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyoci
from pyoci.container import pidfile, terminal
from pyoci.errors import LaunchError, PyociError, UsageError

DRIVER = """
import fcntl, os, pty, signal, socket, sys, termios
sys.path.insert(0, sys.argv[1])
from pyoci.container.terminal import Console, foreground, hold_signals

console = Console() if sys.argv[2] == "tty" else None
hold_signals()  # as run and exec do: what comes before foreground listens is forwarded too
gone, go = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(go)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if console is not None:
        os.setsid()
        master, slave = pty.openpty()
        end = socket.socket(fileno=os.dup(console.remote))
        socket.send_fds(end, [b"/dev/pts/0"], [master])
        end.close()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for number in (0, 1, 2):
            os.dup2(slave, number)
        os.close(master)
    os.read(gone, 1)
    os.execvp(sys.argv[3], sys.argv[3:])
try:
    if console is not None:
        console.receive()
    os.close(go)
    status = foreground(os.pidfd_open(pid), pid, console)
finally:
    if console is not None:
        console.close()
os._exit(status)
"""


def command(kind: str, *program: str) -> list[str]:
    return [sys.executable, "-c", DRIVER, str(Path(pyoci.__file__).parents[1]), kind, *program]


def drive(kind: str, *program: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(kind, *program), input=stdin, capture_output=True, timeout=30, check=False)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "console.sock"))
        server.listen(1)
        server.settimeout(10)
        yield server


def read_until(descriptor: int, text: bytes, timeout: float = 10.0) -> bytes:
    """What comes from a descriptor up to and with a text; fails when it does not come in time."""
    seen = b""
    end = time.monotonic() + timeout
    while text not in seen:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{text!r} did not come, only {seen!r}"
        chunk = os.read(descriptor, 4096)
        assert chunk, f"{text!r} did not come, only {seen!r}"
        seen += chunk
    return seen


@pytest.mark.parametrize("kind", ["plain", "tty"])
@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -USR1 $$", 138)]
)
def test_exit_status(kind: str, script: str, status: int) -> None:
    assert drive(kind, "sh", "-c", script).returncode == status


def test_plain_process_has_our_descriptors() -> None:
    done = drive("plain", "sh", "-c", "cat; echo err >&2", stdin=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in", b"err\n")


def test_all_output_of_a_terminal_arrives() -> None:
    done = drive("tty", "seq", "1", "100000")
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 100001))


def test_the_last_words_arrive_though_another_process_holds_the_terminal() -> None:
    started = time.monotonic()
    done = drive("tty", "sh", "-c", "trap '' HUP; sleep 3 & echo last")
    assert done.stdout == b"last\n"
    assert time.monotonic() - started < 2.5


def test_input_and_its_end_reach_a_program_that_reads_lines() -> None:
    done = drive("tty", "sh", "-c", "stty -echo; echo ready; cat", stdin=b"one\ntwo\n")
    assert done.returncode == 0
    assert done.stdout.endswith(b"one\ntwo\n")


def test_a_program_that_reads_nothing_and_writes_much_is_not_blocked() -> None:
    done = drive("tty", "sh", "-c", "stty raw -echo; seq 1 50000; exit 4", stdin=b"x" * 1_000_000)
    assert done.returncode == 4
    assert b"50000" in done.stdout


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT", "RTMIN+4"])
def test_signals_are_forwarded(name: str) -> None:
    number = signal.SIGRTMIN + 4 if name == "RTMIN+4" else getattr(signal, f"SIG{name}")
    # the shell waits for a child, so that a trap runs at once
    script = f"trap 'kill $!; echo got; exit 9' {int(number)}; sleep 20 & echo ready; wait; wait"
    with subprocess.Popen(command("plain", "bash", "-c", script), stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        try:
            assert driver.stdout.readline() == b"ready\n"
            driver.send_signal(number)
            assert driver.stdout.readline() == b"got\n"
            assert driver.wait(10) == 9
        finally:
            driver.kill()


def test_our_terminal_gives_its_size_is_raw_and_is_put_back() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    before = termios.tcgetattr(theirs)
    # the first size may come before or after the shell has begun to listen, and so tells nothing
    script = """trap 'if [ "$(stty size)" = "44 55" ]; then kill $!; stty size; exit 3; fi' WINCH
        until [ "$(stty size)" = "33 101" ]; do sleep 0.02; done; stty size
        sleep 20 & echo ready; while kill -0 $!; do wait; done"""
    driver = subprocess.Popen(command("tty", "bash", "-c", script), stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        assert b"33 101" in read_until(ours, b"ready")
        assert termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO | termios.ISIG) == 0
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 55, 0, 0))
        driver.send_signal(signal.SIGWINCH)
        read_until(ours, b"44 55")
        assert driver.wait(10) == 3
        assert termios.tcgetattr(theirs) == before
    finally:
        driver.kill()
        driver.wait()
        os.close(ours)
        os.close(theirs)


def test_interrupt_key_reaches_the_program_through_its_own_terminal() -> None:
    ours, theirs = pty.openpty()
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do read x; done"
    driver = subprocess.Popen(command("tty", "bash", "-c", script), stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        read_until(ours, b"ready")
        os.write(ours, b"\x03")
        read_until(ours, b"caught")
        assert driver.wait(10) == 5
    finally:
        driver.kill()
        driver.wait()
        os.close(ours)
        os.close(theirs)


def test_a_reader_that_goes_away_does_not_end_the_program() -> None:
    driver = subprocess.Popen(
        command("tty", "sh", "-c", "echo ready; seq 1 100000; exit 6"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert driver.stdout is not None
    driver.stdout.read(1)
    driver.stdout.close()
    try:
        assert driver.wait(20) == 6
    finally:
        driver.kill()
        driver.wait()


def test_console_of_an_init_that_ended_is_an_error() -> None:
    console = terminal.Console()
    with pytest.raises(LaunchError, match="init ended without sending it"):
        console.receive()
    console.close()
    console.close()


def test_console_of_a_silent_init_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "RECEIVE_WAIT", 0.05)
    console = terminal.Console()
    kept = os.dup(console.remote)
    with pytest.raises(LaunchError, match="init does not send it"):
        console.receive()
    os.close(kept)
    console.close()


def test_connect_console(listener: socket.socket) -> None:
    descriptor = terminal.connect_console(listener.getsockname())
    try:
        assert os.get_blocking(descriptor)
        assert not os.get_inheritable(descriptor)
        os.write(descriptor, b"hello")
        with listener.accept()[0] as peer:
            assert peer.recv(16) == b"hello"
    finally:
        os.close(descriptor)


def test_connect_console_by_a_long_path(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    before = os.getcwd()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        os.chdir(directory)
        try:
            server.bind("s.sock")
        finally:
            os.chdir(before)
        server.listen(1)
        opened = len(os.listdir("/proc/self/fd"))
        os.close(terminal.connect_console(str(directory / "s.sock")))
        assert len(os.listdir("/proc/self/fd")) == opened


@pytest.mark.parametrize("name", ["none", "file", "x" * 300, "d" * 60 + "/" + "d" * 60])
def test_connect_to_nothing_names_the_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        terminal.connect_console(str(tmp_path / name))
    assert str(caught.value).startswith(f"flag --console-socket: connect to {tmp_path}/{name}: ")
    assert "no such file" not in str(caught.value).lower()


def test_a_full_backlog_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "CONNECT_WAIT", 1)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(0)
        first = terminal.connect_console(path)
        try:
            started = time.monotonic()
            with pytest.raises(UsageError, match="accepts nobody"):
                terminal.connect_console(path)
            assert time.monotonic() - started < 5
        finally:
            os.close(first)


def test_send_pidfd(listener: socket.socket) -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        terminal.send_pidfd(listener.getsockname(), pidfd)
    finally:
        os.close(pidfd)
    with listener.accept()[0] as peer:
        data, rights, _, _ = peer.recvmsg(64, socket.CMSG_SPACE(4))
    assert data == b"pidfd"
    received = array.array("i", rights[0][2])[0]
    try:
        assert f"Pid:\t{os.getpid()}\n" in Path(f"/proc/self/fdinfo/{received}").read_text()
    finally:
        os.close(received)


def test_pid_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pid"
    path.write_text("an older and longer text")
    inode = path.stat().st_ino
    pidfile.write(str(path), 4711, "create box")
    assert path.read_bytes() == b"4711"
    assert path.stat().st_ino != inode, "replaced, not rewritten"
    monkeypatch.chdir(tmp_path)
    pidfile.write("relative", 1, "create box")
    assert (tmp_path / "relative").read_bytes() == b"1"
    assert sorted(os.listdir(tmp_path)) == ["pid", "relative"]


def test_pid_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/file").write_text("")
    words = f"^exec box: write the pid file {tmp_path}"
    with pytest.raises(PyociError, match=f"{words}/directory: is a directory$"):
        pidfile.write(str(tmp_path / "directory"), 1, "exec box")
    assert os.listdir(tmp_path) == ["directory"]
    with pytest.raises(PyociError, match=f"{words}/none/pid: its directory is missing$"):
        pidfile.write(str(tmp_path / "none/pid"), 1, "exec box")
