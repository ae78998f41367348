# SPDX-License-Identifier: Apache-2.0
"""Finds the JSON Schemas of ``schema/``, and resolves their references.

Not on the hot path, which uses the Python code that ``schema/generate.py`` generates from them.
"""

from __future__ import annotations

import os
from typing import Any

from pyoci import jsontext
from pyoci.errors import PyociError

Schema = dict[str, Any]

NAMES = ("config", "process", "resources", "state", "features")
# Keywords of a file that must not be copied with its content. A "$schema" inside a schema would make jsonschema check
# that part with another validator, without the types of check.py.
_OF_THE_FILE = ("$schema", "$comment", "$defs")


def directory() -> str:
    """Returns the directory of the schemas, in the package or in the source tree."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for candidate in (os.path.join(package, "schema"), os.path.join(os.path.dirname(package), "schema")):
        if os.path.exists(os.path.join(candidate, "config.json")):
            return candidate
    raise PyociError(f"read schemas: none in {package}/schema; run make")


def load(name: str, where: str | None = None) -> Schema:
    """Returns the schema of a kind of document (one of NAMES), with every ``$ref`` replaced by its target.

    Keywords beside a ``$ref`` override those of its target; the schemas have only descriptions there.
    where: another directory than ``directory()``.
    """
    schema: Schema = _Files(where or directory()).expanded({"$ref": f"{name}.json"}, "")
    return schema


class _Files:
    """Schema files, read once."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._read: dict[str, Schema] = {}

    def expanded(self, node: Any, file: str) -> Any:
        """Returns a copy of a part of ``file`` without references."""
        if isinstance(node, list):
            return [self.expanded(item, file) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" not in node:
            return {key: self.expanded(value, file) for key, value in node.items() if key not in _OF_THE_FILE}
        target, other = self._target(node["$ref"], file)
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return {**self.expanded(target, other), **self.expanded(beside, file)}

    def _target(self, reference: str, file: str) -> tuple[Any, str]:
        """Returns the target of a reference, and its file."""
        name, _, pointer = reference.partition("#")
        name = name or file
        if name not in self._read:
            with open(os.path.join(self._where, name), "rb") as stream:
                self._read[name] = jsontext.loads(stream.read())
        node: Any = self._read[name]
        for token in pointer.split("/")[1:]:
            node = node[token]
        return node, name
