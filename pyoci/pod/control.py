# SPDX-License-Identifier: Apache-2.0
"""The socket of a pod's supervisor: takes requests to stop, and sends news.

SOCK_SEQPACKET, one JSON object per message.

    client                                  supervisor
    {"stop": SECONDS or null} ----------->                    null: the pod's own grace period
    {"watch": true} --------------------->
                     <-------------------- {"event": {...}}   as each thing happens
                     <-------------------- {"log": NAME}      to watchers: this log has grown
                     <-------------------- (end)              the supervisor is gone

News may be lost if a client does not read. The state in pod.json is authoritative.
"""

from __future__ import annotations

import os
import socket
import struct
import time

from pyoci import jsontext
from pyoci.errors import PodError
from pyoci.pod import state
from pyoci.pod.directory import Directory
from pyoci.pod.state import Message

_KIND = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
_LONGEST = 65536
_CLIENTS = 64


class Server:
    """The side of the supervisor, which polls the descriptors."""

    def __init__(self, directory: Directory) -> None:
        self.listener = socket.socket(socket.AF_UNIX, _KIND | socket.SOCK_NONBLOCK)
        self.clients: dict[int, socket.socket] = {}
        self._watchers: set[int] = set()
        # Through /proc, because the address of a socket has only 107 bytes.
        with directory.opened() as fd:
            self.listener.bind(f"/proc/self/fd/{fd}/control")
        self.listener.listen(_CLIENTS)

    def accept(self) -> int:
        """Accepts a client. Returns its descriptor, or -1 if it is gone or there are too many."""
        try:
            client, _ = self.listener.accept()
        except OSError:
            return -1
        if len(self.clients) >= _CLIENTS:
            client.close()
            return -1
        client.setblocking(False)
        self.clients[client.fileno()] = client
        return client.fileno()

    def receive(self, fd: int) -> Message | None:
        """Returns one request, {} for nonsense, or None at the end of the client, which closes the connection."""
        try:
            data = self.clients[fd].recv(_LONGEST)
        except BlockingIOError:
            return {}
        except OSError:
            data = b""
        if not data:
            self._watchers.discard(fd)
            self.clients.pop(fd).close()
            return None
        request = state.message(data)
        if request.get("watch"):
            self._watchers.add(fd)
        return request

    def tell(self, message: Message) -> None:
        """Sends news: to all clients, or about a log only to watchers."""
        data = jsontext.dumps(message).encode()
        for fd in list(self._watchers if "log" in message else self.clients):
            try:
                self.clients[fd].send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:
                pass  # full, so the client has news to read; or gone, which the next poll reports

    def close(self) -> None:
        """Closes all connections."""
        for client in self.clients.values():
            client.close()
        self.listener.close()


class Client:
    """The side of a command of ``pyoci pod``."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, message: Message) -> None:
        """Sends one request. Does nothing if the supervisor has just ended."""
        try:
            self._socket.send(jsontext.dumps(message).encode(), socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def next(self, deadline: float | None) -> Message | None:
        """Returns the next news, or None when the supervisor has ended.

        deadline: time.monotonic() at which to raise TimeoutError; None waits as long as the supervisor lives.
        """
        self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
        try:
            data = self._socket.recv(_LONGEST)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        return state.message(data) if data else None

    def drain(self) -> None:
        """Returns all news that has already arrived."""
        self._socket.setblocking(False)
        try:
            while self._socket.recv(_LONGEST):
                pass
        except OSError:
            pass

    def supervisor(self) -> int:
        """Returns the PID of the supervisor (unix(7), SO_PEERCRED)."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()


def connect(directory: Directory) -> Client | None:
    """Returns a connection to the pod's supervisor, or None. Raises PodError if the directory is not valid."""
    connection = socket.socket(socket.AF_UNIX, _KIND)
    try:
        with directory.opened() as fd:
            file = os.open("control", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                connection.connect(f"/proc/self/fd/{file}")  # a symlink is not a socket and is refused
            finally:
                os.close(file)
    except OSError:
        connection.close()
        return None
    except PodError:
        connection.close()
        raise
    return Client(connection)
