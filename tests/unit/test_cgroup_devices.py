# SPDX-License-Identifier: Apache-2.0
"""Device rules: what they come to in v1 files. The v2 programs are run by the kernel, in tests/runtime."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from pyoci.cgroup import device_filter, devices
from pyoci.cgroup.verdicts import Verdicts
from pyoci.errors import SpecError

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
DEFAULTS = [
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm",
    "c 136:* rwm", "c 10:200 rwm",
]  # fmt: skip


def rule(
    allow: bool, access: str, kind: str = "", major: int | None = None, minor: int | None = None
) -> dict[str, Any]:
    made: dict[str, Any] = {"allow": allow, "access": access}
    for name, value in (("type", kind or None), ("major", major), ("minor", minor)):
        if value is not None:
            made[name] = value
    return made


def listed(*given: dict[str, Any]) -> list[str]:
    return devices.exceptions(devices.rules(list(given))).text()


def test_the_defaults_stand_behind_the_rules() -> None:
    assert listed(DENY_ALL) == DEFAULTS
    assert listed(DENY_ALL, rule(True, "r", "b", 8, 0)) == ["b 8:0 r", *DEFAULTS]


def test_a_list_begins_with_nothing_allowed() -> None:
    assert listed(rule(True, "rw", "c", 10, 229)) == ["c 10:229 rw", *DEFAULTS]


def test_later_rules_win() -> None:
    assert listed(DENY_ALL, rule(True, "rwm", "c", 7, 7), rule(False, "w", "c", 7, 7)) == ["c 7:7 rm", *DEFAULTS]
    assert listed(DENY_ALL, rule(True, "rw", "c", 7, 7), rule(False, "rwm", "c", 7)) == DEFAULTS
    assert listed(rule(True, "rwm", "c", 7, 7), DENY_ALL) == DEFAULTS
    assert listed(DENY_ALL, rule(True, "r", "b"), rule(True, "w", "b")) == ["b *:* rwm", *DEFAULTS[:1], *DEFAULTS[2:]]


def test_allow_all() -> None:
    found = devices.exceptions(devices.rules([DENY_ALL, ALLOW_ALL]))
    assert found.allow
    assert found.text() == []
    assert device_filter.allows_all(devices.rules([DENY_ALL, ALLOW_ALL]))
    assert not device_filter.allows_all(devices.rules([ALLOW_ALL, rule(False, "r", "c", 7, 7)]))
    assert listed(ALLOW_ALL, rule(False, "r", "c", 7, 7)) == ["c 7:7 r"]


def test_a_hole_that_v1_cannot_hold_is_refused() -> None:
    with pytest.raises(SpecError, match=r"devices/2: cgroup v1 cannot deny c 7:7 w out of c 7:\* rwm; put the wider"):
        listed(DENY_ALL, rule(True, "rwm", "c", 7), rule(False, "w", "c", 7, 7))
    with pytest.raises(SpecError, match=r"cannot allow c 1:3 rwm out of c 1:\* r;"):
        listed(ALLOW_ALL, rule(False, "r", "c", 1))


@pytest.mark.parametrize(
    ("bad", "pointer"),
    [
        (rule(True, "rx", "c", 1, 1), "access: not an access .it is 'x'"),
        (rule(True, "r", "p", 1, 1), "type: not a kind of device .it is 'p'"),
        (rule(True, "r", "c", -2, 1), "major: not a device number .it is -2"),
        (rule(True, "r", "c", 1, 2**32), "minor: not a device number .it is 4294967296"),
        (rule(True, "r", "c", 2**32 - 1, 1), "major: not a device number .it is 4294967295"),
    ],
)
def test_malformed(bad: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError, match=f"^config.json: /linux/resources/devices/1/{pointer}"):
        devices.rules([DENY_ALL, bad])


def test_transition_keeps_what_both_allow() -> None:
    before = devices.parse_list("c 1:3 rwm\nb *:* m\nc 7:7 rw\n")
    after = devices.exceptions([devices.rules([DENY_ALL])[0], devices.Rule(True, "c", 1, 3, devices.ALL),
                                devices.Rule(True, "c", 7, 7, devices.READ),
                                devices.Rule(True, "c", 9, devices.ANY, devices.WRITE)])  # fmt: skip
    assert devices.transition(before, after) == [
        ("devices.allow", "c 9:* w"),
        ("devices.deny", "b *:* m"),
        ("devices.deny", "c 7:7 w"),
    ]
    assert devices.transition(after, after) == []


def test_transition_from_and_to_everything() -> None:
    everything = devices.parse_list("a *:* rwm\n")
    some = devices.parse_list("c 1:3 rwm\n")
    assert devices.transition(everything, some) == [("devices.deny", "a"), ("devices.allow", "c 1:3 rwm")]
    assert devices.transition(some, everything) == [("devices.allow", "a")]


def drawn(source: random.Random, length: int) -> list[dict[str, Any]]:
    """Rules about a few devices, so that they meet."""
    made = [source.choice([DENY_ALL, ALLOW_ALL])]
    for _ in range(length):
        numbers = [source.choice([None, 1, 2]) for _ in range(2)]
        access = "".join(sorted(source.sample("rwm", source.randrange(1, 4))))
        made.append(rule(source.random() < 0.5, access, source.choice("abc"), numbers[0], numbers[1]))
    return made


def one_by_one(ordered: list[devices.Rule]) -> devices.Exceptions | None:
    """What the v1 controller comes to, told as its documentation does; None for a hole that it cannot hold."""
    found = devices.Exceptions(ordered[0].allow)
    for each in ordered[1:]:
        for kind in ("b", "c") if each.kind == "a" else (each.kind,):
            key = (kind, each.major, each.minor)
            if each.allow != found.allow:
                found.access[key] = found.access.get(key, 0) | each.access
                continue
            for other in list(found.access):
                pairs = list(zip(key, other, strict=True))
                meet = all(a == b or devices.ANY in (a, b) for a, b in pairs)
                if meet and found.access[other] & each.access:
                    if any(a != b and a != devices.ANY for a, b in pairs):
                        return None
                    found.access[other] &= ~each.access
    found.access = {key: access for key, access in found.access.items() if access}
    return found


def test_exceptions_of_random_lists() -> None:
    source = random.Random(7)
    held = 0
    for _ in range(3000):
        ordered = [each for each in devices.rules(drawn(source, source.randrange(7))) if each.index != devices.NOWHERE]
        expected = one_by_one(ordered)
        try:
            found = devices.exceptions(ordered)
        except SpecError:
            assert expected is None
            continue
        assert expected is not None
        assert (found.allow, found.access) == (expected.allow, expected.access)
        held += 1
    assert held > 1000


def test_verdicts_of_random_lists() -> None:
    """Of each device and each bit the last rule decides that is about it."""
    source = random.Random(8)
    for _ in range(500):
        ordered = devices.rules(drawn(source, source.randrange(9)))
        verdicts = Verdicts(ordered)
        for kind, major, minor in itertools.product("bc", (0, 1, 2, 3, 4095), (0, 1, 2, 3, 2**20 - 1)):
            expected = 0
            for each in ordered:
                if each.kind in ("a", kind) and each.major in (-1, major) and each.minor in (-1, minor):
                    expected = expected | each.access if each.allow else expected & ~each.access
            apart = minor in verdicts.minors(kind)
            ranges = verdicts.ranges_of_minor(kind, minor) if apart else verdicts.ranges(kind)
            allowed = [access for first, access in ranges if first <= major << 20 | minor][-1]
            assert allowed == expected, (kind, major, minor)


def steps(call: Callable[[], object]) -> int:
    """How many lines of Python a call executes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("form", ["added", "added and taken", "taken at large", "by major and minor"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_work_grows_as_the_list_does(form: str, version: str) -> None:
    """Not as its square: engines that list all devices of a big host, and those who mean ill."""

    def listed(count: int) -> list[dict[str, Any]]:
        if form == "added":
            return [rule(True, "rw", "c", 1000 + i // 100, i % 100) for i in range(count)]
        if form == "added and taken":
            return [rule(i < count // 2, "rw", "c", 1000 + i // 100, i % 100) for i in range(count)]
        if form == "taken at large":
            one, other = rule(True, "r", "c", 7, 7), rule(False, "w", "c")
            return [{**one, "minor": i} if i % 2 else other for i in range(count)]
        return [rule(True, "r", "b", i) if i % 20 else rule(True, "w", "c", None, i) for i in range(count)]

    def work(count: int) -> int:
        rules = devices.rules([DENY_ALL, *listed(count)])
        return steps(lambda: devices.exceptions(rules) if version == "v1" else device_filter.program(rules))

    assert work(2000) < 5 * work(500)


def test_a_filter_that_would_be_too_long_is_refused() -> None:
    """Where each of many major numbers meets each of many minor ones."""
    crossed = [rule(True, "r", "c", i) for i in range(400)] + [rule(False, "r", "c", None, i) for i in range(400)]
    with pytest.raises(SpecError, match="^config.json: /linux/resources/devices: too many rules for a device filter"):
        device_filter.program(devices.rules(crossed))
