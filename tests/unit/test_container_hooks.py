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

from pyoci import report
from pyoci.container import hooks
from pyoci.errors import HookError

STATE = json.dumps({"ociVersion": "1.3.0", "id": "box", "status": "creating", "bundle": "/b"}).encode()

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
    hooks.run("createRuntime", [hook], STATE)
    state, _, rest = out.read_text().partition("}")
    assert json.loads(state + "}")["id"] == "box"
    lines = [line for line in rest.splitlines() if not line.startswith(("PWD=", "_=", "OLDPWD=", "SHLVL="))]
    assert lines == ["A=3", "B=two words"]


def test_argv_is_the_path_when_no_args_are_given(tmp_path: Path) -> None:
    program = tmp_path / "hook"
    program.write_text(f'#!/bin/sh\necho "$0 $#" > {tmp_path}/out\n')
    program.chmod(0o755)
    hooks.run("prestart", [{"path": str(program)}], STATE)
    assert (tmp_path / "out").read_text() == f"{program} 0\n"


def test_runs_in_order_and_stops_at_the_first_failure(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    row = [script(text, str(out)) for text in ('echo one >> "$1"', 'echo two >> "$1"; exit 3', 'echo no >> "$1"')]
    words = r"^error running poststart hook #1: /bin/sh: exit status 3 after \d+ ms \(/hooks/poststart/1\)$"
    with pytest.raises(HookError, match=words):
        hooks.run("poststart", row, STATE)
    assert out.read_text() == "one\ntwo\n"


def test_run_all_goes_on_after_a_failure_and_warns(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    row = [script("exit 3"), {"path": "/nowhere/hook"}, script('echo ran > "$1"', str(out))]
    told: list[tuple[str, str]] = []
    report.listen(lambda level, text: told.append((level, text)))
    try:
        hooks.run_all("poststop", row, STATE)
    finally:
        report.listen(None)
    assert out.read_text() == "ran\n"
    assert [level for level, _ in told] == ["warning", "warning"]
    assert told[0][1].endswith("(/hooks/poststop/0)")
    assert told[1][1] == (
        "error running poststop hook #1: /nowhere/hook: cannot be run: no such program on the host (/hooks/poststop/1)"
    )


def test_without_env_it_has_that_of_the_runtime(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in runc and crun; an empty list is an empty environment."""
    monkeypatch.setenv("PYOCI_TEST_INHERITED", "yes")
    for number, properties in enumerate(({}, {"env": []})):
        hook = script('exec /usr/bin/env > "$1"', str(tmp_path / f"out{number}"), **properties)
        hooks.run("createRuntime", [hook], STATE)
    assert "PYOCI_TEST_INHERITED=yes" in (tmp_path / "out0").read_text().splitlines()
    assert "PYOCI_TEST_INHERITED" not in (tmp_path / "out1").read_text()


def test_ten_megabytes_of_output_and_escape_sequences(script: Script) -> None:
    """What a hook prints reaches a terminal or a log bounded, and without control characters."""
    text = "head -c 10000000 /dev/zero | tr '\\0' x; printf '\\033[31m\\007red\\302\\233 alert'; exit 1"
    with pytest.raises(HookError) as caught:
        hooks.run("createRuntime", [script(text)], STATE)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_a_hook_ends_with_the_runtime_that_is_killed(script: Script, tmp_path: Path) -> None:
    """And what the hook left running on purpose does not."""
    pids = tmp_path / "pids"
    hook = script('setsid sleep 60 & echo "$! $$" > "$1.new"; mv "$1.new" "$1"; exec sleep 60', str(pids))
    runtime = os.fork()
    if runtime == 0:
        hooks.run("prestart", [hook], STATE)
        os._exit(0)
    end = time.monotonic() + 5
    while not pids.exists() and time.monotonic() < end:
        time.sleep(0.01)
    daemon, leader = (int(word) for word in pids.read_text().split())
    os.kill(runtime, signal.SIGKILL)
    os.waitpid(runtime, 0)
    try:
        while not gone(leader) and time.monotonic() < end:
            time.sleep(0.01)
        assert gone(leader)
        assert not gone(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_the_error_shows_the_last_line_that_was_printed(script: Script) -> None:
    text = 'i=0; while [ $i -lt 9000 ]; do echo "filler $i"; i=$((i+1)); done; printf "the\\033cause\\n\\n" >&2; exit 7'
    with pytest.raises(HookError, match=r": exit status 7 after \d+ ms: the\?cause \(/hooks/createRuntime/0\)$"):
        hooks.run("createRuntime", [script(text)], STATE)


def test_a_long_last_line_is_shortened(script: Script) -> None:
    with pytest.raises(HookError) as caught:
        hooks.run("createRuntime", [script("head -c 100000 /dev/zero | tr '\\0' x; exit 1")], STATE)
    assert len(str(caught.value)) < 300
    assert "xxx..." in str(caught.value)


def test_a_signal_is_named(script: Script) -> None:
    with pytest.raises(HookError, match="killed by signal 15"):
        hooks.run("createRuntime", [script("kill -TERM $$")], STATE)


@pytest.mark.parametrize(("number", "words"), [(errno.ENOENT, "no such program"), (errno.EACCES, "not executable")])
def test_what_cannot_be_run_is_told_without_words_that_engines_match(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "hook"
    if number == errno.EACCES:
        path.write_text("")
    with pytest.raises(HookError, match=words) as caught:
        hooks.run("createRuntime", [{"path": str(path)}], STATE)
    assert os.strerror(number).lower() not in str(caught.value).lower()


def test_a_hook_that_does_not_read_a_large_state_is_no_failure(script: Script) -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        hooks.run("createRuntime", [script("exec <&-")], json.dumps({"id": "x" * 1_000_000}).encode())
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_timeout_kills_the_whole_group(script: Script, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hook = script('sleep 60 & echo "$! $$" > "$1"; wait', str(pids), timeout=1)
    started = time.monotonic()
    with pytest.raises(HookError, match=r"ran out of its 1 s and was killed after 1\d\d\d ms"):
        hooks.run("createRuntime", [hook], STATE)
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
    hooks.run("createRuntime", [script('sleep 60 & echo $! > "$1"', str(pids), timeout=30)], STATE)
    try:
        assert time.monotonic() - started < 5
    finally:
        os.kill(int(pids.read_text()), signal.SIGKILL)


def test_a_hook_that_prints_without_end_is_still_stopped(script: Script) -> None:
    with pytest.raises(HookError, match="ran out of its 1 s and was killed after"):
        hooks.run("createRuntime", [script("while :; do echo y; done", timeout=1)], STATE)


def test_session_and_signals(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        hooks.run("createRuntime", [script('exec cat /proc/self/status /proc/self/stat > "$1"', str(out))], STATE)
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
        hooks.run("createRuntime", [script('exec ls /proc/self/fd > "$1"', str(tmp_path / "out"))], STATE)
    finally:
        os.close(given)
    seen = set((tmp_path / "out").read_text().split())
    assert seen == {"0", "1", "2", "3"}, "3 is the directory that ls reads"


def test_nothing_is_left_open(script: Script) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    hooks.run("createRuntime", [script("exit 0")], STATE)
    with pytest.raises(HookError):
        hooks.run("createRuntime", [{"path": "/nowhere"}], STATE)
    assert sorted(os.listdir("/proc/self/fd")) == before
