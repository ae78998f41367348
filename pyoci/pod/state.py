# SPDX-License-Identifier: Apache-2.0
"""The types of the document in pod.json, and of the messages of the control socket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from pyoci import jsontext


class Event(TypedDict):
    """An event. time: RFC 3339; container: its name, "" for the pod itself."""

    time: str
    container: str
    event: str
    detail: str


class Namespace(TypedDict):
    """A namespace of a process. sandbox, host: whether it is that of the sandbox, or of the host."""

    inode: int
    sandbox: bool
    host: bool


class ContainerState(TypedDict):
    """A container. kind: sandbox, init or container; status: waiting, running or terminated; code: its last exit
    status, or 128 plus the signal; started, finished: RFC 3339; namespaces: by name, only from ``pod inspect``.
    """

    name: str
    kind: str
    id: str
    image: str
    status: str
    pid: int
    code: int | None
    reason: str
    restarts: int
    started: str | None
    finished: str | None
    namespaces: NotRequired[dict[str, Namespace]]


class Interface(TypedDict):
    """A network interface of the sandbox. addresses: with prefix lengths."""

    name: str
    up: bool
    mtu: int
    addresses: list[str]


class PodState(TypedDict):
    """A pod. supervisor: the PID of its process; created, started, finished: RFC 3339. network and networkError: only
    from ``pod inspect``.
    """

    name: str
    phase: str
    reason: str
    manifest: str
    hostname: str
    labels: dict[str, str]
    restartPolicy: str
    grace: int
    shareProcessNamespace: bool
    supervisor: int
    created: str
    started: str | None
    finished: str | None
    events: list[Event]
    containers: list[ContainerState]
    network: NotRequired[list[Interface] | None]
    networkError: NotRequired[str]


class Message(TypedDict, total=False):
    """A message of the control socket, see pyoci.pod.control."""

    stop: int | None
    watch: bool
    event: Event
    log: str


_Shape = Mapping[str, type | tuple[type, ...]]

_EVENT: _Shape = dict.fromkeys(("time", "container", "event", "detail"), str)
_TIME = (str, type(None))
_CONTAINER: _Shape = {
    **dict.fromkeys(("name", "kind", "id", "image", "status", "reason"), str),
    **dict.fromkeys(("pid", "restarts"), int),
    "code": (int, type(None)),
    "started": _TIME,
    "finished": _TIME,
}
_POD: _Shape = {
    **dict.fromkeys(("name", "phase", "reason", "manifest", "hostname", "restartPolicy", "created"), str),
    **dict.fromkeys(("grace", "supervisor"), int),
    "shareProcessNamespace": bool,
    "labels": dict,
    "started": _TIME,
    "finished": _TIME,
    "events": list,
    "containers": list,
}


def parse(data: bytes) -> PodState:
    """Parses the state that a supervisor wrote. Raises ValueError."""
    document = jsontext.loads(data)
    _require("state", document, _POD)
    for key, shape in (("containers", _CONTAINER), ("events", _EVENT)):
        for one in document[key]:
            _require(key, one, shape)
    return cast(PodState, document)


def message(data: bytes) -> Message:
    """Parses a message of the control socket. Returns an empty one for nonsense."""
    try:
        document = jsontext.loads(data)
        if not isinstance(document, dict):
            return {}
        if "event" in document:
            _require("event", document["event"], _EVENT)
    except ValueError:
        return {}
    return cast(Message, document)


def unknown(name: str) -> PodState:
    """Returns the state to show for a pod whose state cannot be read."""
    return {
        "name": name, "phase": "Unknown", "reason": "", "manifest": "", "hostname": "", "labels": {},
        "restartPolicy": "", "grace": 0, "shareProcessNamespace": False, "supervisor": 0, "created": "",
        "started": None, "finished": None, "events": [], "containers": [],
    }  # fmt: skip


def seconds(time: str) -> float:
    """Returns a time of a state in seconds since the epoch, or 0 if it is not a time."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0


def _require(what: str, document: object, shape: _Shape) -> None:
    if not isinstance(document, dict):
        raise ValueError(f"{what}: not an object")
    for key, kind in shape.items():
        if not isinstance(document.get(key), kind):
            raise ValueError(f"{what}: {key} is missing or of the wrong type")
