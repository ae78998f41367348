# SPDX-License-Identifier: Apache-2.0
"""Sends messages to stderr and to the target of ``--log``.

An error goes to both. Warnings and debug lines go to the log, or to stderr if there is no log. The stderr of ``create``
becomes the stderr of the container, so what is written there would end up in the container's output.

Podman reads a JSON log as one object, and containerd takes the last line of level error. A failed verb therefore writes
a single object to a JSON file. Warnings are held back until the verb ends, and an error includes them in its object.
With ``--debug`` every line is written at once, so that the log shows how far a verb got.
"""

from __future__ import annotations

import os
import time

from pyoci import jsontext
from pyoci.cli import output
from pyoci.errors import UsageError
from pyoci.report import DEBUG, ERROR, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

FORMATS = ("text", "json")
JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
PRIORITIES = {ERROR: 3, WARNING: 4, DEBUG: 7}  # syslog(3)
# The values of --log-level, with the other names that runtimes accept.
LEVELS = {
    "panic": ERROR,
    "fatal": ERROR,
    "error": ERROR,
    "warn": WARNING,
    "warning": WARNING,
    "info": WARNING,
    "debug": DEBUG,
    "trace": DEBUG,
}
_FACILITY_USER = 1 << 3


class Log:
    """The log of one call. Only the constructor raises, because a full disk must not hide an error."""

    __slots__ = ("_descriptor", "_format", "_held", "_identifier", "_priority", "_socket", "_started", "debugging")

    def __init__(self, target: str, log_format: str, level: str) -> None:
        """Opens the log.

        target: ``PATH``, ``file:PATH``, ``journald:ID``, ``syslog:ID``, or "" for none; log_format: one of FORMATS,
        for files; level: one of LEVELS. The file is created at once, because engines report a missing one as a failure
        of their own. Raises OSError, UsageError.
        """
        if log_format not in FORMATS:
            raise UsageError(f"flag --log-format: {log_format!r} is neither text nor json")
        if level not in LEVELS:
            raise UsageError(f"flag --log-level: {level!r} is none of error, warning, debug")
        self.debugging = LEVELS[level] == DEBUG
        self._priority = PRIORITIES[LEVELS[level]]
        self._started = time.monotonic()
        self._format = log_format
        self._descriptor = -1
        self._socket: socket | None = None
        self._held: list[str] = []
        kind, colon, rest = target.partition(":")
        self._identifier = (rest or "pyoci") if colon else ""
        if colon and kind in ("journald", "syslog"):
            self._format = kind
            self._socket = _connect(JOURNAL if kind == "journald" else SYSLOG, target)
        elif target:
            path = rest if colon and kind == "file" else target
            # A FIFO that nobody reads would hold the verb up, when it is opened or when it is full.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(path, flags, 0o644)

    def tell(self, level: str, text: str) -> None:
        """Logs a warning or a debug line. This is the listener of :mod:`pyoci.report`."""
        if PRIORITIES[level] > self._priority:
            return
        message = output.one_line(text)
        if level == DEBUG:
            message = f"{(time.monotonic() - self._started) * 1000:.2f} ms: {message}"
        if self._socket is None and self._descriptor < 0:
            _write_stderr(f"pyoci: {level}: {message}\n")
        elif self._format == "json" and not self.debugging:
            self._held.append(message)
        else:
            self._send(level, message)

    def error(self, message: str, lines: tuple[str, ...] = ()) -> None:
        """Logs the error that ends the verb. lines: what stderr gets instead of the message."""
        message = output.one_line(message)
        _write_stderr("pyoci: " + "".join(f"{output.one_line(line)}\n" for line in lines or (message,)))
        held, self._held = self._held, []
        self._send(ERROR, message, held)

    def close(self) -> None:
        """Writes the warnings that were held back; for a verb that succeeded."""
        for message in self._held:
            self._send(WARNING, message)
        self._held = []

    def _send(self, level: str, message: str, warnings: list[str] | None = None) -> None:
        """Writes one message to the log with one system call. warnings: to be included in the same object."""
        if self._socket is None and self._descriptor < 0:
            return
        text = _FORMATTERS[self._format](level, self._identifier, message)
        if warnings:
            text = f'{text[:-2]},"warnings":{jsontext.dumps(warnings)}}}\n'
        data = text.encode("utf-8", "surrogateescape")
        try:
            if self._socket is not None:
                self._socket.send(data)
            else:
                os.write(self._descriptor, data)
        except OSError:
            pass


def now() -> str:
    """Returns the time in UTC, RFC 3339 with nanoseconds."""
    nanoseconds = time.time_ns()
    second, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{fraction:09d}Z"


def _write_stderr(text: str) -> None:
    try:
        output.write(text, output.STDERR)
    except OSError:
        pass  # stderr may be closed; the log and the exit status remain


def _json(level: str, _identifier: str, message: str) -> str:
    return f'{{"level":"{level}","time":"{now()}","msg":{jsontext.dumps(message)}}}\n'


def _text(level: str, _identifier: str, message: str) -> str:
    return f'time="{now()}" level={level} msg={jsontext.dumps(message)}\n'


def _journald(level: str, identifier: str, message: str) -> str:
    """Returns the message in journald's native protocol: lines of KEY=value (systemd, "Native Journal Protocol")."""
    return (
        f"PRIORITY={PRIORITIES[level]}\nSYSLOG_IDENTIFIER={identifier}\nSYSLOG_PID={os.getpid()}\nMESSAGE={message}\n"
    )


def _syslog(level: str, identifier: str, message: str) -> str:
    """Returns the message as RFC 3164 has it for local daemons."""
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime())
    return f"<{_FACILITY_USER | PRIORITIES[level]}>{stamp} {identifier}[{os.getpid()}]: {message}"


_FORMATTERS = {"json": _json, "text": _text, "journald": _journald, "syslog": _syslog}


def _connect(path: str, target: str) -> socket:
    """Returns a datagram socket to the daemon. It never blocks, even if the daemon does not read."""
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
    except OSError as error:
        raise UsageError(f"flag --log={target}: nobody listens on {path} ({os.strerror(error.errno or 0)})") from error
    return connection
