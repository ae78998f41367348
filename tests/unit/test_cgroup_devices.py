# SPDX-License-Identifier: Apache-2.0
"""Device rules: what they come to in v1 files. The v2 programs are run by the kernel, in tests/runtime."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroup import device_filter, devices
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
