# SPDX-License-Identifier: Apache-2.0
"""pyoci.container.hooks with real programs: shell scripts."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci.container import hooks
from pyoci.errors import HookError

STATE = json.dumps({"ociVersion": "1.3.0", "id": "box", "status": "creating", "bundle": "/b"})

Script = Callable[..., dict[str, Any]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Makes a hook that runs a shell script, with $1, $2 ... from ``args``."""

    def make(text: str, *args: str, **properties: Any) -> dict[str, Any]:
        return {"path": "/bin/sh", "args": ["sh", "-c", text, "sh", *args], **properties}

    return make


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie that its parent has yet to reap counts as ended)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_gets_the_state_its_environment_and_nothing_else(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hook = script('cat > "$1"; /usr/bin/env | sort >> "$1"', str(out), env=["A=1", "B=two words", "A=3"])
    hooks.run("createRuntime", [hook], STATE, "/hooks/createRuntime")
    state, _, rest = out.read_text().partition("}")
    assert json.loads(state + "}")["id"] == "box"
    lines = [line for line in rest.splitlines() if not line.startswith(("PWD=", "_=", "OLDPWD=", "SHLVL="))]
    assert lines == ["A=3", "B=two words"]


def test_argv_is_the_path_when_no_args_are_given(tmp_path: Path) -> None:
    program = tmp_path / "hook"
    program.write_text(f'#!/bin/sh\necho "$0 $#" > {tmp_path}/out\n')
    program.chmod(0o755)
    hooks.run("prestart", [{"path": str(program)}], STATE, "/hooks/prestart")
    assert (tmp_path / "out").read_text() == f"{program} 0\n"


def test_runs_in_order_and_stops_at_the_first_failure(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    row = [script(text, str(out)) for text in ('echo one >> "$1"', 'echo two >> "$1"; exit 3', 'echo no >> "$1"')]
    words = r"^error running poststart hook #1: /bin/sh: exit status 3 after \d+ ms \(/hooks/poststart/1\)$"
    with pytest.raises(HookError, match=words):
        hooks.run("poststart", row, STATE, "/hooks/poststart")
    assert out.read_text() == "one\ntwo\n"


def test_run_all_goes_on_after_a_failure(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    row = [script("exit 3"), {"path": "/nowhere/hook"}, script('echo ran > "$1"', str(out))]
    failures = [str(error) for error in hooks.run_all("poststop", row, STATE, "/hooks/poststop")]
    assert out.read_text() == "ran\n"
    assert len(failures) == 2
    assert failures[0].endswith("(/hooks/poststop/0)")
    assert failures[1] == (
        "error running poststop hook #1: /nowhere/hook: cannot be run: no such program on the host (/hooks/poststop/1)"
    )


def test_the_error_shows_the_last_line_that_was_printed(script: Script) -> None:
    text = 'i=0; while [ $i -lt 9000 ]; do echo "filler $i"; i=$((i+1)); done; printf "the\\033cause\\n\\n" >&2; exit 7'
    with pytest.raises(HookError, match=r": exit status 7 after \d+ ms: the\?cause \(/h/0\)$"):
        hooks.run("createRuntime", [script(text)], STATE, "/h")


def test_a_long_last_line_is_shortened(script: Script) -> None:
    with pytest.raises(HookError) as caught:
        hooks.run("createRuntime", [script("head -c 100000 /dev/zero | tr '\\0' x; exit 1")], STATE, "/h")
    assert len(str(caught.value)) < 300
    assert "xxx..." in str(caught.value)


def test_a_signal_is_named(script: Script) -> None:
    with pytest.raises(HookError, match="killed by signal 15"):
        hooks.run("createRuntime", [script("kill -TERM $$")], STATE, "/h")


@pytest.mark.parametrize(("number", "words"), [(errno.ENOENT, "no such program"), (errno.EACCES, "not executable")])
def test_what_cannot_be_run_is_told_without_words_that_engines_match(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "hook"
    if number == errno.EACCES:
        path.write_text("")
    with pytest.raises(HookError, match=words) as caught:
        hooks.run("createRuntime", [{"path": str(path)}], STATE, "/h")
    assert os.strerror(number).lower() not in str(caught.value).lower()


def test_a_hook_that_does_not_read_a_large_state_is_no_failure(script: Script) -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        hooks.run("createRuntime", [script("exec <&-")], json.dumps({"id": "x" * 1_000_000}), "/h")
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_timeout_kills_the_whole_group(script: Script, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hook = script('sleep 60 & echo "$! $$" > "$1"; wait', str(pids), timeout=1)
    started = time.monotonic()
    with pytest.raises(HookError, match=r"ran out of its 1 s and was killed after 1\d\d\d ms \(/h/0\)$"):
        hooks.run("createRuntime", [hook], STATE, "/h")
    assert time.monotonic() - started < 2
    child, leader = (int(word) for word in pids.read_text().split())
    assert not Path(f"/proc/{leader}").exists()  # reaped
    end = time.monotonic() + 5
    while not gone(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert gone(child)


def test_a_child_that_holds_the_output_does_not_keep_us(script: Script, tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    started = time.monotonic()
    hooks.run("createRuntime", [script('sleep 60 & echo $! > "$1"', str(pids), timeout=30)], STATE, "/h")
    try:
        assert time.monotonic() - started < 5
    finally:
        os.kill(int(pids.read_text()), signal.SIGKILL)


def test_a_hook_that_prints_without_end_is_still_stopped(script: Script) -> None:
    with pytest.raises(HookError, match="ran out of its 1 s and was killed after"):
        hooks.run("createRuntime", [script("while :; do echo y; done", timeout=1)], STATE, "/h")


def test_session_and_signals(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        hooks.run("createRuntime", [script('exec cat /proc/self/status /proc/self/stat > "$1"', str(out))], STATE, "/h")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    text = out.read_text()
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert int(fields["SigBlk"], 16) == 0
    assert int(fields["SigIgn"], 16) & (1 << (signal.SIGPIPE - 1)) == 0
    group, session = text.splitlines()[-1].rpartition(")")[2].split()[2:4]
    assert group == session == fields["Pid"]


def test_descriptors(script: Script, tmp_path: Path) -> None:
    given = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(given, True)
    try:
        hooks.run("createRuntime", [script('exec ls /proc/self/fd > "$1"', str(tmp_path / "out"))], STATE, "/h")
    finally:
        os.close(given)
    seen = set((tmp_path / "out").read_text().split())
    assert seen == {"0", "1", "2", "3"}, "3 is the directory that ls reads"


def test_working_directory(script: Script, tmp_path: Path) -> None:
    before = os.getcwd()
    hooks.run("createRuntime", [script("pwd > out")], STATE, "/h", cwd=str(tmp_path))
    assert (tmp_path / "out").read_text() == f"{tmp_path}\n"
    assert os.getcwd() == before


def test_nothing_is_left_open(script: Script) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    hooks.run("createRuntime", [script("exit 0")], STATE, "/h")
    with pytest.raises(HookError):
        hooks.run("createRuntime", [{"path": "/nowhere"}], STATE, "/h")
    assert sorted(os.listdir("/proc/self/fd")) == before
