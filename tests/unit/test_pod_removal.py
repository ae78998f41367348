# SPDX-License-Identifier: Apache-2.0
"""Removing a tree of any depth, and nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.container import host
from pyoci.errors import PodError
from pyoci.pod import removal


def remove(above: Path, name: str) -> None:
    fd = os.open(above, os.O_RDONLY)
    try:
        removal.remove(fd, name)
    finally:
        os.close(fd)


def test_whole_tree(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for name in ("a/b/c", "a/d", "e"):
        (top / name).mkdir(parents=True)
        (top / name / "file").write_text("x")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/kept").write_text("kept")
    (top / "a/link").symlink_to(tmp_path / "beside")
    (top / "a/b/link").symlink_to("/")
    os.mkfifo(top / "fifo")
    remove(tmp_path, "top")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["beside", "kept"]


def test_deeper_than_paths_and_recursion_allow(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for name in ("top", *["deep"] * 4000):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove(tmp_path, "top")
    assert list(tmp_path.iterdir()) == []


def test_absent_is_fine_and_a_symlink_is_not_followed(tmp_path: Path) -> None:
    remove(tmp_path, "nothing")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/kept").write_text("x")
    (tmp_path / "link").symlink_to("directory")
    remove(tmp_path, "link")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
    assert (tmp_path / "directory/kept").exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / "top/mounted").mkdir(parents=True)
    host.tmpfs(str(tmp_path / "top/mounted"), 0o700)
    try:
        with pytest.raises(PodError, match="^remove top: mounted: device or resource busy$"):
            remove(tmp_path, "top")
    finally:
        host.unmount(str(tmp_path / "top/mounted"))
