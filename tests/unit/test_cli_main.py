# SPDX-License-Identifier: Apache-2.0
"""The command as a process: global flags, help, the log, the form of errors."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pyoci
from pyoci import report
from pyoci.cli import log, main, output, unsupported
from pyoci.cli.flags import parse
from pyoci.cli.settings import TABLE, Settings
from pyoci.errors import PyociError, UsageError
from pyoci.native import NativeError

LIBRARY = Path(pyoci.__file__).parents[1]


def call(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs ``python3 -m pyoci`` with an environment that holds nothing but the module's place."""
    command = [sys.executable, "-S", "-m", "pyoci", *args]
    options.setdefault("env", {"PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": "1"})
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def settings(*args: str) -> Settings:
    return Settings(parse(TABLE, list(args), "", stop_after=1))


def test_version_is_what_docker_and_podman_parse() -> None:
    for flag in ("--version", "-v"):
        done = call(flag)
        lines = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, "")
        assert lines[0] == f"pyoci version {pyoci.VERSION}"
        assert lines[1].startswith("commit: ")
        assert lines[2] == "spec: 1.3.0"
        assert [line.split(":")[0] for line in lines[3:]] == ["launcher", "python", "libseccomp"]


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(args: list[str]) -> None:
    done = call(*args)
    assert done.returncode == 0
    for name, summary in main.VERBS:
        assert f"  {name:<12}{summary}\n" in done.stdout
    assert "--log-format FORMAT" in done.stdout


