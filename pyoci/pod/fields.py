# SPDX-License-Identifier: Apache-2.0
"""Reading a manifest field by field, so that nothing in it is skipped.

A Fields object hands out each property of one mapping once, checked for its type. ``end()`` then raises for what was
not asked for: by name as *not supported* if Kubernetes has such a field, else as unknown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import Any

from pyoci.errors import PodError

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Fields:
    """The properties of one mapping at ``path`` (``spec.containers[0]``) of a manifest called ``name``."""

    def __init__(self, name: str, path: str, value: Any, foreign: str = "") -> None:
        """foreign: names that Kubernetes has here and pyoci does not, separated by blanks."""
        self.name = name
        self.path = path
        self._foreign = frozenset(foreign.split())
        self._asked: set[str] = set()
        if not isinstance(value, dict):
            raise self.error("", f"must be a mapping, it is {shown(value)}")
        # An API server reads a null as an absent field, and so do the tools that write manifests.
        self._left = {key: item for key, item in value.items() if item is not None}

    def error(self, key: str, message: str) -> PodError:
        """The error for the property ``key`` (or, if empty, for the mapping itself)."""
        return PodError(f"{self.name}: {self.at(key)}: {message}")

    def at(self, key: str) -> str:
        """The path of the property ``key``."""
        if not key:
            return self.path or "manifest"
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Whether the property is there and not yet taken."""
        return key in self._left

    def any(self, key: str) -> Any:
        """The property as it is, None if it is absent."""
        self._asked.add(key)
        return self._left.pop(key, None)

    def text(self, key: str, default: str | None = None) -> str:
        """A string without NUL; required if there is no default."""
        value = self.any(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise self.error(key, "is missing")
        return self._string(key, value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty if absent."""
        return tuple(self._string(f"{key}[{index}]", item) for index, item in enumerate(self._list(key)))

    def map(self, key: str) -> dict[str, str]:
        """A mapping of strings to strings, empty if absent."""
        value = self.any(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(key, f"must be a mapping, it is {shown(value)}")
        return {name: self._string(f"{key}[{name}]", item) for name, item in value.items()}

    def boolean(self, key: str, default: bool = False) -> bool:
        """true or false."""
        value = self.any(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, it is {shown(value)}")
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int | None:
        """A whole number from low to high."""
        value = self.any(key)
        return default if value is None else self._whole(key, value, low, high)

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers from low to high."""
        return tuple(self._whole(f"{key}[{index}]", item, low, high) for index, item in enumerate(self._list(key)))

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of the strings ``allowed``."""
        value = self.text(key, default)
        if value not in allowed:
            raise self.error(key, f"must be one of {', '.join(map(repr, allowed))}, it is {value!r}")
        return value

    def quantity(self, key: str, unit: Callable[[object], int]) -> int | None:
        """A quantity in the unit that ``unit`` (of pyoci.pod.quantity) converts it to."""
        value = self.any(key)
        if value is None:
            return None
        try:
            return unit(value)
        except ValueError as error:
            raise self.error(key, f"{shown(value)} {error}") from None

    def label(self, key: str) -> str:
        """A DNS label (RFC 1123): the name of a container or a volume."""
        value = self.text(key)
        if not _LABEL.fullmatch(value):
            raise self.error(key, f"{value!r} is not a name of a-z, 0-9 and '-' with at most 63 characters")
        return value

    def subdomain(self, key: str) -> str:
        """A DNS subdomain of at most 63 characters: the name of a pod, which becomes its host name."""
        value = self.text(key)
        if len(value) > 63 or not _SUBDOMAIN.fullmatch(value):
            raise self.error(key, f"{value!r} is not a name of a-z, 0-9, '-' and '.' with at most 63 characters")
        return value

    def child(self, key: str, foreign: str = "") -> Fields:
        """The mapping at ``key``; an absent one reads as an empty one."""
        value = self.any(key)
        return Fields(self.name, self.at(key), {} if value is None else value, foreign)

    def children(self, key: str, foreign: str = "") -> Iterator[Fields]:
        """The mappings of the list at ``key``."""
        for index, item in enumerate(self._list(key)):
            yield Fields(self.name, f"{self.at(key)}[{index}]", item, foreign)

    def refuse(self, key: str, why: str) -> None:
        """Raises if the property is there."""
        if self.has(key):
            raise self.error(key, f"not supported: {why}")

    def end(self) -> None:
        """Raises for the first property that nobody asked for."""
        for key in self._left:
            if key in self._foreign:
                raise self.error(key, "not supported")
            near = difflib.get_close_matches(key, self._asked | self._foreign, 1)
            raise self.error(key, "unknown field" + (f"; did you mean {near[0]}?" if near else ""))

    def _list(self, key: str) -> list[Any]:
        value = self.any(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(key, f"must be a list, it is {shown(value)}")
        return value

    def _string(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            hint = "; quote it" if isinstance(value, bool | int | float) else ""
            raise self.error(key, f"must be a string, it is {shown(value)}{hint}")
        if "\0" in value:
            raise self.error(key, "holds a NUL character")
        return value

    def _whole(self, key: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(key, f"must be a whole number from {low} to {high}, it is {shown(value)}")
        return value


def shown(value: Any) -> str:
    """A YAML value in a few words, for an error message of one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
