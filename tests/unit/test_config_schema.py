# SPDX-License-Identifier: Apache-2.0
"""The generated checks and jsonschema agree, on documents that are made from the schemas themselves.

Each corpus/full-*.json has every property of its schema. From it come good variants (a bound, another value of an
enumeration, an optional property left out) and bad ones (a wrong type, a number beyond a bound, ...), for every
node of the schema.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.config import check, checks, schemas

REPOSITORY = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
KINDS = ("config", "process", "state")
WRONG = {"object": {}, "array": [], "string": "text", "integer": 7, "boolean": True, "null": None, "number": 1.0}

Path_ = tuple[str | int, ...]
Variant = tuple[str, Path_, Any]  # what was done, the path that is then at fault (or was changed), the document


@pytest.fixture(autouse=True)
def _schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "load", functools.lru_cache(schemas.load))


def full(kind: str) -> Any:
    return json.loads((CORPUS / f"full-{kind}.json").read_text(encoding="utf-8"))


def nodes(schema: dict[str, Any], value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, dict[str, Any], Any]]:
    """Every place of a document that the schema speaks about: path, its schema, its value."""
    yield path, schema, value
    if isinstance(value, dict):
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if inner:
                yield from nodes(inner, item, (*path, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from nodes(schema["items"], item, (*path, index))


def changed(document: Any, path: Path_, value: Any) -> Any:
    result = copy.deepcopy(document)
    if not path:
        return value
    parent = result
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    return result


def without(document: Any, path: Path_) -> Any:
    result = copy.deepcopy(document)
    parent = result
    for part in path[:-1]:
        parent = parent[part]
    del parent[path[-1]]
    return result


def required(schema: dict[str, Any]) -> set[str]:
    return {*schema.get("required", ()), *schema.get("then", {}).get("required", ())}


def type_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "string")
    assert isinstance(kind, str)
    return kind


def bad_values(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for kind, value in WRONG.items():
        if kind != type_of(schema):
            yield f"a value of type {kind}", value
    if "enum" in schema:
        yield "not in the enumeration", "no such"
        if "" not in schema["enum"]:
            yield "an empty text for an enumeration", ""
    if "minimum" in schema:
        yield "below the minimum", schema["minimum"] - 1
        yield "above the maximum", schema["maximum"] + 1
        yield "no integer", schema["minimum"] + 0.5
    if schema.get("minLength"):
        yield "too short", ""
    if "maxLength" in schema:
        yield "too long", "/" + "a" * schema["maxLength"]
    if "pattern" in schema:
        yield "against the pattern", "\0"
    if schema.get("minItems"):
        yield "too few items", []


def mutants(schema: dict[str, Any], document: Any) -> Iterator[Variant]:
    for path, node, value in nodes(schema, document):
        for what, bad in bad_values(node):
            yield what, path, changed(document, path, bad)
        if isinstance(value, dict):
            for name in required(node) & value.keys():
                yield "required", (*path, name), without(document, (*path, name))
            if "propertyNames" in node:
                yield "name of a property", (*path, "a\0/..b"), changed(document, (*path, "a\0/..b"), {})


def good_values(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for value in schema.get("enum", ()):
        yield "another of the enumeration", value
    if "minimum" in schema:
        yield "the minimum", schema["minimum"]
        yield "the maximum", schema["maximum"]
    if type_of(schema) == "array" and not schema.get("minItems"):
        yield "no items", []
    if type_of(schema) == "boolean":
        yield "false", False


def variants(schema: dict[str, Any], document: Any) -> Iterator[Variant]:
    for path, node, value in nodes(schema, document):
        for what, good in good_values(node):
            if what != "another of the enumeration" or "type" not in path[-1:]:
                yield what, path, changed(document, path, good)
        if isinstance(value, dict):
            for name in value.keys() - required(node):
                yield "left out", (*path, name), without(document, (*path, name))
            if "properties" in node:
                yield "an unknown property", path, changed(document, (*path, "x-unknown"), [None, 1.5, {}])


def generated(kind: str, document: Any) -> Path_ | None:
    fault: tuple[Path_, str] | None = getattr(checks, kind)(document)
    assert fault is None or (isinstance(fault[0], tuple) and fault[1])
    return fault and fault[0]


@pytest.mark.parametrize("kind", KINDS)
def test_full_documents_have_every_property(kind: str) -> None:
    def properties(schema: Any) -> Iterator[str]:
        if isinstance(schema, list):
            for item in schema:
                yield from properties(item)
        elif isinstance(schema, dict):
            for name, item in schema.items():
                if name == "properties":
                    yield from (repr(each) for each in item.items())
                if name not in ("if", "then", "anyOf"):
                    yield from properties(item)

    schema = schemas.load(kind)
    seen = set()
    for path, node, _ in nodes(schema, full(kind)):
        seen.add(repr((path[-1:] and path[-1], node)))
    assert set(properties(schema)) <= seen


@pytest.mark.parametrize("kind", KINDS)
def test_agreement_on_good_documents(kind: str) -> None:
    schema = schemas.load(kind)
    found = list(variants(schema, full(kind)))
    assert len(found) >= (40 if kind == "config" else 10)
    for what, path, document in [("as it is", (), full(kind)), *found]:
        assert generated(kind, document) is None, (what, path)
        assert check.faults(kind, document) == [], (what, path)


@pytest.mark.parametrize("kind", KINDS)
def test_agreement_on_bad_documents(kind: str) -> None:
    schema = schemas.load(kind)
    found = list(mutants(schema, full(kind)))
    assert len(found) >= (120 if kind == "config" else 40)
    for what, path, document in found:
        assert generated(kind, document) == path, (what, path)
        assert path in check.faults(kind, document), (what, path)


@pytest.mark.parametrize("name", ["podman", "docker", "containerd"])
def test_agreement_on_what_engines_write(name: str) -> None:
    from pyoci.config import load

    document = load.without_nulls(json.loads((CORPUS / f"{name}.json").read_text(encoding="utf-8")))
    assert generated("config", document) is None
    assert check.faults("config", document) == []


def test_agreement_beside_the_systematic_cases() -> None:
    """Alternatives and conditions, which no single node of a schema has."""
    cases: list[tuple[str, Path_, Any, Path_]] = [
        ("config", ("linux", "resources", "rdma", "mlx5_1"), {}, ("linux", "resources", "rdma", "mlx5_1")),
        (
            "config",
            ("linux", "resources", "blockIO", "weightDevice", 0),
            {"major": 8, "minor": 0},
            ("linux", "resources", "blockIO", "weightDevice", 0),
        ),
        ("config", ("linux", "devices", 1), {"type": "u", "path": "/x"}, ("linux", "devices", 1, "major")),
        ("config", ("linux", "timeOffsets", "realtime"), {}, ("linux", "timeOffsets", "realtime")),
        ("config", ("linux", "netDevices", ".."), {}, ("linux", "netDevices", "..")),
        ("config", ("linux", "resources", "unified", "../x"), "1", ("linux", "resources", "unified", "../x")),
        ("state", ("status",), "unknown", ("status",)),
    ]
    for kind, path, value, fault in cases:
        document = changed(full(kind), path, value)
        assert generated(kind, document) == fault
        assert fault in check.faults(kind, document)


def test_stopped_state_needs_no_pid() -> None:
    document = full("state")
    del document["pid"]
    assert generated("state", document) == ("pid",)
    document["status"] = "stopped"
    assert generated("state", document) is None
    assert check.faults("state", document) == []


TEXTS = (
    *("", "/", "a", "/a", "//", "a/b", "a\n", "/a\n", "\n", "\0", "/\0", "ü", "/ü", "=", "A=", "A=b", "=b", "A=b=c"),
    *("1.0.0", "1.3.0", "1.3.0\n", "1.0.2-dev", "1.2.1+dev", "1.2.1-rc.1+x", "1.4.0", "1.0", "1.0.01", "2.0.0"),
    *("1.0.0-", "1.0.0+", "1.0.0-a_b", "01.0.0", "1.00.0", "1.10.0", "1..0", "1.0.0.0", "1.0.-1", "0", "10", "²"),
    *("0-3,7", "0-3, 7", "rwm", "rwmx", "m", "MB:", "MB:0=1", "MB:\n", "CAP_KILL", "cap_kill", "CAP_", "CAP_2"),
    *("memory.high", "memory", "memory.", ".high", "../x", "a..b", "hugetlb.1GB.max", "a/b.c", "a-b.c_d", "a b.c"),
    *("net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/mtu", "net..a", "net./a", "net/../a", ".", "..", "...", "eth0"),
    *("eth:0", "eth 0", "eth\t0", "2MB", "0MB", "64KB", "MB", "1TB", "20", "2mb", "openat2", "open-at"),
    *("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.6Z", "2026-01-02T03:04:05.Z", "2026-1-02T03:04:05Z"),
    *("2026-01-02T03:04:05", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05Z\n", "a" * 300, "a@b,c", "x" * 64),
)


def test_helpers_say_what_their_patterns_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions that stand for patterns are written by hand; here each meets its regular expression."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # the program puts the source tree into it
    compiler = runpy.run_path(str(REPOSITORY / "schema/generate.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "schema").glob("*.json"))
    for pattern, (helper, _) in compiler["PATTERNS"].items():
        assert json.dumps(pattern) in text, f"{pattern} is in no schema"
        expression = re.compile(pattern.replace("$", r"\Z"))
        for sample in TEXTS:
            assert getattr(checks, helper)(sample) == bool(expression.search(sample)), (helper, sample)


def test_every_property_is_described() -> None:
    for kind in schemas.NAMES:
        for path, node in _schema_nodes(schemas.load(kind), ()):
            assert node.get("description"), path


def _schema_nodes(schema: dict[str, Any], path: Path_) -> Iterator[tuple[Path_, dict[str, Any]]]:
    yield path, schema
    for name, item in schema.get("properties", {}).items():
        yield from _schema_nodes(item, (*path, name))
    for name in ("items", "additionalProperties", "propertyNames"):
        if name in schema:
            yield from _schema_nodes(schema[name], (*path, name))


def test_schemas_are_schemas() -> None:
    from jsonschema import Draft202012Validator

    for name in schemas.NAMES:
        Draft202012Validator.check_schema(schemas.load(name))


def test_compiler_refuses_a_keyword_it_does_not_know(tmp_path: Path) -> None:
    """A new keyword in a schema must not be a check that is silently missing."""
    for path in (REPOSITORY / "schema").iterdir():
        if path.is_file():
            (tmp_path / "schema").mkdir(exist_ok=True)
            (tmp_path / "schema" / path.name).write_bytes(path.read_bytes())
    source = tmp_path / "schema" / "state.json"
    source.write_text(
        source.read_text(encoding="utf-8").replace('"maxLength": 255', '"contains": 255'), encoding="utf-8"
    )
    (tmp_path / "pyoci").symlink_to(REPOSITORY / "pyoci")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "schema/generate.py"), str(tmp_path / "output")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "contains" in done.stderr
    assert not (tmp_path / "output/checks.py").exists()


MISSPELT = """
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Config, Linux


