# SPDX-License-Identifier: Apache-2.0
"""Reads the documents that a caller hands over: config.json of a bundle, and the process of ``exec``."""

from __future__ import annotations

import os

from pyoci import jsontext
from pyoci.config import check
from pyoci.errors import PyociError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.config.documents import Config, Process

LONGEST = 16 << 20  # bytes; a document of an engine has some tens of thousands


def config(bundle: str, file: str = "config.json") -> Config:
    """The configuration in a bundle, checked, without nulls, and with a user (uid and gid 0) if it has a process.

    file: absolute, or relative to the bundle. Raises SpecError that names the file, the property, its value and
    what is allowed; UnsupportedError for what is not built yet; PyociError if the file cannot be read.
    """
    document: Config = _document(os.path.join(bundle, file), file)
    check.config(document, file)
    if "process" in document:
        _complete(document["process"])
    return document


def process(path: str) -> Process:
    """The process in a file, as ``exec --process`` gets it, checked and completed like that of ``config``."""
    document: Process = _document(path, path)
    check.process(document, path)
    _complete(document)
    return document


def _document(path: str, name: str) -> Any:
    text = _read(path)
    try:
        document = jsontext.loads(text)
    except ValueError as error:
        raise SpecError("", f"not JSON: {error}", document=name) from None
    if b"\\ud" in text or b"\\uD" in text:
        _refuse_half_pairs(document, name)
    # Go's encoders write null for what is absent. Most documents have none, and then need no walk.
    return without_nulls(document) if b"null" in text else document


def _refuse_half_pairs(document: Any, name: str) -> None:
    """Refuses half of a surrogate pair: no system call and no file could take such a text."""
    try:
        jsontext.dumps(document).encode("utf-8")
    except UnicodeEncodeError:
        raise SpecError("", "not JSON: a \\u escape is half of a surrogate pair", document=name) from None
    except RecursionError:
        raise SpecError("", "not JSON: nested too deeply", document=name) from None


def _read(path: str) -> bytes:
    """The content of a regular file. Nothing else is opened for reading, so that a FIFO or a device cannot hang."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        # Not the text of ENOENT: engines take that for a missing program (docs/engines.md).
        raise PyociError(f"read {path!r}: there is no such document; pyoci spec writes one to start from") from None
    except (OSError, ValueError) as error:
        raise PyociError(f"read {path!r}: {_reason(error)}") from None
    try:
        return _read_regular(descriptor, path)
    except OSError as error:
        raise PyociError(f"read {path!r}: {_reason(error)}") from None
    finally:
        os.close(descriptor)


def _read_regular(descriptor: int, path: str) -> bytes:
    found = os.fstat(descriptor)
    if found.st_mode & 0o170000 != 0o100000:
        raise PyociError(f"read {path!r}: it is not a regular file")
    parts = []
    left = LONGEST + 1
    while left > 0 and (part := os.read(descriptor, min(left, max(found.st_size + 1, 4096)))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise PyociError(f"read {path!r}: it is longer than {LONGEST} bytes")
    return b"".join(parts)


def without_nulls(document: Any) -> Any:
    """The document, in which each property that is null was removed. Its items of arrays stay as they are."""
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
    """Puts what is absent and means 0 into a process: Go's decoders do the same, and callers then need no case."""
    user = process.setdefault("user", {"uid": 0})
    user.setdefault("gid", 0)
    if "ioPriority" in process:
        process["ioPriority"].setdefault("priority", 0)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
