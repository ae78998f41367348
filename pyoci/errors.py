# SPDX-License-Identifier: Apache-2.0
"""The errors that pyoci raises.

    PyociError                   one line for the user; exit status 1
     ├─ UsageError               the command line
     ├─ InvalidId                a container ID is not allowed
     ├─ NotFound                 no such container
     ├─ AlreadyExists            the ID is taken
     ├─ NotRunning               the verb needs a container with a process
     ├─ StateError               state.json of a container cannot be read
     ├─ SpecError                config.json is malformed or asks for something not allowed; has a JSON pointer
     │   └─ UnsupportedError     a property of the specification that pyoci does not support yet
     ├─ CgroupError              an operation on a control group failed
     │   └─ OutOfMemory          the memory limit is too small for what is in the group
     ├─ SeccompError             a profile cannot be compiled
     ├─ HookError                a hook failed, or took too long
     ├─ PodError                 a pod manifest is wrong, or an operation on a pod failed
     └─ LaunchError              an operation of the launch plan failed inside the namespaces

The form of a message is ``verb object: reason (where; hint)``: lower case, without a full stop, with the path and the
property at fault. Engines match some of the texts (docs/engines.md).
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


FAULTS_TOLD = 30  # how many faults of a manifest an error names


def reason(error: OSError, missing: str = "not found") -> str:
    """Returns why a system call failed, in lower case.

    missing: what to say for ENOENT, whose own text engines take for a missing program (docs/engines.md).
    """
    if error.errno is None:
        return str(error)
    if error.errno == errno.EFBIG:
        return "file too large; raise RLIMIT_FSIZE (ulimit -f)"
    return missing if error.errno == errno.ENOENT else os.strerror(error.errno).lower()


def plain(text: str, longest: int) -> str:
    """Returns what a container or a hook wrote, fit for a message: without control characters, and bounded."""
    shown = text[: longest + 1]
    shown = shown if shown.isprintable() else "".join(one if one.isprintable() else "?" for one in shown)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


class PyociError(Exception):
    """An error that the user can act on. ``str()`` of it is one line.

    lines: what a terminal shows instead if there are several faults; empty otherwise.
    """

    lines: tuple[str, ...] = ()


class UsageError(PyociError):
    """The command line cannot be understood."""


class InvalidId(PyociError):
    """A container ID is empty, too long, or has a character that is not allowed."""


class NotFound(PyociError):
    """No container has this ID. containerd and docker match ``does not exist``."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id}: container does not exist")


class AlreadyExists(PyociError):
    """A container with this ID exists."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id}: container with given ID already exists")


class NotRunning(PyociError):
    """The container has no process. containerd's shim matches ``container not running``."""

    def __init__(self, container_id: str, operation: str, status: str = "stopped") -> None:
        super().__init__(f"{operation} {container_id}: container not running (it is {status})")


class StateError(PyociError):
    """The stored state of a container is missing, truncated or not valid."""


class SpecError(PyociError):
    """A document asks for something that is malformed or not allowed.

    pointer: JSON pointer (RFC 6901) to the property; value: its value; hint: what is allowed.
    """

    def __init__(
        self, pointer: str, message: str, value: Any = None, hint: str = "", document: str = "config.json"
    ) -> None:
        self.pointer = pointer
        self.value = value
        self.hint = hint
        self.document = document
        shown = "" if value is None else f" (it is {_shortened(value)})"
        tail = f"; {hint}" if hint else ""
        super().__init__(f"{document}: {pointer or '/'}: {message}{shown}{tail}")


class UnsupportedError(SpecError):
    """The specification has this property, but pyoci does not support it yet. It is refused, never ignored."""


class CgroupError(PyociError):
    """A control group cannot be created, written, read or removed."""


class OutOfMemory(CgroupError):
    """The kernel killed pyoci-init at the memory limit, or refused a limit below the memory in use."""


class SeccompError(PyociError):
    """A seccomp profile cannot be compiled."""


class HookError(PyociError):
    """A hook failed or exceeded its time limit."""


def hook_words(kind: str, index: int | str, path: str) -> str:
    """Returns how messages name a hook. These are runc's words, which callers of hooks look for."""
    return f"error running {kind} hook #{index}: {path}"


class PodError(PyociError):
    """A pod manifest is refused, or a pod is not in the state that a command requires."""

    @classmethod
    def of_faults(cls, name: str, faults: list[str]) -> PodError:
        """Returns the error for all faults of the manifest ``name``; the first ``FAULTS_TOLD`` of them are named."""
        if len(faults) == 1:
            return cls(f"{name}: {faults[0]}")
        head, told = f"{name}: {len(faults)} faults", faults[:FAULTS_TOLD]
        if len(faults) > FAULTS_TOLD:
            told.append(f"and {len(faults) - FAULTS_TOLD} more")
        error = cls(f"{head}: {'; '.join(told)}")
        error.lines = (f"{head}:", *(f"  {fault}" for fault in told))
        return error


class LaunchError(PyociError):
    """An operation of the launch plan failed. ``errno`` is the kernel's."""

    def __init__(self, message: str, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(message)


def token(name: str) -> str:
    """Returns a token of a JSON pointer (RFC 6901) on one line: control characters escaped, a long name cut."""
    if not name.isprintable():
        name = name.encode("unicode_escape").decode("ascii")
    if len(name) > _LONGEST_TOKEN:
        name = name[: _LONGEST_TOKEN - 3] + "..."
    return name.replace("~", "~0").replace("/", "~1")


_LONGEST_TOKEN = 80  # characters


def _shortened(value: Any) -> str:
    """Returns at most 80 characters that show a JSON value."""
    text = repr(value)
    if isinstance(value, bool):
        text = "true" if value else "false"
    return text if len(text) <= 80 else text[:77] + "..."