@pytest.mark.parametrize("verb", [name for name, _ in main.VERBS if name != "pod"])
def test_help_of_each_verb(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main([verb, "--help"]) == 0
    text = capfd.readouterr().out
    assert text.startswith(f"usage: pyoci [global flags] {verb} ".rstrip())
    assert "-h, --help" in text


@pytest.mark.parametrize("words", [["create"], ["exec"], ["pod"], ["pod", "run"], ["checkpoint"]])
def test_help_with_a_verb_is_the_help_of_that_verb(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main([*words, "--help"]) == 0
    expected = capfd.readouterr().out
    assert main.main(["help", *words]) == 0
    assert capfd.readouterr().out == expected
    assert expected.startswith(f"usage: pyoci [global flags] {' '.join(words)} ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "a verb is missing; try 'pyoci --help'"),
        (["strat"], "unknown verb 'strat' (did you mean start?); try 'pyoci --help'"),
        (["zzzzz"], "unknown verb 'zzzzz'; try 'pyoci --help'"),
        (["pull"], "unknown verb 'pull'; try 'pyoci --help'"),
        (["delte"], "unknown verb 'delte' (did you mean delete?); try 'pyoci --help'"),
        (["lsit"], "unknown verb 'lsit' (did you mean list?); try 'pyoci --help'"),
        (["help", "creat"], "unknown verb 'creat' (did you mean create?); try 'pyoci --help'"),
        (["--rot", "x", "state"], "unknown flag --rot (did you mean --root?); try 'pyoci --help'"),
        (["--log"], "flag --log requires an argument"),
        (["--log-level", "loud", "list"], "flag --log-level: 'loud' is none of error, warning, debug"),
        (["--rootless", "perhaps", "list"], "flag --rootless: 'perhaps' is none of true, false, auto"),
        (["--cgroup-manager", "x", "list"], "flag --cgroup-manager: 'x' is none of cgroupfs, systemd, disabled"),
        (["--log", "/dev/null", "--log-format", "xml", "list"], "flag --log-format: 'xml' is neither text nor json"),
        (["--log-format=nonsense", "list"], "flag --log-format: 'nonsense' is neither text nor json"),
        (["--log", "/nowhere/log", "list"], "/nowhere/log: not found"),
        (["restore", "--lsm-mount-context"], "restore: flag --lsm-mount-context requires an argument"),
        (["mounts", "box"], "mounts: not supported yet by this version of pyoci"),
        (["state"], "state: ID is missing; try 'pyoci state --help'"),
        (["state", "a", "b"], "state: unexpected argument 'b'; try 'pyoci state --help'"),
    ],
)
def test_errors_are_one_line_on_stderr(args: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(args) == 1
    seen = capfd.readouterr()
    assert seen.out == ""
    assert seen.err == f"pyoci: {message}\n"


@pytest.mark.parametrize("verb", main.UNSUPPORTED)
def test_unsupported_verbs_are_refused_by_name(verb: str) -> None:
    with pytest.raises(UsageError, match=f"^{verb}: not supported yet"):
        unsupported.run(verb, ["box"])


def test_podmans_probe_of_checkpoint(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["checkpoint", "--help"]) == 0
    assert "--leave-running" in capfd.readouterr().out


def test_json_log_is_one_object_that_names_the_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.json"
    before = datetime.datetime.now(datetime.UTC)
    assert main.main(["--log", str(path), "--log-format", "json", "state", "../x"]) == 1
    entry = json.loads(path.read_text())
    assert sorted(entry) == ["level", "msg", "time"]
    assert entry["level"] == "error"
    assert '"level":"error"' in path.read_text()
    assert capfd.readouterr().err.splitlines()[0] == f"pyoci: {entry['msg']}"
    assert entry["time"].endswith("Z")
    moment = datetime.datetime.fromisoformat(entry["time"][:26] + "+00:00")
    assert abs((moment - before).total_seconds()) < 30
    assert path.stat().st_mode & 0o133 == 0


def test_log_is_created_at_once_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert main.main([f"--log=file:{path}", "--root", str(tmp_path), "list", "-q"]) == 0
    assert path.read_text() == ""
    for _ in range(2):
        assert main.main(["--log", str(path), "mounts"]) == 1
    first, second = path.read_text().splitlines()
    for line in (first, second):
        assert line.startswith('time="20')
        assert line.endswith('level=error msg="mounts: not supported yet by this version of pyoci"')


def test_a_message_is_one_line_whatever_is_in_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.json"
    assert main.main(["--log", str(path), "--log-format", "json", 'a"b\nc\udcff']) == 1
    assert capfd.readouterr().err.count("\n") == 1
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert 'a"b' in json.loads(raw.decode("utf-8", "replace"))["msg"]


def test_journald_and_syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("journald", "syslog"):
        path = str(tmp_path / kind)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(path)
            monkeypatch.setattr(log, "JOURNAL" if kind == "journald" else "SYSLOG", path)
            log.Log(f"{kind}:box", "text", "warning").error("it broke")
            text = listener.recv(4096).decode()
        if kind == "journald":
            fields = dict(line.split("=", 1) for line in text.splitlines())
            assert fields == {
                "PRIORITY": "3",
                "SYSLOG_IDENTIFIER": "box",
                "SYSLOG_PID": str(os.getpid()),
                "MESSAGE": "it broke",
            }
        else:
            assert text.startswith("<11>")
            assert text.endswith(f" box[{os.getpid()}]: it broke")


def test_a_missing_log_daemon_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SYSLOG", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=f"^flag --log=syslog:box: nobody listens on {tmp_path}/none"):
        log.Log("syslog:box", "text", "warning")


def test_the_cgroup_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().cgroup_manager == "cgroupfs"
    assert settings("--systemd-cgroup").cgroup_manager == "systemd"
    assert settings("--systemd-cgroup", "--cgroup-manager", "disabled").cgroup_manager == "disabled"
    assert settings("--systemd-cgroup=false").cgroup_manager == "cgroupfs"


def test_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert settings("--rootless", "false").root_path == "/run/pyoci"
    assert settings("--rootless=true").root_path == "/run/user/7/pyoci"
    assert settings("--root", "some/dir").root_path == f"{os.getcwd()}/some/dir"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert settings("--rootless=true").root_path == f"/run/user/{os.geteuid()}/pyoci"


def test_os_errors_are_told_without_words_that_engines_match() -> None:
    assert main._told(FileNotFoundError(2, "No such file or directory", "/x")) == "/x: not found"
    assert main._told(OSError(28, "whatever", "/a", None, "/b")) == "/a -> /b: no space left on device"
    assert main._told(NativeError(2, "openat", "/x")) == "openat /x: not found"
    assert main._told(NativeError(1, "clone3")) == "clone3: operation not permitted"
    assert main._told(OSError(5, "")) == "input/output error"
    assert main._told(OSError("words")) == "words"


def test_a_bug_is_one_line_and_with_debug_the_trace(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        return int([][0])

    monkeypatch.setattr(unsupported, "run", broken)
    assert main.main(["mounts"]) == 1
    assert capfd.readouterr().err.startswith("pyoci: internal error: IndexError: list index out of range; ")
    assert main.main(["--debug", "mounts"]) == 1
    *trace, last = capfd.readouterr().err.splitlines()
    assert last.startswith("pyoci: internal error: IndexError: ")
    assert all(re.match(r"pyoci: debug: [0-9.]+ ms: ", line) for line in trace)
    assert any(f"at {__file__}:" in line and line.endswith(" broken") for line in trace)


def test_debug_tells_what_caused_an_error(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        try:
            try:
                os.stat("/nonesuch")
            except OSError as error:
                raise KeyError("inner") from error
        except KeyError as error:
            raise PyociError("it broke") from error

    monkeypatch.setattr(unsupported, "run", broken)
    assert main.main(["mounts"]) == 1
    assert capfd.readouterr().err == "pyoci: it broke\n"
    assert main.main(["--debug", "mounts"]) == 1
    lines = [line.split(" ms: ")[-1] for line in capfd.readouterr().err.splitlines()]
    assert lines[-4:] == [
        "PyociError: it broke",
        "caused by KeyError: 'inner'",
        "caused by FileNotFoundError: [Errno 2] No such file or directory: '/nonesuch'",
        "pyoci: it broke",
    ]


def test_debug_goes_to_the_log_in_place_of_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As with runc and crun: what create writes to stderr would end up in the container's output."""
    path = tmp_path / "log"
    call = ["--log-level=debug", "--root", str(tmp_path), "list", "-q"]
    assert main.main(call) == 0
    assert re.fullmatch(r"pyoci: debug: [0-9.]+ ms: list -q: status 0\n", capfd.readouterr().err)
    assert main.main(["--log", str(path), *call]) == 0
    assert capfd.readouterr().err == ""
    assert re.fullmatch(r'time="20.*" level=debug msg="[0-9.]+ ms: list -q: status 0"\n', path.read_text())
    assert main.main(["--debug", "--log", str(path), "mounts"]) == 1
    assert capfd.readouterr().err == "pyoci: mounts: not supported yet by this version of pyoci\n"
    *debug, error = path.read_text().splitlines()[1:]
    assert len(debug) > 2 and all(" level=debug " in line for line in debug)
    assert error.endswith('level=error msg="mounts: not supported yet by this version of pyoci"')


def warned(monkeypatch: pytest.MonkeyPatch, error: str = "") -> None:
    """Makes the verb ``mounts`` one that warns twice, and then succeeds, or fails with ``error``."""

    def run(*_: object) -> int:
        report.warn("a capability is\nunknown")
        report.warn("so is another")
        if error:
            raise PyociError(error)
        return 0

    monkeypatch.setattr(unsupported, "run", run)


def test_a_warning_goes_to_stderr_or_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warned(monkeypatch)
    assert main.main(["mounts"]) == 0
    lines = ["pyoci: warning: a capability is\\nunknown", "pyoci: warning: so is another"]
    assert capfd.readouterr().err.splitlines() == lines
    assert main.main(["--log-level=error", "mounts"]) == 0
    assert main.main(["--log", str(tmp_path / "text"), "mounts"]) == 0
    assert main.main(["--log", str(tmp_path / "json"), "--log-format=json", "mounts"]) == 0
    assert capfd.readouterr().err == ""
    text = (tmp_path / "text").read_text().splitlines()
    assert text[0].endswith('level=warning msg="a capability is\\\\nunknown"') and len(text) == 2
    entries = [json.loads(line) for line in (tmp_path / "json").read_text().splitlines()]
    assert [(one["level"], one["msg"]) for one in entries] == [
        ("warning", "a capability is\\nunknown"),
        ("warning", "so is another"),
    ]


def test_a_json_log_of_a_failure_is_one_object_with_the_warnings_in_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman reads the file as one object. With --debug, which podman does not give, each line is written at once."""
    warned(monkeypatch, error="it broke")
    path = tmp_path / "log.json"
    assert main.main(["--log", str(path), "--log-format=json", "mounts"]) == 1
    entry = json.loads(path.read_text())
    assert (entry["level"], entry["msg"]) == ("error", "it broke")
    assert entry["warnings"] == ["a capability is\\nunknown", "so is another"]
    path.unlink()
    assert main.main(["--debug", "--log", str(path), "--log-format=json", "mounts"]) == 1
    levels = [json.loads(line)["level"] for line in path.read_text().splitlines()]
    assert levels[:2] == ["warning", "warning"] and levels[-1] == "error" and set(levels[2:-1]) == {"debug"}
    assert capfd.readouterr().err == "pyoci: it broke\n" * 2


def test_an_error_of_a_global_flag_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    assert main.main(["--log", str(path), "--log-format=json", "--rootless=perhaps", "list"]) == 1
    assert json.loads(path.read_text())["msg"] == "flag --rootless: 'perhaps' is none of true, false, auto"


def test_a_full_disk_is_an_error_not_a_silence() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-S", "-m", "pyoci", "--help"],
            env={"PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"pyoci: no space left on device\n"


def test_closed_standard_descriptors(tmp_path: Path) -> None:
    """The log file would be descriptor 2 else, and get what is meant for people too."""
    path = tmp_path / "log.json"
    done = call("--log", str(path), "--log-format=json", "mounts", preexec_fn=lambda: os.close(2))
    assert done.returncode == 1
    assert json.loads(path.read_text())["msg"].startswith("mounts: not supported yet")
    assert call("--help", preexec_fn=lambda: os.closerange(0, 3)).returncode == 0


@pytest.mark.parametrize(
    "value", [{}, [], {"a": {}, "b": []}, {"a": [1, {"ü": None}], "b": {"c": 'x"\n'}}, "t", 5, True]
)
def test_pretty_is_json_with_an_indent_of_two(value: object) -> None:
    assert output.pretty(value) == json.dumps(value, indent=2, ensure_ascii=False)


def test_an_error_class_of_ours_is_never_an_internal_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> int:
        raise PyociError("no")

    monkeypatch.setattr(unsupported, "run", refused)
    assert main.main(["mounts"]) == 1
    assert capfd.readouterr().err == "pyoci: no\n"
