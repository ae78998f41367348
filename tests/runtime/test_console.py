# SPDX-License-Identifier: Apache-2.0
"""Terminals: the console socket, the caller's own terminal, and the refusals between them."""

from __future__ import annotations

import os
import subprocess

import pytest
from harness.bundle import Bundle
from harness.console import ConsoleSocket, Terminal
from harness.runtime import Container, Runtime


def started(runtime: Runtime, bundle: Bundle) -> tuple[Container, Terminal]:
    """A started container and the terminal that it sent."""
    bundle.process["terminal"] = True
    with ConsoleSocket(runtime.tmp / "console.sock") as socket:
        container = runtime.create(bundle, "--console-socket", socket.path)
        terminal = socket.receive()
    container.start()
    return container, terminal


def test_terminal_works(runtime: Runtime) -> None:
    container, terminal = started(runtime, runtime.bundle().sh("read line; echo got $line; tty; sleep 100"))
    with terminal:
        terminal.type("hello\n")
        assert "got hello" in terminal.read_until("/dev/")


def test_standard_streams_are_the_terminal(runtime: Runtime) -> None:
    script = "test -t 0 && test -t 1 && test -t 2 && tty; sleep 100"
    _, terminal = started(runtime, runtime.bundle().sh(script))
    with terminal:
        terminal.read_until("/dev/pts/0")


def test_terminal_controls_the_session(runtime: Runtime) -> None:
    """Control-C reaches the program."""
    container, terminal = started(
        runtime, runtime.bundle().sh("trap 'exit 6' INT; echo up; while :; do sleep 0.01; done")
    )
    with terminal:
        terminal.read_until("up")
        terminal.type("\x03")
        assert container.wait() == 6


def test_size(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("stty size; sleep 100")
    bundle.process["consoleSize"] = {"height": 33, "width": 111}
    _, terminal = started(runtime, bundle)
    with terminal:
        terminal.read_until("33 111")
        assert terminal.size() == (33, 111)


def test_console_device(runtime: Runtime) -> None:
    """/dev/console is the same terminal, of the container's own devpts."""
    script = "stat -c '%t:%T' /dev/console /dev/pts/0; echo there > /dev/console; sleep 100"
    _, terminal = started(runtime, runtime.bundle().sh(script))
    with terminal:
        lines = terminal.read_until("there").split()
    assert lines[0] == lines[1]
    assert lines[0].startswith("88:")  # major 136, a pseudoterminal


def test_no_console_device_without_a_terminal(runtime: Runtime) -> None:
    assert runtime.run(runtime.bundle().args("/bin/test", "-e", "/dev/console")).code == 1


def test_terminal_of_a_user(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("stat -c %u /dev/pts/0; echo fine > /dev/tty; echo x > /dev/stdout; sleep 100")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    _, terminal = started(runtime, bundle)
    with terminal:
        assert terminal.read_until("x\r\n").splitlines()[:2] == ["1000", "fine"]


def test_terminal_in_a_user_namespace(runtime: Runtime) -> None:
    _, terminal = started(runtime, runtime.bundle().map_users().sh("tty; sleep 100"))
    with terminal:
        terminal.read_until("/dev/pts/0")


def test_output_is_cooked_by_the_terminal(runtime: Runtime) -> None:
    _, terminal = started(runtime, runtime.bundle().sh("echo a; echo b; sleep 100"))
    with terminal:
        terminal.read_until("a\r\nb\r\n")


def test_detached_terminal_without_socket(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["terminal"] = True
    assert "console" in runtime.refuses(bundle).lower()


def test_socket_without_terminal(runtime: Runtime) -> None:
    with ConsoleSocket(runtime.tmp / "console.sock") as socket:
        assert "console" in runtime.refuses(runtime.bundle(), "--console-socket", socket.path).lower()


def test_socket_that_is_missing(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["terminal"] = True
    runtime.refuses(bundle, "--console-socket", runtime.tmp / "none.sock")


def test_console_size_without_terminal_is_ignored(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/echo", "ok")
    bundle.process["consoleSize"] = {"height": 33, "width": 111}
    assert runtime.output(bundle) == "ok\n"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_terminal_of_the_caller(runtime: Runtime, verb: str) -> None:
    """In the foreground the caller's own terminal is passed through."""
    bundle = runtime.bundle()
    if verb == "run":
        bundle.process["terminal"] = True
        bundle.sh("test -t 0 && read line; echo got $line; tty; exit 4").save()
        runtime.container(bundle)
        words = ["run", "--bundle", str(bundle.path), bundle.name]
    else:
        container = runtime.start(bundle)
        words = ["exec", "--tty", container.id, "/bin/sh", "-c", "test -t 0 && read line; echo got $line; tty; exit 4"]
    master, slave = os.openpty()
    argv = ["setsid", "-c", str(runtime.command), "--root", str(runtime.root), *words]
    child = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    with Terminal(master) as terminal:
        terminal.type("typed\n")
        terminal.read_until("got typed")
        terminal.read_until("/dev/pts/0")
        assert child.wait(5) == 4


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_lines_to_a_pipe_end_as_the_program_ends_them(runtime: Runtime, verb: str) -> None:
    """Also the first one: a script that reads the output of a foreground call finds no carriage returns."""
    script = ["/bin/sh", "-c", "tty; seq 3"]
    if verb == "run":
        bundle = runtime.bundle().args(*script)
        bundle.process["terminal"] = True
        runtime.container(bundle.save())
        words = ["run", "--bundle", str(bundle.path), bundle.name]
    else:
        words = ["exec", "--tty", runtime.start(runtime.bundle()).id, *script]
    master, slave = os.openpty()
    argv = [
        "setsid",
        "-c",
        str(runtime.command),
        "--root",
        str(runtime.root),
        *words,
    ]  # runc wants a terminal of its own
    output = subprocess.run(argv, stdin=slave, stdout=subprocess.PIPE, timeout=10, check=True).stdout
    os.close(master)
    os.close(slave)
    assert output == b"/dev/pts/0\n1\n2\n3\n"
