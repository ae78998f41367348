# SPDX-License-Identifier: Apache-2.0
"""Reading of documents: what is refused, and that the one line of the error names file, property, value and remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pyoci.config import check, default, load
from pyoci.errors import PyociError, SpecError, UnsupportedError

CORPUS = Path(__file__).parent / "corpus"
REMOVED = object()


def bundle(tmp_path: Path, document: Any) -> str:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    (tmp_path / "config.json").write_bytes(text)
    return str(tmp_path)


def with_value(pointer: str, value: Any) -> dict[str, Any]:
    """The default configuration with another value at a pointer; "-" appends to an array."""
    document = default.config()
    *parents, last = pointer.split("/")[1:]
    parent: Any = document
    for part in parents:
        parent = parent[int(part)] if isinstance(parent, list) else parent.setdefault(part, {})
    if isinstance(parent, list):
        parent[int(last) :] = [value]
    elif value is REMOVED:
        del parent[last]
    else:
        parent[last] = value
    return document


# Each: where the fault is, the value there, and what the message has to contain besides.
MALFORMED: list[tuple[str, Any, str]] = [
    ("/ociVersion", REMOVED, "missing"),
    ("/ociVersion", "2.0.0", "expected 1.MINOR.PATCH, such as 1.3.0"),
    ("/ociVersion", "1.0", "'1.0'); expected 1.MINOR.PATCH, such as 1.3.0"),
    ("/ociVersion", "1.4", "expected 1.MINOR.PATCH"),
    ("/ociVersion", 1.0, "expected 1.MINOR.PATCH"),
    ("/root", REMOVED, "missing"),
    ("/root", "rootfs", "an object"),
    ("/root/path", "", "absolute or relative"),
    ("/root/readonly", "yes", "true or false"),
    ("/process", REMOVED, "missing"),
    ("/process", [], "an empty array is not allowed"),
    ("/process/args", REMOVED, "missing"),
    ("/process/args", [], "an empty array is not allowed"),
    ("/process/args", "sh", "an array"),
    ("/process/args/0", 7, "argument"),
    ("/process/args/0", "a\0b", "'a\\x00b'"),
    ("/process/args/0", None, "null is not allowed"),
    ("/process/cwd", REMOVED, "working directory"),
    ("/process/cwd", "tmp", "working directory"),
    ("/process/env/0", "PATH", "NAME=VALUE"),
    ("/process/env/0", "=x", "NAME=VALUE"),
    ("/process/user/uid", REMOVED, "user id"),
    ("/process/user/uid", 4294967295, "from 0 to 4294967294"),
    ("/process/user/uid", -1, "from 0 to 4294967294"),
    ("/process/user/uid", 2**64, "from 0 to 4294967294"),
    ("/process/user/uid", "0", "(it is '0')"),
    ("/process/user/uid", True, "(it is true)"),
    ("/process/user/uid", 1.0, "(it is 1.0)"),
    ("/process/user/gid", 4294967295, "from 0 to 4294967294"),
    ("/process/user/umask", 512, "511"),
    ("/process/user/additionalGids", [-1], "group id"),
    ("/process/capabilities", ["CAP_KILL"], "an object"),
    ("/process/capabilities/bounding", "CAP_KILL", "an array"),
    ("/process/rlimits/0/type", "RLIMIT_OPEN", "RLIMIT_NOFILE"),
    ("/process/rlimits/0/soft", -1, "18446744073709551615"),
    ("/process/rlimits/0/soft", 1025, "above the hard limit"),
    ("/process/oomScoreAdj", 1001, "-1000 to 1000"),
    ("/process/noNewPrivileges", 1, "true or false"),
    ("/process/scheduler", {"policy": "SCHED_NONE"}, "SCHED_FIFO"),
    ("/process/ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 8}, "0 to 7"),
    ("/hostname", "h" * 65, "at most 64"),
    ("/hostname", "ü" * 33, "64 bytes"),
    ("/mounts", {}, "an array"),
    ("/mounts/0/destination", REMOVED, "missing"),
    ("/mounts/0/destination", "", "path in the container"),
    ("/mounts/1/options", "ro", "an array"),
    ("/mounts/1/options/0", 0, "mount option"),
    ("/hooks/prestart", [{"path": "hook"}], "absolute path"),
    ("/hooks/poststop", [{"path": "/hook", "timeout": 0}], "1 to"),
    ("/hooks/createRuntime", [{}], "missing"),
    ("/annotations", {"key": 1}, "annotation value"),
    ("/linux", [], "an empty array"),
    ("/linux/namespaces/0/type", "net", "network"),
    ("/linux/namespaces/0/path", "ns/pid", "absolute path"),
    ("/linux/namespaces/0/path", "/" + "x" * 70000, "4095"),
    ("/linux/uidMappings", [{"containerID": 0, "hostID": 0, "size": 0}], "how many ids"),
    ("/linux/devices", [{"path": "/dev/x", "type": "c", "major": 1}], "minor number"),
    ("/linux/devices", [{"path": "dev/x", "type": "c", "major": 1, "minor": 1}], "absolute path"),
    ("/linux/resources/memory", {"limit": "64m"}, "bytes"),
    ("/linux/resources/pids", {"limit": -2}, "-1"),
    ("/linux/resources/devices/0/access", "rwx", "letters r, w, m"),
    ("/linux/resources/unified", {"../x": "1"}, "memory.high"),
    ("/linux/rootfsPropagation", "public", "rslave"),
    ("/linux/seccomp", {"defaultAction": "ALLOW"}, "SCMP_ACT_ALLOW"),
    ("/linux/seccomp", {}, "missing"),
    ("/linux/sysctl", {"kernel.core_pattern": "|/x"}, "not a parameter of a namespace"),
    ("/linux/sysctl", {"net/../kernel/core_pattern": "|/x"}, "kernel parameter"),
    ("/linux/maskedPaths/0", "", "path in the container"),
    ("/linux/readonlyPaths", "/proc/sys", "an array"),
    ("/linux/personality", {"domain": "LINUX64"}, "LINUX32"),
    ("/linux/timeOffsets", {"realtime": {"secs": 1}}, "monotonic"),
]


@pytest.mark.parametrize(("pointer", "value", "words"), MALFORMED, ids=lambda each: str(each)[:40])
def test_malformed(tmp_path: Path, pointer: str, value: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load.config(bundle(tmp_path, with_value(pointer, value)))
    line = str(caught.value)
    assert line.startswith(f"config.json: {pointer}"), line
    assert words in line
    assert "\n" not in line
    assert len(line) < 1000
    assert not line.endswith(".")
    assert caught.value.pointer.startswith(pointer)


def test_form_of_the_message(tmp_path: Path) -> None:
    document = with_value("/process/user/uid", 4294967295)
    with pytest.raises(SpecError) as caught:
        load.config(bundle(tmp_path, document))
    assert str(caught.value) == (
        "config.json: /process/user/uid: not allowed (it is 4294967295); "
        "expected an integer from 0 to 4294967294 (user id)"
    )
    document["hostname"] = 5
    del document["process"]["cwd"]
    with pytest.raises(SpecError) as caught:
        load.config(bundle(tmp_path, document))
    assert str(caught.value).endswith("; also wrong: /hostname, /process/cwd")


def test_message_without_jsonschema(tmp_path: Path) -> None:
    """The generated check has words of its own where jsonschema is not installed."""
    program = (
        "import sys; sys.modules['jsonschema'] = None; sys.path[:0] = sys.argv[2:]\n"
        "from pyoci.config import load\n"
        "try: load.config(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    document = with_value("/process/user/uid", -1)
    document["hostname"] = 5
    done = subprocess.run(
        [sys.executable, "-c", program, bundle(tmp_path, document), *sys.path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = "SpecError config.json: /process/user/uid: not allowed (it is -1); "
    assert done.stdout == expected + "expected an integer from 0 to 4294967294 (user id)\n", done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "line 1 column 1"),
        (b"{", "line 1 column 2"),
        (b'{\n "a": 1,\n "b" 2\n}', "line 3 column 6"),
        (b'{"a": 1} x', "line 1 column 10"),
        (b'{"a": nope}', "line 1 column 7"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": "\x01"}', "line 1"),
        (b'{"a": "b\nc"}', "line 1"),
        (b"\xff{}", "UTF-8"),
        (b"[" * 100000, "nested too deeply"),
        (b'{"hostname": ' + b'{"a":' * 100000 + b"1" + b"}" * 100000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300"),
        (b'{"a": "\\ud800"}', "surrogate pair"),
        (b'{"x\\uDC80": 1}', "surrogate pair"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_not_json(tmp_path: Path, text: bytes, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load.config(bundle(tmp_path, text))
    line = str(caught.value)
    assert line.startswith("config.json: ")
    assert words in line
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize("text", [b"null", b"[]", b"7", b'"text"', b"true"])
def test_not_an_object(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(SpecError, match="config.json: /: .*not allowed.*an object"):
        load.config(bundle(tmp_path, text))


def test_a_whole_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    text = json.dumps(with_value("/process/args/0", "\U0001f600"))
    assert "\\ud83d" in text
    assert load.config(bundle(tmp_path, text.encode())).process.args == ["\U0001f600"]


@pytest.mark.parametrize("depth", [100, 300, 450, 600, 800, 950])
def test_deep_documents_end_in_one_line(tmp_path: Path, depth: int) -> None:
    """Whatever the scanner lets pass must not exhaust the stack later."""
    deep: Any = 1
    for _ in range(depth):
        deep = [deep]
    text = json.dumps({**default.config(), "hostname": "DEEP", "annotations": None}).replace(
        '"DEEP"', "[" * depth + "]" * depth
    )
    with pytest.raises(SpecError) as caught:
        load.config(bundle(tmp_path, text.encode()))
    assert "/hostname" in str(caught.value) or "nested too deeply" in str(caught.value)
    blocks = text.replace(
        '"linux": {', '"linux": {"resources": {"blockIO": {"x":' + "[" * depth + "]" * depth + "}},", 1
    )
    with pytest.raises(SpecError):
        load.config(bundle(tmp_path, blocks.encode()))


def test_names_of_properties_cannot_break_the_line(tmp_path: Path) -> None:
    name = "net.\n\x1b[31m~/" + "x" * 90000
    with pytest.raises(SpecError) as caught:
        load.config(bundle(tmp_path, with_value("/linux/sysctl", {name: "1"})))
    line = str(caught.value)
    assert "\n" not in line
    assert "\x1b" not in line
    assert "/linux/sysctl/net.\\n\\x1b[31m~0~1xxx" in line
    assert len(line) < 1000


@pytest.mark.parametrize(
    ("pointer", "value", "text"),
    [
        ("/ociVersion", "1.0", "(it is '1.0'); expected 1.MINOR.PATCH, such as 1.3.0 (version of the runtime spec"),
        ("/process/cwd", "work", "(it is 'work'); expected an absolute path of at most 4095 characters (working dir"),
        ("/linux/namespaces/0/type", "netwrok", "; expected one of pid, network, mount, ipc, uts, user, cgroup, time"),
        ("/process/rlimits/0/soft", -1, "(it is -1); expected an integer from 0 to 18446744073709551615 (soft limit)"),
        ("/process/args", [], ": an empty array is not allowed; expected an array, not empty (program and its argum"),
        ("/process/env/0", "PATH", "(it is 'PATH'); expected NAME=VALUE (variable"),
        ("/root/path", "", "(it is ''); expected a text without NUL of at most 4095 characters, not empty (directory"),
        ("/linux/rootfsPropagation", "x", "; expected one of private, rprivate, shared, rshared, slave, rslave, unb"),
    ],
)
def test_words(tmp_path: Path, pointer: str, value: Any, text: str) -> None:
    """What is expected there: first its form, then what it means."""
    with pytest.raises(SpecError) as caught:
        load.config(bundle(tmp_path, with_value(pointer, value)))
    assert text in str(caught.value)


def test_what_may_be_missing_is_named_in_the_same_words(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"/process/cwd: missing; expected an absolute path .* \(working directory"):
        load.config(bundle(tmp_path, with_value("/process/cwd", REMOVED)))


def test_nulls_are_absent(tmp_path: Path) -> None:
    document = json.loads((CORPUS / "docker.json").read_text(encoding="utf-8"))
    assert document["process"]["rlimits"] is None
    found: Any = load.config(bundle(tmp_path, document)).document
    assert "rlimits" not in found["process"]
    assert "hugepageLimits" not in found["linux"]["resources"]
    document["root"] = None
    with pytest.raises(SpecError, match="/root: missing"):
        load.config(bundle(tmp_path, document))


def test_absent_ids_are_zero(tmp_path: Path) -> None:
    document = with_value("/process/user", {"uid": 5})
    document["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    found = load.config(bundle(tmp_path, document)).process
    assert (found.uid, found.gid, found.umask) == (5, 0, 0o022)
    assert found.io_priority == 3 << 13
    del document["process"]["user"]
    found = load.config(bundle(tmp_path, document)).process
    assert (found.uid, found.gid) == (0, 0)


@pytest.mark.parametrize("name", ["podman", "docker", "containerd"])
def test_what_engines_write_is_accepted(name: str) -> None:
    found = load.config(str(CORPUS), f"{name}.json")
    assert found.process.args


def test_other_platforms_are_ignored(tmp_path: Path) -> None:
    document = {**default.config(), "windows": {"layerFolders": 7}, "vm": [], "solaris": "x", "x-own": {"a": [1]}}
    assert load.config(bundle(tmp_path, document)).document["windows"] == {"layerFolders": 7}


def test_another_name_for_the_file(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(with_value("/process/cwd", "x")), encoding="utf-8")
    with pytest.raises(SpecError, match=r"^other\.json: /process/cwd: "):
        load.config(str(tmp_path), "other.json")


def test_missing_file_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(PyociError) as caught:
        load.config(str(tmp_path))
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "no such file or directory" not in str(caught.value).lower()
    assert "does not exist" not in str(caught.value)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "config.json"
    os.mkfifo(fifo)
    begin = time.monotonic()
    for path in (str(fifo), "/dev/zero", "/dev/tty", str(tmp_path)):
        with pytest.raises(PyociError) as caught:
            load.config("/", path)
        assert path in str(caught.value)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - begin < 1


PROCESS = {"args": ["true"], "cwd": "/", "user": {"uid": 7}}


def through_a_pipe(*parts: bytes, close: bool = True) -> tuple[int, threading.Thread]:
    """A pipe's end to read from, and the thread that writes the parts to the other."""
    read, write = os.pipe()

    def fill() -> None:
        try:
            for part in parts:
                os.write(write, part)
                time.sleep(0.01)
        except BrokenPipeError:
            pass
        if close:
            os.close(write)

    thread = threading.Thread(target=fill)
    thread.start()
    return read, thread


