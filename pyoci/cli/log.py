# SPDX-License-Identifier: Apache-2.0
"""Where ``--log`` sends the error: a file, journald or syslog.

Only the error is logged, as one line and nothing before it: podman reads the whole file as one JSON object, and
containerd takes the last error line.
"""

from __future__ import annotations

import os
import time

from pyoci import jsontext
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

FORMATS = ("text", "json")
JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
_PRIORITY_ERROR = 3  # syslog(3)
_FACILITY_USER = 1 << 3


class Log:
    """An open log. :meth:`error` never raises: the message stands on stderr already."""

    __slots__ = ("_descriptor", "_format", "_identifier", "_socket")

    def __init__(self, target: str, log_format: str) -> None:
        """target: ``PATH``, ``file:PATH``, ``journald:ID`` or ``syslog:ID``; log_format: one of FORMATS, for files.

        The file is created now (an engine takes a missing one for a failure of its own), the socket connected.
        Raises OSError, UsageError.
        """
        if log_format not in FORMATS:
            raise UsageError(f"flag --log-format: {log_format!r} is neither text nor json")
        self._format = log_format
        self._descriptor = -1
        self._socket: socket | None = None
        kind, colon, rest = target.partition(":")
        self._identifier = (rest or "pyoci") if colon else ""
        if colon and kind in ("journald", "syslog"):
            self._format = kind
            self._socket = _connect(JOURNAL if kind == "journald" else SYSLOG, target)
        else:
            path = rest if colon and kind == "file" else target
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def error(self, message: str) -> None:
        """Writes one message at level error, by one system call."""
        text = _FORMATTERS[self._format](self._identifier, message).encode("utf-8", "surrogateescape")
        try:
            if self._socket is not None:
                self._socket.send(text)
            else:
                os.write(self._descriptor, text)
        except OSError:
            pass  # a full disk must not hide the error that stderr and the exit status tell


def now() -> str:
    """The time in UTC, RFC 3339 with nanoseconds."""
    nanoseconds = time.time_ns()
    second, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{fraction:09d}Z"


def _json(_identifier: str, message: str) -> str:
    return f'{{"level":"error","time":"{now()}","msg":{jsontext.dumps(message)}}}\n'


def _text(_identifier: str, message: str) -> str:
    return f'time="{now()}" level=error msg={jsontext.dumps(message)}\n'


def _journald(identifier: str, message: str) -> str:
    """The native protocol of journald: lines of KEY=value (systemd, "Native Journal Protocol")."""
    return f"PRIORITY={_PRIORITY_ERROR}\nSYSLOG_IDENTIFIER={identifier}\nSYSLOG_PID={os.getpid()}\nMESSAGE={message}\n"


def _syslog(identifier: str, message: str) -> str:
    """RFC 3164, as local daemons read it."""
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime())
    return f"<{_FACILITY_USER | _PRIORITY_ERROR}>{stamp} {identifier}[{os.getpid()}]: {message}"


_FORMATTERS = {"json": _json, "text": _text, "journald": _journald, "syslog": _syslog}


def _connect(path: str, target: str) -> socket:
    """A datagram socket of the daemon's; never blocks on a daemon that does not read."""
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
    except OSError as error:
        raise UsageError(f"flag --log={target}: nobody listens on {path} ({os.strerror(error.errno or 0)})") from None
    return connection
