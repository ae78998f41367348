# SPDX-License-Identifier: Apache-2.0
"""The control socket, and what a supervisor takes from the pipes of containers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.container.paths import Root
from pyoci.pod import control, manifest
from pyoci.pod.containers import Containers
from pyoci.pod.control import Client, Server
from pyoci.pod.directory import Directory
from pyoci.pod.output import Output
from pyoci.pod.state import Event
from pyoci.pod.supervisor import Audience, Supervisor

EVENT: Event = {"time": "2026-01-01T00:00:00Z", "container": "a", "event": "ended", "detail": ""}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    made = Directory(str(tmp_path / ("state" + "x" * 100)), "p")  # longer than a socket's address may be
    lock = made.claim(b"")
    yield made
    os.close(lock)


def connected(server: Server, directory: Directory) -> tuple[Client, int]:
    client = control.connect(directory)
    assert client is not None
    return client, server.accept()


def test_requests_and_news(directory: Directory) -> None:
    assert control.connect(directory) is None
    server = Server(directory)
    (watcher, one), (other, two) = connected(server, directory), connected(server, directory)
    assert watcher.supervisor() == os.getpid()
    watcher.send({"watch": True})
    assert server.receive(one) == {"watch": True}
    other.send({"stop": None})
    assert server.receive(two) == {"stop": None}
    server.tell({"log": "a"})
    server.tell({"event": EVENT})
    assert watcher.next(time.monotonic() + 5) == {"log": "a"}
    assert watcher.next(time.monotonic() + 5) == other.next(time.monotonic() + 5) == {"event": EVENT}
    with pytest.raises(TimeoutError):
        other.next(time.monotonic() + 0.01)
    other.close()
    assert server.receive(two) is None
    server.tell({"event": EVENT})
    server.close()
    watcher.drain()
    assert watcher.next(None) is None
    watcher.close()


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b'{"event": 1}', b'{"event": {"time": 1}}'])
def test_nonsense_is_an_empty_request(directory: Directory, data: bytes) -> None:
    server = Server(directory)
    client, fd = connected(server, directory)
    client._socket.send(data)
    assert server.receive(fd) == {}
    client.close()
    server.close()


def test_clients_are_bounded(directory: Directory) -> None:
    server = Server(directory)
    clients = [connected(server, directory) for _ in range(64)]
    assert all(fd >= 0 for _, fd in clients)
    late, fd = connected(server, directory)
    assert fd == -1
    assert late.next(time.monotonic() + 5) is None
    clients[0][0].close()
    assert server.receive(clients[0][1]) is None
    again, fd = connected(server, directory)
    assert fd >= 0
    for client in (late, again, *(client for client, _ in clients)):
        client.close()
    server.close()


def test_a_client_that_does_not_read_holds_up_nobody(directory: Directory) -> None:
    server = Server(directory)
    client, _ = connected(server, directory)
    begin = time.monotonic()
    for _ in range(10000):
        server.tell({"event": EVENT})
    assert time.monotonic() - begin < 5
    client.close()
    server.close()


def test_the_last_output_is_taken_and_no_more(directory: Directory) -> None:
    """A pipe may stay open beyond its container's end, in a process that goes on writing to it."""
    seen: list[tuple[str, str, bytes]] = []
    output = Output(directory, lambda *line: seen.append(line))
    reader, writer = os.pipe()
    output.add("a", "stdout", reader)
    os.write(writer, b"one\ntwo\nthree")
    assert output.last("a") == [reader]
    assert seen == [("a", "stdout", b"one"), ("a", "stdout", b"two"), ("a", "stdout", b"three")]
    endless = os.open("/dev/zero", os.O_RDONLY)
    output.add("a", "stdout", endless)
    signal.alarm(20)
    assert output.last("a") == [endless]
    signal.alarm(0)
    assert sum(len(text) for _, _, text in seen[3:]) == 64 * 65536
    os.close(writer)
    output.close()


def test_events_are_bounded(directory: Directory, tmp_path: Path) -> None:
    """In length each, and in number in the state."""
    (tmp_path / "image").mkdir()
    container = {"name": "a", "image": "dir:image", "command": ["sh"]}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
    told: list[Event] = []
    audience = Audience()
    audience.event = told.append  # type: ignore[method-assign]
    pod = manifest.check(document, str(tmp_path / "pod.yaml"))
    supervisor = Supervisor(pod, directory, Containers(Root(str(tmp_path / "state")), "cgroupfs"), 1.0, audience)
    for number in range(300):
        supervisor._event("a", f"event {number}", "x" * 5000)
    supervisor._save()
    kept = directory.load()["events"]
    assert [event["event"] for event in kept] == [f"event {number}" for number in range(44, 300)]
    assert {len(event["detail"]) for event in kept} == {1000}
    assert told[-256:] == kept
