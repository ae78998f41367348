# SPDX-License-Identifier: Apache-2.0
"""The engine's end of a console socket. It receives the master of a terminal by SCM_RIGHTS (unix(7))."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import termios
import time
from pathlib import Path


class ConsoleSocket:
    """A listening AF_UNIX stream socket, to be given by --console-socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(5)

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def receive(self) -> Terminal:
        """Returns the terminal of the container: exactly one descriptor, with 1 to 4095 bytes beside it."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(5)
            data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
        assert 1 <= len(data) <= 4095, f"{len(data)} bytes beside the descriptor"
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            descriptors.frombytes(content)
        assert len(descriptors) == 1, f"{len(descriptors)} descriptors in place of one"
        return Terminal(descriptors[0])


class Terminal:
    """The master side of a pseudoterminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def type(self, text: str) -> None:
        """Sends keys."""
        os.write(self.descriptor, text.encode())

    def read_until(self, text: str, timeout: float = 5.0) -> str:
        """Everything that the terminal showed, at least up to `text`."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            ready, _, _ = select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"waited {timeout} s for {text!r}, saw {self.seen!r}"
            try:
                chunk = os.read(self.descriptor, 4096)
            except OSError:  # EIO: the last process on the other side is gone
                chunk = b""
            assert chunk, f"the terminal closed before {text!r}, saw {self.seen!r}"
            self.seen += chunk.decode(errors="replace")
        return self.seen

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(self.descriptor, termios.TIOCGWINSZ, bytes(8)))
        return rows, columns
