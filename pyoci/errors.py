# SPDX-License-Identifier: Apache-2.0
"""Every error that pyoci raises on purpose.

    PyociError                   one line for the user; exit status 1
     ├─ UsageError               the command line
     ├─ InvalidId                a container ID that may not become a directory name
     ├─ NotFound                 no such container
     ├─ AlreadyExists            the ID is taken
     ├─ NotRunning               the container is not in a state that the verb needs
     ├─ StateError               state.json of a container cannot be read
     ├─ SpecError                config.json asks for what it may not; has a JSON pointer
     │   └─ UnsupportedError     the specification has it, pyoci does not yet
     ├─ CgroupError              a control group refused
     │   └─ OutOfMemory          the memory limit is too small for what is in the group
     ├─ SeccompError             a profile cannot be compiled
     ├─ HookError                a hook failed, or took too long
     ├─ PodError                 a pod manifest, or a pod's supervisor
     └─ LaunchError              an operation of the launch plan failed inside the namespaces

A message reads ``verb object: reason (where; hint)``: lower case, no full stop, and it names the path and the
property. Engines match some of the texts (docs/engines.md), so these are constants here.
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
    return missing if error.errno == errno.ENOENT else os.strerror(error.errno).lower()


class PyociError(Exception):
    """An error that the user can act on. ``str()`` of it is one line.

    lines: what a terminal shows in place of that line, where several faults are told at once; else empty.
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
    """The stored state of a container is missing, truncated or not ours."""


class SpecError(PyociError):
    """A document asks for something that is malformed or not allowed.

    pointer: JSON pointer (RFC 6901) to the property; value: what stands there; hint: what is allowed.
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
    """The specification has this property; this version of pyoci refuses it by name instead of skipping it."""


class CgroupError(PyociError):
    """A control group cannot be made, written, read or removed."""


class OutOfMemory(CgroupError):
    """The kernel killed pyoci-init because the memory limit was used up, or refused a limit below what is in use."""


class SeccompError(PyociError):
    """A seccomp profile cannot be compiled."""


class HookError(PyociError):
    """A hook ended with a failure or ran out of its time."""


def hook_words(kind: str, index: int | str, path: str) -> str:
    """Returns how messages name a hook: in runc's words, which those who write hooks look for."""
    return f"error running {kind} hook #{index}: {path}"


class PodError(PyociError):
    """A pod manifest is refused, or a pod is not in the state that a command needs."""

    @classmethod
    def of_faults(cls, name: str, faults: list[str]) -> PodError:
        """The error for all faults of the manifest ``name``; the first ``FAULTS_TOLD`` of them are named."""
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
    """A reference token of a JSON pointer (RFC 6901), in one line: control characters are escaped, a long name cut."""
    if not name.isprintable():
        name = name.encode("unicode_escape").decode("ascii")
    if len(name) > _LONGEST_TOKEN:
        name = name[: _LONGEST_TOKEN - 3] + "..."
    return name.replace("~", "~0").replace("/", "~1")


_LONGEST_TOKEN = 80  # characters


def _shortened(value: Any) -> str:
    """One line of at most 80 characters that shows a JSON value."""
    text = repr(value)
    if isinstance(value, bool):
        text = "true" if value else "false"
    return text if len(text) <= 80 else text[:77] + "..."
