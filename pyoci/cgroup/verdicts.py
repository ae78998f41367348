# SPDX-License-Identifier: Apache-2.0
"""What a list of device rules comes to, as ranges of device numbers that are allowed the same. Pure."""

from __future__ import annotations

from pyoci.cgroup.devices import ALL, ANY, EACH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.cgroup.devices import Key, Rule

    Range = tuple[int, int]  # the first number, and the access that is allowed from there on

MINOR_BITS, MAJOR_BITS = 20, 12  # of a device number (<linux/kdev_t.h>)
_EVERY = tuple(enumerate(EACH[ALL]))


class Verdicts:
    """Which rule decides a bit of access, for each device that the rules name: the last one that covers it."""

    __slots__ = ("_last", "_majors", "_minors", "_single")

    def __init__(self, ordered: list[Rule]) -> None:
        # For each bit the place of the last rule with these very numbers, negative if it denies.
        self._last: dict[Key, list[int]] = {}
        # By kind: the numbers that stand alone, and the pairs, by their minor number.
        self._majors: dict[str, set[int]] = {"b": set(), "c": set()}
        self._minors: dict[str, set[int]] = {"b": set(), "c": set()}
        self._single: dict[str, dict[int, set[int]]] = {"b": {}, "c": {}}
        for place, rule in enumerate(ordered, 1):
            if rule.major >= 1 << MAJOR_BITS or rule.minor >= 1 << MINOR_BITS:
                continue  # there is no such device
            for kind in ("b", "c") if rule.kind == "a" else (rule.kind,):
                key = (kind, rule.major, rule.minor)
                last = self._last.get(key)
                if last is None:
                    last = self._last[key] = [0] * len(_EVERY)
                    self._note(*key)
                for index, bit in _EVERY:
                    if rule.access & bit:
                        last[index] = place if rule.allow else -place

    def _note(self, kind: str, major: int, minor: int) -> None:
        if major == ANY:
            if minor != ANY:
                self._minors[kind].add(minor)
        elif minor == ANY:
            self._majors[kind].add(major)
        else:
            self._single[kind].setdefault(minor, set()).add(major)

    def minors(self, kind: str) -> list[int]:
        """The minor numbers that a rule names without a major one."""
        return list(self._minors[kind])

    def crossings(self, kind: str) -> int:
        """How often a rule for a minor number meets one for a major number."""
        return len(self._minors[kind]) * len(self._majors[kind])

    def ranges(self, kind: str) -> list[Range]:
        """The ranges for all devices of a kind but those of minors()."""
        points = {0}
        for major in self._majors[kind]:
            points.update((major << MINOR_BITS, (major + 1) << MINOR_BITS))
        for minor, majors in self._single[kind].items():
            if minor not in self._minors[kind]:
                for major in majors:
                    number = (major << MINOR_BITS) + minor
                    points.update((number, number + 1))
        found = []
        for point in sorted(points):
            major, minor = point >> MINOR_BITS, point & ((1 << MINOR_BITS) - 1)
            covering: tuple[Key, ...] = ((kind, major, ANY), (kind, ANY, ANY))
            if minor not in self._minors[kind]:
                covering = ((kind, major, minor), *covering)
            found.append((point, self._allowed(*covering)))
        return _merged(found)

    def ranges_of_minor(self, kind: str, minor: int) -> list[Range]:
        """The ranges for the devices of a kind with this minor number."""
        points = {0}
        for major in self._majors[kind] | self._single[kind].get(minor, set()):
            points.update((major, major + 1))
        found = []
        for major in sorted(points):
            covering = ((kind, major, minor), (kind, major, ANY), (kind, ANY, minor), (kind, ANY, ANY))
            found.append((major << MINOR_BITS, self._allowed(*covering)))
        return _merged(found)

    def _allowed(self, *covering: Key) -> int:
        rows = [self._last[key] for key in covering if key in self._last]
        allowed = 0
        for index, bit in _EVERY:
            places = [row[index] for row in rows]
            if places and max(places) > -min(places):
                allowed |= bit
        return allowed


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """Neighbours that are allowed the same become one; none begins beyond the last device."""
    found: list[Range] = []
    for first, allowed in ranges:
        if first < 1 << (MAJOR_BITS + MINOR_BITS) and (not found or found[-1][1] != allowed):
            found.append((first, allowed))
    return found
