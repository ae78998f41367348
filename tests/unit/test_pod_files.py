# SPDX-License-Identifier: Apache-2.0
"""A pod's directory and its logs, on a real file system."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cli import pod_tables
from pyoci.errors import PodError
from pyoci.pod import directory, state
from pyoci.pod.directory import Directory
from pyoci.pod.logs import LARGEST, LONGEST, Lines, Log, Reader


def test_lines_are_cut() -> None:
    lines = Lines()
    assert lines.feed(b"a\nb") == [(b"a", True)]
    assert lines.feed(b"c\n\n") == [(b"bc", True), (b"", True)]
    assert lines.feed(b"x" * (LONGEST + 1)) == [(b"x" * LONGEST, False)]
    assert lines.feed(b"y\n") == [(b"xy", True)]
    assert lines.end() == []
    lines.feed(b"last")
    assert lines.end() == [(b"last", True)]
    assert lines.feed(b"z" * 2 * LONGEST + b"\n") == [(b"z" * LONGEST, False), (b"z" * LONGEST, True)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_log_is_in_the_format_of_cri(tmp_path: Path, folder: int) -> None:
    log = Log(folder, "log")
    log.write("stdout", [(b"one", True), (b"par", False)])
    log.write("stderr", [(b"two words", True)])
    log.write("stdout", [(b"t", True)])
    log.close()
    shape = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] .*"
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert len(lines) == 4
    assert all(re.fullmatch(shape, line) for line in lines)
    found = Reader(folder, "log").read()
    assert [(stream, text) for _, stream, text in found] == [
        ("stdout", b"one"), ("stderr", b"two words"), ("stdout", b"part"),
    ]  # fmt: skip
    assert os.stat(tmp_path / "log").st_mode & 0o777 == 0o600


def test_log_is_read_on(folder: int) -> None:
    reader = Reader(folder, "log")
    assert reader.read() == []
    log = Log(folder, "log")
    for number in range(3):
        log.write("stdout", [(b"%d" % number, True)])
        assert [text for _, _, text in reader.read()] == [b"%d" % number]
    log.close()


def test_log_is_rotated_and_nothing_is_lost_to_a_reader(tmp_path: Path, folder: int) -> None:
    path = str(tmp_path / "log")
    log, reader = Log(folder, "log"), Reader(folder, "log")
    count, piece = 0, b"x" * 10000
    seen = 0
    while not os.path.exists(path + ".1"):
        log.write("stdout", [(piece, True)] * 100)
        count += 100
        seen += len(reader.read())
    seen += len(reader.read())
    assert seen == count
    assert os.path.getsize(path + ".1") <= LARGEST
    assert len(Reader(folder, "log").read()) == count
    log.close()


def test_symlinks_are_no_logs(tmp_path: Path, folder: int) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "log").symlink_to("victim")
    with pytest.raises(OSError, match="Too many levels"):
        Log(folder, "log")
    with pytest.raises(OSError, match="Too many levels"):
        Reader(folder, "log").read()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "A", "a\n", ".hidden", "a" * 64, "-a"])
def test_names_that_no_pod_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(PodError, match="not a name"):
        Directory(str(tmp_path), name)


def claimed(tmp_path: Path) -> tuple[Directory, int]:
    made = Directory(str(tmp_path / "state"), "p")
    return made, made.claim(b"kind: Pod\n")


def test_claim_makes_a_closed_directory(tmp_path: Path) -> None:
    made, lock = claimed(tmp_path)
    assert made.path == f"{tmp_path}/state-pods/p"
    assert os.stat(made.path).st_mode & 0o777 == 0o700
    assert os.stat(made.parent).st_mode & 0o777 == 0o700
    assert Path(made.path, "manifest.yaml").read_bytes() == b"kind: Pod\n"
    assert os.listdir(made.parent) == ["p"]
    assert directory.names(f"{tmp_path}/state") == ["p"]
    os.close(lock)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    made, lock = claimed(tmp_path)
    with pytest.raises(PodError, match="pod p: exists already"):
        made.claim(b"")
    assert os.listdir(made.parent) == ["p"]
    os.close(lock)


def test_lock_tells_whether_there_is_a_supervisor(tmp_path: Path) -> None:
    made, lock = claimed(tmp_path)
    assert made.supervised()
    assert made.take_lock() == -1
    os.close(lock)
    assert not made.supervised()


def test_state_is_replaced(tmp_path: Path) -> None:
    made, lock = claimed(tmp_path)
    with pytest.raises(PodError, match="has no state yet"):
        made.load()
    saved = state.unknown("p")
    made.save(json.dumps(saved))
    assert made.load() == saved
    with open(f"{made.path}/pod.json") as before:
        made.save(json.dumps(saved | {"phase": "Running"}))
        assert json.load(before) == saved  # who reads the old one reads all of it
    assert sorted(os.listdir(made.path)) == [
        "containers", "etc", "lock", "logs", "manifest.yaml", "pod.json", "shm", "volumes",
    ]  # fmt: skip
    for damage in ("", "{", "[]", "null", '{"containers": []}', json.dumps(saved | {"containers": [{"name": "a"}]}),
                   json.dumps(saved | {"created": 1.5}), json.dumps(saved | {"events": [1]})):  # fmt: skip
        Path(made.path, "pod.json").write_text(damage)
        with pytest.raises(PodError, match="pod p: read .*/pod.json: ."):
            made.load()
    Path(made.path, "pod.json").unlink()
    os.mkfifo(f"{made.path}/pod.json")
    with pytest.raises(PodError, match="pod p: read .*/pod.json: not a pod's state"):
        made.load()
    os.close(lock)


@pytest.mark.parametrize("part", ["state-pods", "state-pods/p", "state-pods/p/pod.json", "state-pods/p/lock"])
def test_no_symlink_is_followed(tmp_path: Path, part: str) -> None:
    """Whatever of a pod's directory is a symlink: what it points to is not read, locked, written or removed."""
    made, lock = claimed(tmp_path)
    os.close(lock)
    made.save(json.dumps(state.unknown("p")))
    (tmp_path / part).rename(tmp_path / "elsewhere")
    (tmp_path / part).symlink_to(tmp_path / "elsewhere")

    def snapshot() -> list[tuple[str, int]]:
        return [(str(path), path.lstat().st_mtime_ns) for path in sorted((tmp_path / "elsewhere").rglob("*"))]

    before = snapshot()
    if not part.endswith("lock"):
        with pytest.raises(PodError, match="symlink"):
            made.load()
    if not part.endswith("json"):
        with pytest.raises(PodError, match="symlink"):
            made.take_lock()
    if part == "state-pods":
        with pytest.raises(PodError, match="symlink"):
            made.claim(b"")
        with pytest.raises(PodError, match="symlink"):
            directory.names(f"{tmp_path}/state")
    if part == "state-pods/p":
        with pytest.raises(PodError, match="symlink"):
            made.save("{}")
        with pytest.raises(PodError, match="exists already"):
            made.claim(b"")
    assert snapshot() == before


def test_unknown_pod(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="pod q: pod does not exist"):
        Directory(str(tmp_path), "q").load()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (61, "1m01s"), (3600, "1h00m"), (90000, "1d1h"), (-5, "0s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert pod_tables.duration(seconds) == text


def test_columns_are_aligned() -> None:
    assert pod_tables.columns([("A", "B"), ("long", ""), ("x", "y")]) == "A     B\nlong\nx     y\n"
