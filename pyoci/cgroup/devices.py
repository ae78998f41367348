# SPDX-License-Identifier: Apache-2.0
"""Which devices a container may use: the rules of ``linux.resources.devices``, for v1 files and v2 programs. Pure.

A list of rules starts from "nothing is allowed", as runc reads it, and a later rule wins over an earlier one. Behind
the container's own rules come DEFAULTS, without which no container works: also as in runc.
"""

from __future__ import annotations

from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import DeviceRule

    Key = tuple[str, int, int]

ANY = -1  # a major or minor that stands for all
READ, WRITE, MKNOD = 2, 4, 1  # BPF_DEVCG_ACC_*, <linux/bpf.h>
ALL = READ | WRITE | MKNOD

_BITS = {"r": READ, "w": WRITE, "m": MKNOD}
_LETTERS = ["".join(letter for letter, bit in _BITS.items() if access & bit) for access in range(ALL + 1)]
_POINTER = "/linux/resources/devices"


class Rule:
    """One rule. kind: ``a``, ``b`` or ``c``; major, minor: ANY or a number; access: bits of ALL."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, allow: bool, kind: str, major: int, minor: int, access: int) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access

    @property
    def everything(self) -> bool:
        """Whether the rule is about all devices and all access, so that those before it no longer matter."""
        return self.kind == "a" and self.access == ALL and self.major == ANY and self.minor == ANY


DEFAULTS = (
    # A node is harmless while it cannot be opened.
    Rule(True, "c", ANY, ANY, MKNOD),
    Rule(True, "b", ANY, ANY, MKNOD),
    Rule(True, "c", 1, 3, ALL),  # null
    Rule(True, "c", 1, 5, ALL),  # zero
    Rule(True, "c", 1, 7, ALL),  # full
    Rule(True, "c", 1, 8, ALL),  # random
    Rule(True, "c", 1, 9, ALL),  # urandom
    Rule(True, "c", 5, 0, ALL),  # tty
    Rule(True, "c", 5, 2, ALL),  # ptmx
    Rule(True, "c", 136, ANY, ALL),  # pts/*; /dev/console in a container is one of them
    Rule(True, "c", 10, 200, ALL),  # net/tun: engines have come to rely on it (runc removed it, and put it back)
)


def rules(devices: list[DeviceRule]) -> list[Rule]:
    """The rules of a config.json, from the last one on that is about everything, and the DEFAULTS.

    Raises CgroupError that names the rule.
    """
    found = [Rule(False, "a", ANY, ANY, ALL)]
    for index, device in enumerate(devices):
        rule = _rule(device, f"{_POINTER}/{index}")
        if rule.everything:
            found = []
        found.append(rule)
    return [*found, *DEFAULTS]


class Exceptions:
    """What the v1 controller holds: a behaviour for all devices, and exceptions from it (cgroup-v1/devices.rst)."""

    __slots__ = ("access", "allow")

    def __init__(self, allow: bool) -> None:
        self.allow = allow
        self.access: dict[Key, int] = {}

    def text(self) -> list[str]:
        """The exceptions as the controller reads and writes them: ``c 1:3 rwm``."""
        return [_text(key, access) for key, access in self.access.items()]


def exceptions(ordered: list[Rule]) -> Exceptions:
    """The v1 form of the rules. v1 takes an exception away only by its very numbers, so a rule that would cut a
    hole into a wider exception before it has no v1 form: CgroupError, rather than a hole that is not there.
    """
    first = ordered[0]
    if not first.everything:
        raise CgroupError(f"{_POINTER}: no rule says what is with all devices")
    found = Exceptions(first.allow)
    for rule in ordered[1:]:
        kinds = ("b", "c") if rule.kind == "a" else (rule.kind,)
        for kind in kinds:
            _apply(found, (kind, rule.major, rule.minor), rule)
    return found


def parse_list(text: str) -> Exceptions:
    """What devices.list says. ``a *:* rwm`` alone stands for "all but exceptions", which it does not show."""
    found = Exceptions(False)
    for line in text.splitlines():
        kind, device, access = line.split(" ")
        if kind == "a":
            return Exceptions(True)
        major, _, minor = device.partition(":")
        numbers = [ANY if number == "*" else int(number) for number in (major, minor)]
        found.access[kind, numbers[0], numbers[1]] = sum(_BITS[letter] for letter in access)
    return found


def transition(before: Exceptions, after: Exceptions) -> list[tuple[str, str]]:
    """The (file, line) pairs that lead from one state of the v1 controller to another.

    From one allow-list to another, what both allow stays allowed in between. A state that allows all is always
    written anew, because its exceptions cannot be read.
    """
    if before.allow or after.allow:
        reset = ("devices.allow" if after.allow else "devices.deny", "a")
        file = "devices.deny" if after.allow else "devices.allow"
        return [reset, *((file, line) for line in after.text())]
    steps: list[tuple[str, str]] = []
    for key, access in after.access.items():
        if access & ~before.access.get(key, 0):
            steps.append(("devices.allow", _text(key, access)))
    for key, access in before.access.items():
        if extra := access & ~after.access.get(key, 0):
            steps.append(("devices.deny", _text(key, extra)))
    return steps


def _apply(found: Exceptions, key: Key, rule: Rule) -> None:
    if rule.allow != found.allow:
        found.access[key] = found.access.get(key, 0) | rule.access
        return
    for other in list(found.access):
        if not _overlap(key, other) or not found.access[other] & rule.access:
            continue
        if not _covers(key, other):
            raise CgroupError(
                f"{_POINTER}: cgroup v1 cannot {'allow' if rule.allow else 'deny'} "
                f"{_text(key, rule.access)} out of {_text(other, found.access[other])}; "
                "put the wider rule first, or leave it out"
            )
        found.access[other] &= ~rule.access
        if not found.access[other]:
            del found.access[other]


def _overlap(one: Key, other: Key) -> bool:
    return one[0] == other[0] and all(a == b or ANY in (a, b) for a, b in zip(one[1:], other[1:], strict=True))


def _covers(wide: Key, narrow: Key) -> bool:
    return all(a in (ANY, b) for a, b in zip(wide[1:], narrow[1:], strict=True))


def _text(key: Key, access: int) -> str:
    kind, major, minor = key
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {_LETTERS[access]}"


def _rule(device: DeviceRule, pointer: str) -> Rule:
    kind = device.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise CgroupError(f"{pointer}/type: {kind} is not one of a, b, c")
    access = 0
    for letter in device.get("access") or "rwm":
        if letter not in _BITS:
            raise CgroupError(f"{pointer}/access: {letter} is not one of r, w, m")
        access |= _BITS[letter]
    numbers = []
    for name, number in (("major", device.get("major", ANY)), ("minor", device.get("minor", ANY))):
        # The v1 controller takes 2^32 - 1 for "all".
        if not ANY <= number < 2**32 - 1:
            raise CgroupError(f"{pointer}/{name}: {number} is not a device number")
        numbers.append(number)
    return Rule(device["allow"], kind, numbers[0], numbers[1], access)
