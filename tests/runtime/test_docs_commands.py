# SPDX-License-Identifier: Apache-2.0
"""The commands of README.md and docs/: each one is run, and prints what the document shows (tests/harness/docs.py)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import docs
from harness.runtime import REPOSITORY, Runtime

TIMEOUT = 120.0  # seconds for a whole document
# Packages and build are there when tests run; what is left of the target is this.
DEMO = {"sudo make demo\n": "bundles/demo.sh\n"}
DOCUMENTS = [path for path in docs.documents() if path.exists() and any(block.runs for block in docs.blocks(path))]


def make_place(runtime: Runtime) -> Path:
    """A directory with `work`, which looks like the clone of the repository in which a reader types.

    pyoci keeps its states in the test's own root. sudo does nothing but set
    its own path, as on Debian (secure_path).
    """
    path = runtime.tmp / "docs"
    (path / "work/build").mkdir(parents=True)
    (path / "bin").mkdir()
    (path / "work/bundles").symlink_to(REPOSITORY / "bundles")
    for name in ("bundles", "lib"):
        (path / "work/build" / name).symlink_to(REPOSITORY / "build" / name)
    for program, line in (
        (path / "work/build/pyoci", f'exec {runtime.command} --root {runtime.root} "$@"'),
        (path / "bin/sudo", 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin exec "$@"'),
    ):
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    return path


@contextlib.contextmanager
def nothing_left(runtime: Runtime) -> Iterator[None]:
    """Removes the containers and pods that a document has made; those that it leaves fail the test."""
    pods: list[str] = []
    try:
        yield
    finally:
        directory = runtime.root.with_name(f"{runtime.root.name}-pods")
        pods += [entry.name for entry in directory.iterdir()] if directory.exists() else []
        for name in pods:
            runtime.call("pod", "rm", "--force", name)
        containers = runtime.ok("list", "-q").out.split()
        for container_id in containers:
            runtime.call("delete", "--force", container_id)
    assert (pods, containers) == ([], []), "the document leaves this behind"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_document(runtime: Runtime, path: Path) -> None:
    """Every command ends as it is shown to, and prints what is shown."""
    if runtime.kind != "pyoci":
        pytest.skip(f"the documents are not about {runtime.kind}")
    place = make_place(runtime)
    items: list[docs.Command | docs.Block] = []
    for block in docs.blocks(path):
        if block.runs:
            items += docs.commands(block)
        elif block.mark == "file":
            items.append(block)
    commands = [item for item in items if isinstance(item, docs.Command)]
    for command in commands:
        command.text = DEMO.get(command.text, command.text)
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": f"{place}/bin:{place}/work/build:{system}", "HOME": str(place), "LANG": "C.UTF-8"}
    with nothing_left(runtime):
        ran = docs.run(items, place, environment, TIMEOUT)
    assert len(ran) == len(commands), f"stopped at: {commands[len(ran)].text}"
    for command, result in zip(commands, ran, strict=True):
        assert (result.code != 0) == command.may_fail, f"{command.text}ends with {result.code}:\n{result.output}"
        if command.shown is not None:
            difference = docs.differs(command.shown, result.output)
            assert not difference, f"{command.text}{difference}"


def test_readme_has_commands() -> None:
    """The list above is made by looking: it must not be empty by mistake."""
    assert REPOSITORY / "README.md" in DOCUMENTS
    assert os.access(REPOSITORY / "bundles/demo.sh", os.X_OK)
