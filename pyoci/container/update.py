# SPDX-License-Identifier: Apache-2.0
"""``update``: changes limits of a container. What is not named stays as it is."""

from __future__ import annotations

from pyoci.config import check
from pyoci.container.paths import Lock
from pyoci.container.state import State
from pyoci.errors import CgroupError, NotFound, NotRunning, PyociError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyoci.config.documents import Resources
    from pyoci.container.paths import Root

WAIT = 10.0  # seconds for another update, or a creation
_AT = "/linux/resources"
# Where 0, false or an empty text is a value too. Elsewhere it means "not set" (cgroup/resources.py).
_ZERO_COUNTS = ("idle", "burst", "swappiness", "devices", "hugepageLimits")


class Origin:
    """Where the new limits come from, for messages. document: its name; flags: JSON pointer → flag."""

    __slots__ = ("document", "flags")

    def __init__(self, document: str, flags: Mapping[str, str]) -> None:
        self.document = document
        self.flags = flags

    def fault(self, error: SpecError, about: str) -> SpecError:
        """Returns an error of a configuration as one of these limits: with the flag, or the pointer in the document."""
        text = str(error).removeprefix(f"{error.document}: {error.pointer or '/'}: ")
        pointer = error.pointer.removeprefix(_AT)
        flags = [flag for each, flag in self.flags.items() if pointer and f"{each}/".startswith(f"{pointer}/")]
        place = f"flag {flags[0]}" if flags else f"{self.document}: {pointer or '/'}"
        found = type(error)(pointer, "")
        found.args = (f"{about}: {place}: {text}",)
        return found

    def failure(self, error: CgroupError, about: str) -> CgroupError:
        """Returns an error of the kernel, which has the pointer in its text, in the same way."""
        text = str(error)
        for pointer, flag in self.flags.items():
            text = text.replace(_AT + pointer, flag)
        return type(error)(f"{about}: {text.replace(_AT, '')}")


def update(root: Root, container_id: str, given: Resources, origin: Origin) -> None:
    """Sets the limits that ``given`` names, and keeps them in the state.

    If one is refused, those that were set before it are set back. Raises NotFound, NotRunning; SpecError for limits
    that are wrong, that this host does not have, or that contradict others; CgroupError if the kernel refuses one.
    """
    about = f"update {container_id}"
    with Lock(root.existing(container_id)) as lock:
        if not lock.take(WAIT):
            raise PyociError(f"{about}: it is being created, updated or deleted for {WAIT:.0f} s now")
        if lock.gone():
            raise NotFound(container_id)
        state = State.load(root, container_id)
        status = state.status()
        if status not in ("created", "running", "paused"):
            raise NotRunning(container_id, "update", status)
        kept: Resources = state.cgroup.get("resources", {})
        try:
            check.resources(given)
            state.group().update(_completed(given, kept))
        except SpecError as error:
            raise origin.fault(error, about) from error
        except CgroupError as error:
            raise origin.failure(error, about) from error
        state.cgroup["resources"] = merged(kept, given)
        state.save()


def merged(kept: Resources, given: Resources) -> Resources:
    """Returns the limits after an update: ``kept``, with what ``given`` sets. Pure."""
    found: Any = _merge({**kept}, {**given})
    memory = given.get("memory") or {}
    if memory.get("limit") == -1 and not memory.get("swap"):
        found["memory"] = {**found["memory"], "swap": -1}  # "no limit" includes swap (cgroup/resources.py)
    if given.get("hugepageLimits"):
        rows = [*kept.get("hugepageLimits", ()), *given["hugepageLimits"]]
        found["hugepageLimits"] = list({each["pageSize"]: each for each in rows}.values())
    result: Resources = found
    return result


def _merge(kept: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        if isinstance(value, dict):
            every = name in ("pids", "unified", "rdma")
            inner = {key: each for key, each in value.items() if each or every or key in _ZERO_COUNTS}
            kept[name] = {**kept.get(name, {}), **inner}
        elif value or name in _ZERO_COUNTS:
            kept[name] = value
    return kept


def _completed(given: Resources, kept: Resources) -> Resources:
    """Returns what to set: ``given``, with the limit of memory and swap together, where it would change otherwise.

    v2 has a limit of swap alone, which follows from that of memory. Device rules that are in force already are left
    out: engines send all resources, and others may have added rules since. Raises SpecError.
    """
    found: Resources = {**given}
    if "devices" in given and given["devices"] == kept.get("devices"):
        del found["devices"]
    memory, before = given.get("memory") or {}, kept.get("memory") or {}
    limit, swap = memory.get("limit") or 0, before.get("swap") or 0
    if limit > 0 and swap > 0 and not memory.get("swap"):
        if limit > swap:
            hint = f"the limit of memory and swap together is {swap}; raise that as well"
            raise SpecError("/memory/limit", "more than memory and swap", limit, hint)
        found["memory"] = {**memory, "swap": swap}
    return found
