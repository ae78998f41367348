# SPDX-License-Identifier: Apache-2.0
"""Checks a document: its schema, then what is not supported yet, then the rules that a schema cannot express.

The checks of the schema are Python code that the build generates from ``schema/`` (pyoci/config/checks.py). Only if one
fails, jsonschema is imported, if it is installed, to name further faults in the same line.
"""

from __future__ import annotations

from pyoci import report
from pyoci.config import rules, supported
from pyoci.config.normal import ContainerConfig
from pyoci.config.process import ProcessConfig
from pyoci.errors import PyociError, SpecError, UnsupportedError, token

try:
    from pyoci.config import checks
except ImportError as error:
    raise PyociError("check documents: pyoci/config/checks.py is not built; run make, and use build/lib") from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Path = tuple[str | int, ...]

_CHECKS: dict[str, Callable[[Any], tuple[Path, str] | None]] = {
    "config": checks.config,
    "process": checks.process,
    "resources": checks.resources,
    "state": checks.state,
}
_OTHERS = 3  # how many further faults a message names


def config(document: Any, name: str = "config.json") -> ContainerConfig:
    """Checks a container configuration without nulls (config.md and config-linux.md of the specification).

    name: the document's name in messages. Returns it normalised. Raises SpecError, or UnsupportedError for what is not
    supported yet. Warns where the specification demands it.
    """
    shape("config", document, name)
    _refuse_unsupported(supported.config(document), name)
    found = ContainerConfig(document, name)
    _apply(rules.config(found), name)
    _warn(found.process)
    return found


def process(document: Any, name: str = "process") -> ProcessConfig:
    """Checks a process alone, as ``exec --process`` gets it. Returns, raises and warns like ``config``."""
    shape("process", document, name)
    _refuse_unsupported(supported.process(document), name)
    found = ProcessConfig(document, name)
    _apply(rules.process(found), name)
    _warn(found)
    return found


def resources(document: Any, name: str = "resources") -> None:
    """Checks ``linux.resources`` alone, as ``update`` gets it. Raises SpecError, UnsupportedError."""
    shape("resources", document, name)
    found = supported.config({"linux": {"resources": document}})
    _refuse_unsupported(found and (found[0][2:], *found[1:]), name)


def state(document: Any, name: str = "state") -> None:
    """Checks a container's state (runtime.md of the specification). Raises SpecError."""
    shape("state", document, name)


def pointer(path: Path) -> str:
    """Returns the JSON pointer (RFC 6901) of a path on one line: control characters escaped, long names cut."""
    return "".join("/" + token(str(part)) for part in path)


def faults(kind: str, document: Any) -> list[Path]:
    """Returns the paths of the faults that jsonschema finds in a document of a kind (a key of _CHECKS).

    Raises ImportError if jsonschema is not installed.
    """
    from jsonschema import Draft202012Validator, validators

    from pyoci.config import schemas

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extend: Any = validators.extend  # has no types
    validator = extend(Draft202012Validator, {"pattern": _pattern}, type_checker=types)
    found: list[Path] = []
    for error in validator(schemas.load(kind)).iter_errors(document):
        found += [tuple(error.absolute_path) + end for end in _ends(error)]
    return sorted(set(found), key=lambda path: [str(part) for part in path])


def shape(kind: str, document: Any, name: str) -> None:
    """Checks a document against the schema of its kind (a key of _CHECKS). Raises SpecError."""
    fault = _CHECKS[kind](document)
    if fault is None:
        return
    path, allowed = fault
    present, value = _look_up(document, path)
    more = _others(kind, document, path)
    if present:
        shown = None if value is None or isinstance(value, (dict, list)) else value
        what = "" if shown is not None else f"{_kind(value)} is "
        raise SpecError(pointer(path), f"{what}not allowed", shown, f"expected {allowed}{more}", name)
    raise SpecError(pointer(path), "missing", None, f"expected {allowed}{more}", name)


def _refuse_unsupported(found: supported.Found | None, name: str) -> None:
    if found is not None:
        path, support, value = found
        shown = None if isinstance(value, (dict, list)) else value
        raise UnsupportedError(pointer(path), f"{support.subject} are not supported yet", shown, "leave it out", name)


def _apply(found: rules.Fault | None, name: str) -> None:
    if found is not None:
        at, message, value, hint = found
        raise SpecError(at, message, value, hint, name)


def _warn(process: ProcessConfig) -> None:
    for at, text in rules.warnings(process):
        report.warn(f"{process.name}: {at}: {text}")


def _others(kind: str, document: Any, first: Path) -> str:
    """Returns a text that names the faults besides the first one; empty if there are none or jsonschema is missing."""
    try:
        found = [path for path in faults(kind, document) if path[: len(first)] != first]
    except (ImportError, RecursionError):
        return ""
    if not found:
        return ""
    named = ", ".join(pointer(path) for path in found[:_OTHERS])
    rest = len(found) - _OTHERS
    return f"; also wrong: {named}" + (f" and {rest} more" if rest > 0 else "")


def _look_up(document: Any, path: Path) -> tuple[bool, Any]:
    """Returns whether the document has a value at a path, and the value."""
    value = document
    for part in path:
        if isinstance(value, dict) and part not in value:
            return False, None
        value = value[part]
    return True, value


def _kind(value: dict[str, Any] | list[Any] | None) -> str:
    """Returns a word for a value that is not worth showing."""
    if value is None:
        return "null"
    empty = "an empty" if not value else "an"
    return f"{empty} {'object' if isinstance(value, dict) else 'array'}"


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    """Checks the keyword pattern as in ECMA 262: ``$`` is the end of the text, not the place before a last newline."""
    import re

    from jsonschema import ValidationError

    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _ends(error: Any) -> list[Path]:
    """Returns what to add to the path of a jsonschema error to reach the property at fault."""
    if error.validator == "required":
        return [(name,) for name in error.validator_value if name not in error.instance]
    if "propertyNames" in error.absolute_schema_path:
        return [(error.instance,)]
    return [()]
