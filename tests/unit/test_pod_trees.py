# SPDX-License-Identifier: Apache-2.0
"""Removing a tree of any depth, and nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.errors import PodError
from pyoci.pod import trees


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
    trees.remove(str(top))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["beside", "kept"]


def test_deeper_than_paths_and_recursion_allow(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for name in ("top", *["deep"] * 4000):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    trees.remove(str(tmp_path / "top"))
    assert list(tmp_path.iterdir()) == []


def test_absent_is_fine_and_a_symlink_is_refused(tmp_path: Path) -> None:
    trees.remove(str(tmp_path / "nothing"))
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    with pytest.raises(PodError, match="remove .*link: Not a directory|Too many levels"):
        trees.remove(str(tmp_path / "link"))
    assert (tmp_path / "directory").is_dir()
