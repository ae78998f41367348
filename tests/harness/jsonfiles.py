# SPDX-License-Identifier: Apache-2.0
"""Validators for the schemas of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import referencing
import referencing.jsonschema

from harness.runtime import REPOSITORY

SCHEMAS = REPOSITORY / "schema"


def _retrieve(uri: str) -> referencing.Resource[Any]:
    """Returns a schema that another refers to by its file name."""
    document = json.loads((SCHEMAS / Path(uri).name).read_text())
    return referencing.Resource.from_contents(document, referencing.jsonschema.DRAFT202012)


def schema(name: str) -> jsonschema.protocols.Validator:
    """Returns a validator for schema/NAME; references between the files are resolved on disk."""
    document: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
    kind = jsonschema.validators.validator_for(document)
    kind.check_schema(document)
    return kind(document, registry=referencing.Registry(retrieve=_retrieve))  # type: ignore[call-arg]
