# SPDX-License-Identifier: Apache-2.0
"""Reads the documents of callers: config.json of a bundle, and the process of ``exec``."""

from __future__ import annotations

import os
import time

from pyoci import jsontext
from pyoci.config import check
from pyoci.errors import PyociError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.config.documents import Config, Process, Resources
    from pyoci.config.normal import ContainerConfig

LONGEST = 16 << 20  # bytes; documents of engines have tens of thousands
PIPE_TIME = 4.0  # seconds in which a pipe must deliver a document
S_IFIFO, S_IFREG, S_IFSOCK = 0o010000, 0o100000, 0o140000


def config(bundle: str, file: str = "config.json") -> ContainerConfig:
    """Returns the configuration in a bundle, checked and normalised.

    file: absolute, or relative to the bundle. Raises SpecError, which names the file, the property, its value and what
    is allowed; UnsupportedError for what is not supported yet; PyociError if the file cannot be read.
    """
    document: Config = _document(_read(os.path.join(bundle, file)), file)
    found = check.config(document, file)
    _complete(document["process"])
    return found


def process(path: str) -> Process:
    """Returns the process in a file or a pipe, for ``exec --process``. Only its schema is checked here, because flags
    may still change it; check.process does the rest.

    Raises SpecError, and PyociError if it cannot be read, or does not come through the pipe in PIPE_TIME seconds.
    """
    document: Process = _document(_read(path, pipe=True), path)
    check.shape("process", document, path)
    _complete(document)
    return document


def resources(path: str) -> Resources:
    """Returns the document of ``update --resources``: from a file, a pipe, or standard input (``-``). Not checked yet.

    Raises SpecError, and PyociError if it cannot be read, or does not come through the pipe in PIPE_TIME seconds.
    """
    name = "standard input" if path == "-" else path
    text = _read_open(0, name) if path == "-" else _read(path, pipe=True)
    found: Resources = _document(text, name)
    if not isinstance(found, dict):
        raise SpecError("", "not an object", document=name)
    return found


def _document(text: bytes, name: str) -> Any:
    try:
        document = jsontext.loads(text)
    except ValueError as error:
        raise SpecError("", f"not JSON: {error}", document=name) from error
    if b"\\ud" in text or b"\\uD" in text:
        _refuse_half_pairs(document, name)
    # Go's encoders write null for what is absent. Most documents have none and need not be searched.
    return without_nulls(document) if b"null" in text else document


def _refuse_half_pairs(document: Any, name: str) -> None:
    """Refuses half of a surrogate pair, which neither system calls nor files accept."""
    try:
        jsontext.dumps(document).encode("utf-8")
    except UnicodeEncodeError as error:
        raise SpecError("", "not JSON: a \\u escape is half of a surrogate pair", document=name) from error
    except RecursionError as error:
        raise SpecError("", "not JSON: nested too deeply", document=name) from error


def _read(path: str, pipe: bool = False) -> bytes:
    """Returns the content of a regular file, or of a pipe if that is allowed. Other files are not read, because a
    device might block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError as error:
        # Not the text of ENOENT, which engines take for a missing program (docs/engines.md).
        raise PyociError(f"read {path!r}: there is no such document; pyoci spec writes one to start from") from error
    except (OSError, ValueError) as error:
        raise PyociError(f"read {path!r}: {_reason(error)}") from error
    try:
        return _read_open(descriptor, path, pipe)
    finally:
        os.close(descriptor)


def _read_open(descriptor: int, path: str, pipe: bool = True) -> bytes:
    try:
        kind = os.fstat(descriptor).st_mode & 0o170000
        if pipe and kind in (S_IFIFO, S_IFSOCK):
            return _read_pipe(descriptor, path)
        if kind != S_IFREG:
            raise PyociError(f"read {path!r}: it is not a regular file{' or a pipe' if pipe else ''}")
        return _read_file(descriptor, path)
    except OSError as error:
        raise PyociError(f"read {path!r}: {_reason(error)}") from error


def _read_file(descriptor: int, path: str) -> bytes:
    size = max(os.fstat(descriptor).st_size + 1, 4096)
    parts = []
    left = LONGEST + 1
    while left > 0 and (part := os.read(descriptor, min(left, size))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise PyociError(f"read {path!r}: it is longer than {LONGEST} bytes")
    return b"".join(parts)


def _read_pipe(descriptor: int, path: str) -> bytes:
    """Reads a pipe until it is closed, within bounds of size and time."""
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    end = time.monotonic() + PIPE_TIME
    parts: list[bytes] = []
    room = LONGEST
    while room >= 0:
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise PyociError(f"read {path!r}: the pipe was not written and closed within {PIPE_TIME:g} s")
        part = os.read(descriptor, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
        room -= len(part)
    raise PyociError(f"read {path!r}: it is longer than {LONGEST} bytes")


def without_nulls(document: Any) -> Any:
    """Removes every property that is null from the document, and returns it. Items of arrays stay."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name in [name for name, item in value.items() if item is None]:
                del value[name]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return document


def _complete(process: Process) -> None:
    """Adds a user to a process that has none, so that readers of the document need not handle that case."""
    process.setdefault("user", {"uid": 0})


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
