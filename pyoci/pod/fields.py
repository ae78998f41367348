# SPDX-License-Identifier: Apache-2.0
"""Reads a manifest field by field, so that nothing in it is skipped and all faults are reported together.

A Fields object returns each property of a mapping once, after checking its type. ``end()`` then finds properties that
were not read. A fault is recorded, and reading continues with a harmless value. :meth:`Faults.end` raises for all
faults.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator

from pyoci.errors import FAULTS_TOLD, PodError

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST = 60  # characters of a value or a name in a message
_COMPARED = 40  # characters of a name that "did you mean" compares, in quadratic time


class Faults:
    """The faults of a manifest, and the properties without effect (``ignored``). name: of the manifest in errors."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ignored: list[str] = []
        self._found: list[str] = []

    def add(self, where: str, message: str) -> None:
        """Records a fault of the property at ``where``."""
        self._found.append(f"{where}: {message}")

    @property
    def count(self) -> int:
        """Returns the number of faults so far."""
        return len(self._found)

    def end(self) -> None:
        """Raises PodError if there is any fault."""
        if self._found:
            raise PodError.of_faults(self.name, self._found)


class Fields:
    """The properties of one mapping at ``path`` (``spec.containers[0]``) of a manifest."""

    def __init__(self, faults: Faults, path: str, value: object, foreign: str = "", ignored: str = "") -> None:
        """foreign: names that Kubernetes has here, but pyoci does not support; ignored: names without effect on a
        single machine. Both are separated by blanks.
        """
        self.faults = faults
        self.path = path
        self._foreign = frozenset(foreign.split())
        self._ignored = frozenset(ignored.split())
        self._asked: set[str] = set()
        self._left: dict[str, object] = {}
        if isinstance(value, dict):
            # For an API server, and for the tools that write manifests, a null is an absent field.
            self._left = {str(key): item for key, item in value.items() if item is not None}
        else:
            self.fault("", f"must be a mapping, it is {shown(value)}")

    def fault(self, key: str, message: str) -> None:
        """Records a fault of the property ``key``, or of the mapping itself if it is empty."""
        self.faults.add(self.at(key), message)

    def at(self, key: str) -> str:
        """Returns the path of the property ``key``."""
        if not key:
            return self.path or "manifest"
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Returns whether the property exists and has not been read."""
        return key in self._left

    def take(self, key: str) -> object:
        """Reads the property. Returns its value as it is, or None if it is absent."""
        self._asked.add(key)
        return self._left.pop(key, None)

    def ignore(self, key: str) -> None:
        """Reads a property without effect on a single machine, if it exists."""
        if self.take(key) is not None:
            self.faults.ignored.append(self.at(key))

    def only(self, key: str, allowed: object, words: str) -> None:
        """Reads a property that must be absent or ``allowed`` (``words`` says so), which is the default anyway."""
        value = self.take(key)
        if value is not None and value != allowed:
            self.fault(key, f"not supported, but as {words}")

    def text(self, key: str, default: str | None = None) -> str:
        """Returns a string without NUL; required if there is no default."""
        value = self.take(key)
        if value is None and default is None:
            self.fault(key, "is missing")
        return (default or "") if value is None else self._string(key, value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Returns a list of strings, empty if absent."""
        return tuple(self._string(f"{key}[{index}]", item) for index, item in enumerate(self._list(key)))

    def map(self, key: str) -> dict[str, str]:
        """Returns a mapping of strings to strings, empty if absent."""
        value = self.take(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(key, f"must be a mapping, it is {shown(value)}")
            return {}
        return {str(name): self._string(f"{key}[{plain(str(name))}]", item) for name, item in value.items()}

    def boolean(self, key: str, default: bool = False) -> bool:
        """Returns true or false, false if absent."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.fault(key, f"must be true or false, it is {shown(value)}")
        return default

    def integer(self, key: str, low: int, high: int) -> int | None:
        """Returns an integer from low to high, or None if absent."""
        value = self.take(key)
        return None if value is None else self._whole(key, value, low, high)

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """Returns a list of integers from low to high."""
        found = (self._whole(f"{key}[{index}]", item, low, high) for index, item in enumerate(self._list(key)))
        return tuple(number for number in found if number is not None)

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Returns one of the strings ``allowed``; required if there is no default."""
        missing = not self.has(key)
        value = self.text(key, default)
        if not missing and value not in allowed:
            self.fault(key, f"must be one of {', '.join(map(repr, allowed))}, it is {shown(value)}")
        return value if value in allowed else allowed[0]

    def quantity(self, key: str, unit: Callable[[object], int]) -> int | None:
        """Returns a quantity in the unit that ``unit`` (of pyoci.pod.quantity) converts it to."""
        value = self.take(key)
        if value is None:
            return None
        try:
            return unit(value)
        except ValueError as error:
            self.fault(key, f"{shown(value)} {error}")
            return None

    def label(self, key: str) -> str:
        """Returns a DNS label (RFC 1123): the name of a container or a volume. Empty if it is missing."""
        missing = not self.has(key)
        value = self.text(key)
        if not missing and not _LABEL.fullmatch(value):
            self.fault(key, f"{shown(value)} is not a name of a-z, 0-9 and '-' with at most 63 characters")
        return value

    def subdomain(self, key: str) -> str:
        """Returns the name of a pod, see is_subdomain(). Empty if it is missing."""
        missing = not self.has(key)
        value = self.text(key)
        if not missing and not is_subdomain(value):
            self.fault(key, f"{shown(value)} is not a name of a-z, 0-9, '-' and '.' with at most 63 characters")
        return value

    def child(self, key: str, foreign: str = "", ignored: str = "") -> Fields:
        """Returns the mapping at ``key``, an empty one if it is absent."""
        value = self.take(key)
        return Fields(self.faults, self.at(key), {} if value is None else value, foreign, ignored)

    def children(self, key: str, foreign: str = "", ignored: str = "", needed: str = "") -> Iterator[Fields]:
        """Returns the mappings of the list at ``key``. Other items are faults and left out. needed: the fault of a
        missing or empty list.
        """
        if needed and self._left.get(key, []) == []:
            self.fault(key, needed)
        for index, item in enumerate(self._list(key)):
            fields = Fields(self.faults, f"{self.at(key)}[{index}]", item, foreign, ignored)
            if isinstance(item, dict):
                yield fields

    def refuse(self, key: str, why: str) -> None:
        """Records a fault if the property exists."""
        if self.take(key) is not None:
            self.fault(key, f"not supported: {why}")

    def end(self) -> None:
        """Records what was not read: properties without effect, and faults."""
        for key in self._left:
            if key in self._ignored:
                self.faults.ignored.append(self.at(key))
            elif key in self._foreign:
                self.fault(key, "not supported")
            else:
                self.fault(plain(key), "unknown field" + self._hint(key))
        self._left = {}

    def _hint(self, key: str) -> str:
        known = self._asked | self._foreign | self._ignored
        told = len(key) <= _COMPARED and self.faults.count < FAULTS_TOLD
        near = difflib.get_close_matches(key, known, 1) if told else []
        return f"; did you mean {near[0]}?" if near else ""

    def _list(self, key: str) -> list[object]:
        value = self.take(key)
        if value is None or isinstance(value, list):
            return value or []
        self.fault(key, f"must be a list, it is {shown(value)}")
        return []

    def _string(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            hint = "; quote it" if isinstance(value, bool | int | float) else ""
            self.fault(key, f"must be a string, it is {shown(value)}{hint}")
            return ""
        if "\0" in value:
            self.fault(key, "holds a NUL character")
            return ""
        return value

    def _whole(self, key: str, value: object, low: int, high: int) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.fault(key, f"must be a whole number from {low} to {high}, it is {shown(value)}")
        return None


def is_subdomain(name: str) -> bool:
    """Returns whether ``name`` is a DNS subdomain of at most 63 characters, because it becomes the host name."""
    return len(name) <= 63 and _SUBDOMAIN.fullmatch(name) is not None


def shown(value: object) -> str:
    """Returns a YAML value in a few words, for messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str) and len(value) > _LONGEST:
        return repr(value[:_LONGEST]) + "..."
    return plain(repr(value))


def plain(text: str) -> str:
    """Returns a name of the manifest, shortened and without control characters."""
    cut = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    return cut if cut.isprintable() else repr(cut)[1:-1]
