# SPDX-License-Identifier: Apache-2.0
"""The devices that a container may use: the rules of ``linux.resources.devices``, for v1 files and v2 programs. Pure.

As in runc, a list of rules starts from "nothing is allowed", a later rule overrides an earlier one, and DEFAULTS, which
every container needs, follow the container's own rules.
"""

from __future__ import annotations

from pyoci.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyoci.config.documents import DeviceRule

    Key = tuple[str, int, int]

ANY = -1  # a major or minor that stands for all
READ, WRITE, MKNOD = 2, 4, 1  # BPF_DEVCG_ACC_*, <linux/bpf.h>
ALL = READ | WRITE | MKNOD
NOWHERE = -1  # the index of a rule that no config.json has

_BITS = {"r": READ, "w": WRITE, "m": MKNOD}
_LETTERS = ["".join(letter for letter, bit in _BITS.items() if access & bit) for access in range(ALL + 1)]
EACH = [tuple(bit for bit in _BITS.values() if access & bit) for access in range(ALL + 1)]
_POINTER = "/linux/resources/devices"


class Rule:
    """One rule. kind: ``a``, ``b`` or ``c``; major, minor: ANY or a number; access: bits of ALL; index: its place in
    config.json, or NOWHERE.
    """

    __slots__ = ("access", "allow", "index", "kind", "major", "minor")

    def __init__(self, allow: bool, kind: str, major: int, minor: int, access: int, index: int = NOWHERE) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access
        self.index = index

    @property
    def pointer(self) -> str:
        """Returns the JSON pointer of the rule, or of the list if pyoci added the rule."""
        return _POINTER if self.index == NOWHERE else f"{_POINTER}/{self.index}"

    def text(self) -> str:
        """Returns the rule in the form of the v1 controller: ``c 1:3 rwm``."""
        return _text((self.kind, self.major, self.minor), self.access)

    @property
    def everything(self) -> bool:
        """Returns whether the rule covers all devices and all access, so that earlier rules have no effect."""
        return self.kind == "a" and self.access == ALL and self.major == ANY and self.minor == ANY


DEFAULTS = (
    # A node that cannot be opened is harmless.
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
    Rule(True, "c", 10, 200, ALL),  # net/tun: engines rely on it (runc removed it, and added it again)
)


def rules(devices: list[DeviceRule]) -> list[Rule]:
    """Returns the rules of a config.json, from the last one that covers everything, and the DEFAULTS.

    Raises SpecError, which names the rule.
    """
    found = [Rule(False, "a", ANY, ANY, ALL)]
    for index, device in enumerate(devices):
        rule = _rule(device, index)
        if rule.everything:
            found = []
        found.append(rule)
    return [*found, *DEFAULTS]


class Exceptions:
    """The state of the v1 controller: a default for all devices, and exceptions (cgroup-v1/devices.rst)."""

    __slots__ = ("access", "allow")

    def __init__(self, allow: bool) -> None:
        self.allow = allow
        self.access: dict[Key, int] = {}

    def text(self) -> list[str]:
        """Returns the exceptions as the controller reads and writes them: ``c 1:3 rwm``."""
        return [_text(key, access) for key, access in self.access.items()]


def exceptions(ordered: list[Rule]) -> Exceptions:
    """Returns the v1 form of the rules. Raises SpecError for a rule that would cut a hole into a wider exception.

    v1 removes an exception only by exactly its numbers, so such a rule would have no effect.
    """
    first = ordered[0]
    if not first.everything:
        raise SpecError(_POINTER, "no rule says what is with all devices")
    found = Exceptions(first.allow)
    if any(rule.allow == first.allow for rule in ordered[1:]):
        history = _History()
        for rule in ordered[1:]:
            history.note(rule, rule.allow != first.allow)
        found.access = history.exceptions()
        return found
    for rule in ordered[1:]:  # none is taken away: what engines write
        for kind in ("b", "c") if rule.kind == "a" else (rule.kind,):
            key = (kind, rule.major, rule.minor)
            found.access[key] = found.access.get(key, 0) | rule.access
    return found


