# SPDX-License-Identifier: Apache-2.0
"""The table of what is built: it is whole, and true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.config import check, default, schemas, supported
from pyoci.config.supported import TABLE

REPOSITORY = Path(__file__).resolve().parents[2]


def places(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every place that the schema of a configuration speaks about, as the table writes it."""
    if path:
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}/{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from places(schema[name], f"{path}/*")


def row_of(place: str) -> str:
    """The row that counts for a place: its own, or that of the nearest thing above."""
    while place and place not in TABLE:
        place = place.rpartition("/")[0]
    return place


PLACES = list(places(schemas.load("config")))
LEAVES = [place for place in PLACES if not any(other.startswith(f"{place}/") for other in PLACES)]


def test_every_property_has_a_row() -> None:
    """Nothing that the specification has is skipped in silence: who adds a property to a schema adds a row."""
    assert len(LEAVES) > 150
    assert [place for place in LEAVES if not row_of(place)] == []


def test_every_row_has_a_property() -> None:
    for row in TABLE:
        path, equals, value = row.partition("=")
        if row.startswith("--"):
            continue
        assert path in PLACES, row
        if equals and "options" not in path:
            assert value in enumeration(path), row


def enumeration(place: str) -> list[str]:
    node = schemas.load("config")
    for part in place.split("/")[1:]:
        node = node["items"] if part == "*" else node["properties"][part]
    values: list[str] = node["enum"]
    return values


@pytest.mark.parametrize("row", [row for row, support in TABLE.items() if support.where])
def test_place_of_what_is_built(row: str) -> None:
    """The file is there, and speaks of the property, as the document or as Python writes it."""
    text = (REPOSITORY / "pyoci" / TABLE[row].where).read_text(encoding="utf-8")
    name = row.rpartition("/")[2]
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    assert re.search(rf"\b({name}|\w*{snake}\w*|\w*{snake.removesuffix('s')}\b)", text), (name, snake)


def test_each_row_says_one_thing() -> None:
    for row, support in TABLE.items():
        said = [text for text in (support.where, support.subject, support.reason) if text]
        assert len(said) == 1, row


def test_what_is_refused_is_refused_wherever_it_stands() -> None:
    """Each row without a value, by a value that asks: built here from the path alone."""
    asking: dict[str, Any] = {"/linux/intelRdt": {}, "/process/execCPUAffinity": {"initial": "0"}}
    for row, support in TABLE.items():
        if support.subject and row.startswith("/") and "=" not in row:
            document: Any = asking.get(row, ["x"])
            for part in reversed(row.split("/")[1:]):
                document = [document] if part == "*" else {part: document}
            found = supported.config(document)
            assert found is not None, row
            assert (check.pointer(found[0]), found[1]) == (row.replace("*", "0"), support)


def test_values_are_found_behind_others() -> None:
    document: Any = {**default.config()}
    document["mounts"] = [*document["mounts"], {"destination": "/x", "options": ["ro", "idmap=uids=0-1-1"]}]
    found = supported.config(document)
    assert found is not None
    assert (check.pointer(found[0]), found[1].subject, found[2]) == (
        "/mounts/7/options/1",
        "idmapped mounts",
        "idmap=uids=0-1-1",
    )


@pytest.mark.parametrize("nothing", [0, False, "", [], {}, {"weight": 0, "devices": [], "path": ""}])
def test_what_asks_for_nothing(nothing: Any) -> None:
    assert supported.asks_for_nothing(nothing)


@pytest.mark.parametrize("something", [1, True, "x", [0], {"a": 1}, {"a": [0]}, {"eth0": {}}, {"mlx": {"handles": 0}}])
def test_what_asks_for_something(something: Any) -> None:
    """A map that names a device asks, whatever it says of it: a limit of 0 is one."""
    assert not supported.asks_for_nothing(something)


def test_default_configuration_asks_for_nothing_that_is_refused() -> None:
    assert supported.config(default.config()) is None