def test_a_process_comes_through_a_pipe() -> None:
    """``exec --process <(…)``; as the shell has it, by the descriptor's path."""
    text = json.dumps(PROCESS).encode()
    read, thread = through_a_pipe(text[:9], b"", text[9:])
    try:
        assert load.process(f"/dev/fd/{read}") == PROCESS
    finally:
        os.close(read)
        thread.join()


def test_a_pipe_that_nobody_writes_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PIPE_TIME", 0.2)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(PyociError, match=r"fifo': the pipe was not written and closed within 0\.2 s"):
        load.process(str(fifo))
    read, thread = through_a_pipe(b'{"args":', close=False)
    try:
        with pytest.raises(PyociError, match="not written and closed"):
            load.process(f"/dev/fd/{read}")
    finally:
        os.close(read)
        thread.join()


def test_a_pipe_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PIPE_TIME", 60.0)
    read, thread = through_a_pipe(*[b" " * (1 << 20)] * 20)
    try:
        with pytest.raises(PyociError, match=f"longer than {load.LONGEST} bytes"):
            load.process(f"/dev/fd/{read}")
    finally:
        os.close(read)
        thread.join()


def test_a_path_with_nul() -> None:
    with pytest.raises(PyociError, match="embedded null"):
        load.process("/a\0b")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as stream:
        stream.truncate(1 << 34)
    with pytest.raises(PyociError, match="longer than 16777216 bytes"):
        load.config(str(tmp_path))
    with path.open("wb") as stream:
        stream.write(json.dumps(default.config()).encode().ljust(load.LONGEST))
    assert load.config(str(tmp_path)).hostname == "runc"


