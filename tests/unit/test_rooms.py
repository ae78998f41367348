# SPDX-License-Identifier: Apache-2.0
"""Which room of the package imports which: what the table in docs/design.md allows, and nothing else.

Read from the package as it was built, so that generated modules count. Every import counts: those inside functions,
which cost nothing until they are needed, and those under TYPE_CHECKING, for to name a type of a room is to know it.
There is no list of exceptions.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "build/lib/pyoci"
TITLE = "### Which room may import which"


@functools.cache
def allowed() -> dict[str, set[str]]:
    """The table of docs/design.md: a room to the rooms that it may import."""
    text = (REPOSITORY / "docs/design.md").read_text(encoding="utf-8")
    _, _, section = text.partition(TITLE + "\n")
    section, _, _ = section.partition("\n#")
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", cells)) for room, cells in rows}


def room_of(module: str) -> str:
    """The first name below pyoci: ``pyoci.plan.order`` is in ``plan``. What is no row of the table is pyoci's own."""
    name = module.split(".")[1] if "." in module else "pyoci"
    return name if name in allowed() else "pyoci"


def modules() -> dict[str, Path]:
    """All modules of the package by name; extension modules have no text to read."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("pyoci", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(source: str, known: Mapping[str, object]) -> Iterator[str]:
    """The modules of pyoci that a source imports, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not the style of this project"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known or node.module == "pyoci" else str(node.module) for name in whole]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "pyoci")


def crossings() -> dict[tuple[str, str], list[str]]:
    """(room, imported room) to the lines that say who does it."""
    known = modules()
    found: dict[tuple[str, str], list[str]] = {}
    for module, path in known.items():
        for target in imports(path.read_text(encoding="utf-8"), known):
            if room_of(target) != room_of(module):
                line = f"{module} imports {target}"
                found.setdefault((room_of(module), room_of(target)), []).append(line)
    return found


def test_the_table_is_read() -> None:
    table = allowed()
    assert table["kernel"] == set()
    assert "container" in table["pod"]


def test_an_import_is_seen_wherever_it_stands() -> None:
    source = """
import os
import pyoci.cgroup.v1
from pyoci import native, __version__
from pyoci.plan.order import create_plan
if TYPE_CHECKING:
    from pyoci.container.state import State
def inside():
    from pyoci.pod import engine
"""
    known = ["pyoci", "pyoci.native", "pyoci.plan.order", "pyoci.container.state", "pyoci.pod.engine"]
    assert sorted(imports(source, dict.fromkeys(known))) == [
        "pyoci.__version__",
        "pyoci.cgroup.v1",
        "pyoci.container.state",
        "pyoci.native",
        "pyoci.plan.order",
        "pyoci.pod.engine",
    ]


def test_every_room_has_its_row() -> None:
    """And every row its room; _commit is there only where git told it to the build."""
    rooms = {(module.split(".") + ["pyoci"])[1] for module in modules()}
    rooms |= {path.name.split(".")[0] for path in PACKAGE.glob("*.so")}
    assert set(allowed()) == rooms | {"pyoci", "_commit"}


def test_rooms_import_what_they_may() -> None:
    table = allowed()
    broken = [line for (room, other), lines in crossings().items() if other not in table[room] for line in lines]
    assert sorted(broken) == []


def test_nothing_is_allowed_in_vain() -> None:
    """A row says what is so, not what could be."""
    used = set(crossings())
    assert sorted((room, other) for room, others in allowed().items() for other in others - {room}) == sorted(used)


def test_the_rooms_have_an_order() -> None:
    """Each knows only rooms that stand above it in the table, so there is no circle."""
    known: set[str] = set()
    for room, others in allowed().items():
        assert others <= known, f"{room} imports {others - known}, which are not above it"
        known.add(room)


@pytest.mark.parametrize("extension", ["_native", "_seccomp"])
def test_an_extension_has_one_door(extension: str) -> None:
    """Errors of the kernel become exceptions in one place (docs/design.md)."""
    doors = {line.split()[0] for (_, other), lines in crossings().items() if other == extension for line in lines}
    assert len(doors) == 1, doors
