# SPDX-License-Identifier: Apache-2.0
"""One YAML document, read strictly: plain data only, no key twice, one document a file."""

from __future__ import annotations

from typing import Any

import yaml

from pyoci.errors import PodError

LARGEST = 1 << 20
"""The longest manifest in bytes. An API server takes 1.5 MiB of JSON; a pod by hand is some KB."""


class _Loader(yaml.SafeLoader):
    """The safe loader (no tag makes an object), which also refuses what a dict would silently swallow."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(None, None, "a key is not a string", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: str) -> Any:
    """The value of the only document in the file ``path``.

    Raises PodError, one line with the path and, where known, line and column.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise PodError(f"read {path}: {error.strerror}") from None
    if len(data) > LARGEST:
        raise PodError(f"read {path}: longer than {LARGEST} bytes")
    return parse(data, path)


def parse(data: bytes, name: str) -> Any:
    """The value of the only document in ``data``; ``name`` is what errors call it."""
    try:
        documents = list(yaml.load_all(data, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
        raise PodError(f"{name}: {where}{error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise PodError(f"{name}: byte {error.position}: {error.reason}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise PodError(f"{name}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise PodError(f"{name}: nested too deeply") from None
    documents = [document for document in documents if document is not None]
    if len(documents) != 1:
        raise PodError(f"{name}: {len(documents)} documents, but a manifest is one v1 Pod")
    return documents[0]