def test_a_process_alone(tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"args": ["true"], "cwd": "/", "terminal": None}), encoding="utf-8")
    assert load.process(str(path)) == {"args": ["true"], "cwd": "/", "user": {"uid": 0}}
    path.write_text(json.dumps({"args": ["x"], "cwd": "a"}), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load.process(str(path))
    assert str(caught.value).startswith(f"{path}: /cwd: not allowed")
    with pytest.raises(SpecError, match="^p.json: /args: missing"):
        check.process({"cwd": "/"}, "p.json")
    with pytest.raises(UnsupportedError, match="^process: /apparmorProfile: AppArmor"):
        check.process({"args": ["x"], "cwd": "/", "apparmorProfile": "p"})


def test_state() -> None:
    document = {"ociVersion": "1.3.0", "id": "a", "status": "stopped", "bundle": "/b"}
    check.state(document)
    with pytest.raises(SpecError, match="^state: /status: not allowed .*'gone'"):
        check.state({**document, "status": "gone"})


def test_time_of_the_check() -> None:
    """A bound that only another order of magnitude breaks: a check of a large document stays far below 0.1 s."""
    document = load.config(str(CORPUS), "podman.json").document
    begin = time.perf_counter()
    for _ in range(100):
        check.config(document)
    assert time.perf_counter() - begin < 10
