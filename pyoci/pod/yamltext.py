# SPDX-License-Identifier: Apache-2.0
"""Reads one YAML document strictly: plain data, no duplicate keys, one document per file. Bounds make sure that a file
takes at most about a second, and a multiple of its size in memory.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

import yaml

from pyoci.errors import PodError

LARGEST = 1 << 20
"""The longest manifest in bytes. An API server takes 1.5 MiB of JSON; a pod by hand is some KB."""

VALUES = 20_000
"""How many values a manifest may hold, with what merges (``<<``) copy."""

DEPTH = 64
"""How deep values may be nested; a Pod needs about 12 levels."""

_LONGEST_PLAIN = 100  # characters of a number or date; longer ones are not accepted anywhere
_SECONDS = 30.0  # for the writer of a pipe
_YAML = "tag:yaml.org,2002:"
_TAGS = frozenset(_YAML + name for name in ("null", "bool", "int", "float", "str", "timestamp", "seq", "map"))
_MERGE = _YAML + "merge"

_Pair = tuple[yaml.Node, yaml.Node]


class _Loader(yaml.SafeLoader):
    """The safe loader (no tag creates an object). It counts values, and refuses duplicate keys."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._peek: Callable[[], yaml.Event] = self.peek_event
        self._values = 0
        self._depth = 0
        self._merging: set[int] = set()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        mark = self._peek().start_mark
        if self._depth > DEPTH:
            raise _fault(f"nested more than {DEPTH} levels deep", mark)
        self._spend(mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag not in _TAGS and node.tag != _MERGE:
            raise _fault(f"the tag {node.tag[:60]!r} is not allowed", mark)
        if isinstance(node, yaml.ScalarNode) and node.tag != _YAML + "str" and len(node.value) > _LONGEST_PLAIN:
            raise _fault("a number is too long; quote what is meant as text", mark)
        return node

    def compose_mapping_node(self, anchor: dict[str, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != _YAML + "str":
                raise _fault("a key is not a string", key.start_mark)
            if key.value in seen:
                raise _fault(f"key {key.value[:60]!r} is given twice", key.start_mark)
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merges mappings (YAML 1.1, "merge") with each key once. PyYAML's own merge doubles them with each level."""
        if not any(key.tag == _MERGE for key, _ in node.value):
            return
        if id(node) in self._merging:
            raise _fault("a mapping merges itself", node.start_mark)
        self._merging.add(id(node))
        merged: dict[str, _Pair] = {}
        for key, value in node.value:
            for source in _sources(value) if key.tag == _MERGE else ():
                self.flatten_mapping(source)
                for pair in source.value:
                    self._spend(node.start_mark)
                    merged.setdefault(str(pair[0].value), pair)
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        taken = {str(key.value) for key, _ in own}
        node.value = [pair for name, pair in merged.items() if name not in taken] + own
        self._merging.discard(id(node))

    def _spend(self, mark: object) -> None:
        self._values += 1
        if self._values > VALUES:
            raise _fault(f"more than {VALUES} values", mark)


def _sources(value: yaml.Node) -> list[yaml.MappingNode]:
    """Returns the mappings that a merge names: one, or a list of them."""
    named = value.value if isinstance(value, yaml.SequenceNode) else [value]
    for node in named:
        if not isinstance(node, yaml.MappingNode):
            raise _fault("a merge (<<) names what is not a mapping", node.start_mark)
    return list(named)


def _fault(what: str, mark: object) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, what, mark if isinstance(mark, yaml.Mark) else None)


def read(path: str) -> bytes:
    """Reads the file ``path``, which may be a pipe. Raises PodError."""
    try:
        # O_NONBLOCK, so that opening a FIFO without a writer does not block.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _read(fd, path)
        finally:
            os.close(fd)
    except OSError as error:
        raise PodError(f"read {path}: {error.strerror}") from error


def _read(fd: int, path: str) -> bytes:
    data, deadline = b"", time.monotonic() + _SECONDS
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(data) <= LARGEST:
        if not poll.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            raise PodError(f"read {path}: nothing more came for {_SECONDS:.0f} s")
        piece = os.read(fd, LARGEST + 1 - len(data))
        if not piece:
            return data
        data += piece
    raise PodError(f"read {path}: longer than {LARGEST} bytes")


def parse(data: bytes, name: str) -> object:
    """Returns the value of the only document in ``data``. name: its name in errors.

    Raises PodError, one line with the name and, if known, the line and column.
    """
    documents: list[object] = []
    try:
        documents += [document for document in yaml.load_all(data, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
        raise PodError(f"{name}: {where}{error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        raise PodError(f"{name}: byte {error.position}: {error.reason}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise PodError(f"{name}: {' '.join(str(error).split())}") from error
    if len(documents) != 1:
        raise PodError(f"{name}: {len(documents)} documents, but a manifest is one v1 Pod")
    return documents[0]
