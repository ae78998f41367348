# SPDX-License-Identifier: Apache-2.0
"""A pod's directory and its logs, on a real file system."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pyoci.errors import PodError
from pyoci.pod import directory, tables
from pyoci.pod.directory import Directory
from pyoci.pod.logs import LARGEST, LONGEST, Lines, Log, Reader, timestamp


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


def test_log_is_in_the_format_of_cri(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    log.write("stdout", [(b"one", True), (b"par", False)])
    log.write("stderr", [(b"two words", True)])
    log.write("stdout", [(b"t", True)])
    log.close()
    shape = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] .*"
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert len(lines) == 4
    assert all(re.fullmatch(shape, line) for line in lines)
    found = Reader(str(tmp_path / "log")).read()
    assert [(stream, text) for _, stream, text in found] == [
        ("stdout", b"one"), ("stderr", b"two words"), ("stdout", b"part"),
    ]  # fmt: skip
    assert os.stat(tmp_path / "log").st_mode & 0o777 == 0o600


def test_log_is_read_on(tmp_path: Path) -> None:
    reader = Reader(str(tmp_path / "log"))
    assert reader.read() == []
    log = Log(str(tmp_path / "log"))
    for number in range(3):
        log.write("stdout", [(b"%d" % number, True)])
        assert [text for _, _, text in reader.read()] == [b"%d" % number]
    log.close()


def test_log_is_rotated_and_nothing_is_lost_to_a_reader(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    log, reader = Log(path), Reader(path)
    count, piece = 0, b"x" * 10000
    seen = 0
    while not os.path.exists(path + ".1"):
        log.write("stdout", [(piece, True)] * 100)
        count += 100
        seen += len(reader.read())
    seen += len(reader.read())
    assert seen == count
    assert os.path.getsize(path + ".1") <= LARGEST
    assert len(Reader(path).read()) == count
    log.close()


def test_timestamp() -> None:
    assert timestamp(1_475_798_989_669_794_202) == "2016-10-07T00:09:49.669794202Z"


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
    assert Path(made.manifest).read_bytes() == b"kind: Pod\n"
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
    made.save('{"containers": []}')
    assert made.load() == {"containers": []}
    for damage in ("", "{", "[]", "null", '{"containers": 1}'):
        Path(made.path, "pod.json").write_text(damage)
        with pytest.raises(PodError, match="pod p: read"):
            made.load()
    os.close(lock)


def test_unknown_pod(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="pod q: pod does not exist"):
        Directory(str(tmp_path), "q").load()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (61, "1m01s"), (3600, "1h00m"), (90000, "1d1h"), (-5, "0s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


def test_columns_are_aligned() -> None:
    assert tables.columns([("A", "B"), ("long", ""), ("x", "y")]) == "A     B\nlong\nx     y\n"