def kinds(linux: Linux) -> list[str]:
    return [entry["type"] for entry in linux["{namespaces}"]]


def terminal(config: Config) -> bool:
    return config["process"]["{terminal}"]
"""


def mypy(source: Path, text: str) -> str:
    """What mypy says of a module, with the options of make check."""
    source.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(source.parent / "cache"), str(source)],
        cwd=REPOSITORY,
        env={**os.environ, "MYPYPATH": str(REPOSITORY / "build/lib")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_misspelt_property_fails_mypy(tmp_path: Path) -> None:
    """The documents are TypedDicts, generated from the schemas."""
    assert mypy(tmp_path / "right.py", MISSPELT.format(namespaces="namespaces", terminal="terminal")) == ""
    told = mypy(tmp_path / "wrong.py", MISSPELT.format(namespaces="namespcaes", terminal="terminl"))
    assert 'TypedDict "Linux" has no key "namespcaes"' in told
    assert 'TypedDict "Process" has no key "terminl"' in told


def test_types_have_every_property_of_the_schemas() -> None:
    stub = (REPOSITORY / "build/lib/pyoci/config/documents.pyi").read_text(encoding="utf-8")
    for kind in schemas.NAMES:
        for path, node in _schema_nodes(schemas.load(kind), ()):
            if "properties" in node:
                title = node["title"]
                body = re.search(rf"(?:class {title}\(.*\):|{title} = )\n?(.*\n)*?\n", stub + "\n")
                assert body, (path, title)
                for name in node["properties"]:
                    assert re.search(rf'[ "]{name}"?: ', body[0]), (path, title, name)


def test_unbuilt_tree_says_so(tmp_path: Path) -> None:
    program = "from pyoci.errors import PyociError\ntry:\n import pyoci.config.check\nexcept PyociError as e: print(e)"
    package = tmp_path / "pyoci"
    for path in (REPOSITORY / "pyoci").rglob("*.py"):
        copy = package / path.relative_to(REPOSITORY / "pyoci")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "check documents: pyoci/config/checks.py is not built; run make, and use build/lib\n", (
        done.stderr
    )
