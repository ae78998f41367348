# SPDX-License-Identifier: Apache-2.0
"""The schemas that the project ships, as validators."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from harness.runtime import REPOSITORY


def schema(name: str) -> jsonschema.protocols.Validator:
    """A validator for schema/NAME; references between the files are resolved on disk."""
    directory = REPOSITORY / "schema"
    document: dict[str, Any] = json.loads((directory / name).read_text())
    kind = jsonschema.validators.validator_for(document)
    kind.check_schema(document)
    return kind(document, resolver=jsonschema.RefResolver(f"file://{directory}/{name}", document))