def parse_list(text: str) -> Exceptions:
    """Parses devices.list. A single ``a *:* rwm`` means "all but exceptions", which the file does not show."""
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
    """Returns the (file, line) pairs that lead from one state of the v1 controller to another.

    Between two allow-lists, what both allow stays allowed all the time. A state that allows everything is always
    written again, because its exceptions cannot be read.
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


class _History:
    """Records when each bit of each exception was last added and removed, so that the time for a list of rules is
    linear, however they overlap.
    """

    __slots__ = ("_made", "_taken", "_wide", "_when")

    def __init__(self) -> None:
        self._made: dict[tuple[Key, int], int] = {}
        self._taken: dict[tuple[Key, int], int] = {}
        self._wide: dict[tuple[str, bool, int], dict[Key, None]] = {}  # those with one ANY, by which number it is
        self._when = 0

    def note(self, rule: Rule, makes: bool) -> None:
        """Applies the next rule, which adds or removes exceptions. Raises SpecError for a hole."""
        self._when += 1
        for kind in ("b", "c") if rule.kind == "a" else (rule.kind,):
            key = (kind, rule.major, rule.minor)
            for bit in EACH[rule.access]:
                if not makes:
                    self._refuse_hole(rule, key, bit)
                    self._taken[key, bit] = self._when
                    continue
                self._made[key, bit] = self._when
                if (rule.major == ANY) != (rule.minor == ANY):
                    self._wide.setdefault((kind, rule.major == ANY, bit), {})[key] = None

    def exceptions(self) -> dict[Key, int]:
        """Returns the exceptions that remain: device and access."""
        found: dict[Key, int] = {}
        for key, bit in self._made:
            if self._remains(key, bit):
                found[key] = found.get(key, 0) | bit
        return found

    def _remains(self, key: Key, bit: int) -> bool:
        made = self._made.get((key, bit), 0)
        return made > 0 and all(self._taken.get((wide, bit), 0) < made for wide in _covering(key))

    def _refuse_hole(self, rule: Rule, key: Key, bit: int) -> None:
        """Raises SpecError if the rule overlaps an existing exception without covering it."""
        kind, major, minor = key
        others = [wide for wide in _covering(key) if wide != key]
        if (major == ANY) != (minor == ANY):  # those that have the other number instead
            others += self._crossing(self._wide.get((kind, major != ANY, bit)), bit)
        for other in others:
            if self._remains(other, bit):
                hint = "put the wider rule first, or leave it out"
                verb = "allow" if rule.allow else "deny"
                what = f"cgroup v1 cannot {verb} {_text(key, rule.access)} out of {_text(other, self._access(other))}"
                raise SpecError(rule.pointer, what, hint=hint)

    def _crossing(self, keys: dict[Key, None] | None, bit: int) -> Iterator[Key]:
        """Returns an existing one, if there is any, and forgets those that are gone."""
        while keys:
            key = next(iter(keys))
            if self._remains(key, bit):
                yield key
                return
            del keys[key]

    def _access(self, key: Key) -> int:
        return sum(bit for bit in EACH[ALL] if self._remains(key, bit))


def _covering(key: Key) -> tuple[Key, ...]:
    """Returns the keys that include a device, its own first."""
    kind, major, minor = key
    if major == ANY or minor == ANY:
        return (key,) if major == minor else (key, (kind, ANY, ANY))
    return key, (kind, major, ANY), (kind, ANY, minor), (kind, ANY, ANY)


def _text(key: Key, access: int) -> str:
    kind, major, minor = key
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {_LETTERS[access]}"


def _rule(device: DeviceRule, index: int) -> Rule:
    kind = device.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise SpecError(f"{_POINTER}/{index}/type", "not a kind of device", kind, "expected one of a, b, c")
    access = 0
    for letter in device.get("access") or "rwm":
        if letter not in _BITS:
            raise SpecError(f"{_POINTER}/{index}/access", "not an access", letter, "expected some of r, w, m")
        access |= _BITS[letter]
    numbers = []
    for name, number in (("major", device.get("major", ANY)), ("minor", device.get("minor", ANY))):
        # For the v1 controller 2^32 - 1 means "all".
        if not ANY <= number < 2**32 - 1:
            raise SpecError(f"{_POINTER}/{index}/{name}", "not a device number", number)
        numbers.append(number)
    return Rule(device["allow"], kind, numbers[0], numbers[1], access, index)
