# SPDX-License-Identifier: Apache-2.0
"""Writes the TypedDicts of the documents from the JSON Schemas; ``generate.py`` calls it.

An object of a schema that has properties is a class, named by its ``title``; one that is a map is a dict. What the
schema requires is Required, and null stands nowhere (pyoci/config/load.py drops it).
"""

from __future__ import annotations

import keyword
from typing import Any

Schema = dict[str, Any]

HEADER = '''\
# SPDX-License-Identifier: Apache-2.0
# Written by schema/generate.py from the JSON Schemas; changes here are lost.
"""The types of the documents. A stub: for mypy alone, under ``if TYPE_CHECKING``; nothing is imported at run time."""

from typing import Required, TypedDict
'''
SCALARS = {"string": "str", "integer": "int", "boolean": "bool"}


class Writer:
    """Collects the classes of a module, each before those that hold it."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}

    def add(self, schema: Schema) -> None:
        """Adds a document and its parts. Raises SystemExit if an object has no title, or one that is taken."""
        self._type(schema)

    def text(self) -> str:
        """Returns the module."""
        return "\n\n".join((HEADER, *self._classes.values()))

    def _type(self, schema: Schema) -> str:
        """Returns the type of a value."""
        kind = schema.get("type", "string")
        if isinstance(kind, list):
            (kind,) = (each for each in kind if each != "null")
        if kind == "array":
            return f"list[{self._type(schema['items'])}]"
        if kind != "object":
            return SCALARS[kind]
        if "properties" in schema:
            return self._class(schema)
        return f"dict[str, {self._type(schema['additionalProperties'])}]"

    def _class(self, schema: Schema) -> str:
        """Returns the class of an object. Objects with the same title share one."""
        name: str = schema.get("title", "")
        if not name.isidentifier():
            raise SystemExit(f"typeddicts.py: {schema['description']}: the title {name!r} cannot name a class")
        needed = schema.get("required", ())
        types = {prop: self._type(inner) for prop, inner in schema["properties"].items()}
        fields = {prop: f"Required[{kind}]" if prop in needed else kind for prop, kind in types.items()}
        text = _by_call(name, fields) if any(map(keyword.iskeyword, fields)) else _by_class(name, fields)
        if self._classes.setdefault(name, text) != text:
            raise SystemExit(f"typeddicts.py: two different classes would be called {name}")
        return name


def _by_class(name: str, fields: dict[str, str]) -> str:
    lines = [f"    {prop}: {kind}\n" for prop, kind in fields.items()]
    return f"class {name}(TypedDict, total=False):\n{''.join(lines)}"


def _by_call(name: str, fields: dict[str, str]) -> str:
    """Returns the form for properties that are keywords of Python, such as ``class``."""
    pairs = ", ".join(f'"{prop}": {kind}' for prop, kind in fields.items())
    return f'{name} = TypedDict("{name}", {{{pairs}}}, total=False)\n'
