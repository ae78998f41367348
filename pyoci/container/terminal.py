# SPDX-License-Identifier: Apache-2.0
"""Terminals: the socket that passes a PTY master to an engine, and our own end of it for ``run -t`` and ``exec -t``.

``connect`` and ``send_pidfd`` are on the hot path of ``create``. Modules that only a foreground process needs are
imported inside functions.
"""

from __future__ import annotations

import errno
import os

from pyoci import native
from pyoci.errors import LaunchError, UsageError, reason
from pyoci.kernel.signals import NUMBERS, SIGPIPE, SIGRTMAX, SIGRTMIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from _socket import socket

CONNECT_WAIT = 10  # seconds in which a listener must accept, and init must send its descriptor
RECEIVE_WAIT = 10.0  # seconds in which init must send the master of the PTY
DRAIN_WAIT = 0.2  # seconds to wait for output after the process's end, if others hold the terminal
_CHUNK = 4096  # bytes: what poll(2) guarantees to a writer (PIPE_BUF), and the buffer of a PTY
_SUN_PATH = 107  # bytes of a path in struct sockaddr_un, without NUL (unix(7))

_WINCH = NUMBERS["WINCH"]
# Not forwarded: the two that cannot be caught, those about our own faults and children, and job control.
_KEPT = [
    NUMBERS[name]
    for name in "KILL STOP CHLD PIPE URG TSTP TTIN TTOU ILL TRAP ABRT BUS FPE SEGV SYS STKFLT XFSZ XCPU".split()
]
# Sets of signals: bit N-1 is signal N.
FORWARDED = sum(1 << number - 1 for number in (*range(1, 32), *range(SIGRTMIN, SIGRTMAX + 1)) if number not in _KEPT)
_HELD = FORWARDED | 1 << SIGPIPE - 1
_ENDING = sum(1 << NUMBERS[name] - 1 for name in ("HUP", "INT", "QUIT", "TERM"))


def hold_signals() -> None:
    """Blocks signals until :func:`foreground`, which forwards them. Called before the process may run.

    SIGPIPE is blocked for good, so that a reader of our output that goes away does not end this process.
    """
    native.block_signals(_HELD)


def interrupt_by_signals() -> None:
    """Turns signals that ask this process to end into an exception, while a foreground ``run`` creates, so that
    everything is undone.

    Other signals are blocked. native.end_interrupts ends this.
    """
    hold_signals()
    native.interrupt_by(_ENDING)


def connect_console(path: str) -> int:
    """Connects to the AF_UNIX stream socket of ``--console-socket``. Returns the descriptor.

    path: of any length. Raises UsageError, which names it.
    """
    return _connect(path, "--console-socket").detach()


def send_pidfd(path: str, pidfd: int) -> None:
    """Sends a pidfd, with the data "pidfd", to the AF_UNIX stream socket of ``--pidfd-socket``. Raises UsageError."""
    import _socket

    connection = _connect(path, "--pidfd-socket")
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pidfd.to_bytes(4, "little"))
        connection.sendmsg([b"pidfd"], [rights])
    except OSError as error:
        raise UsageError(f"flag --pidfd-socket: send to {path}: {reason(error)}") from error
    finally:
        connection.close()


def _connect(path: str, flag: str) -> socket:
    """Returns a connected stream socket. Connecting and sending end after CONNECT_WAIT. Raises UsageError."""
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    directory = -1
    try:
        limit = CONNECT_WAIT.to_bytes(8, "little") + bytes(8)  # struct timeval
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
        address = path
        if len(os.fsencode(path)) > _SUN_PATH:
            parent, name = os.path.split(path)
            directory = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            address = f"/proc/self/fd/{directory}/{name}"
        connection.connect(address)
    except OSError as error:
        connection.close()
        why = reason(error, missing="there is no such socket")
        if error.errno == errno.EAGAIN:
            why = f"its listener accepts nobody (waited {CONNECT_WAIT} s)"
        raise UsageError(f"flag {flag}: connect to {path}: {why}") from error
    finally:
        if directory >= 0:
            os.close(directory)
    return connection


class Console:
    """The terminal of a foreground process: a socket for init to send the PTY master to, and the master itself.

    remote: the descriptor that init gets as its console socket; master: -1 until :meth:`receive`.
    """

    __slots__ = ("_local", "master", "remote")

    def __init__(self) -> None:
        import _socket

        local, remote = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._local: socket | None = local
        self.remote = remote.detach()
        self.master = -1

    def receive(self) -> None:
        """Receives the master from the socket, before the program can write to it. Does nothing if it has been
        received.

        The terminal gets the size of our own. If our output is not a terminal, lines end as the program ends them, with
        a line feed alone. Waits RECEIVE_WAIT at most. Raises LaunchError if init ended or sent nothing.
        """
        import _socket

        if self._local is None:
            return
        self._close_remote()
        try:
            self._local.settimeout(RECEIVE_WAIT)
            data, rights, _flags, _peer = self._local.recvmsg(_CHUNK, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            why = reason(error) if error.errno else "init does not send it"  # a TimeoutError has no errno
            raise LaunchError(f"receive the terminal: {why}") from error
        finally:
            self._local.close()
            self._local = None
        if not data or len(rights) != 1 or len(rights[0][2]) != 4:
            raise LaunchError("receive the terminal: init ended without sending it")
        self.master = int.from_bytes(rights[0][2], "little")
        os.set_blocking(self.master, False)
        self.resize()
        if not os.isatty(1):
            _end_lines_plainly(self.master)

    def resize(self) -> None:
        """Sets the window size of the master to that of the first of our standard descriptors that is a terminal."""
        for descriptor in (0, 1, 2):
            try:
                size = os.get_terminal_size(descriptor)
            except OSError:
                continue
            _set_window_size(self.master, size.lines, size.columns)
            return

    def close(self) -> None:
        """Closes what is open. May be called twice."""
        self._close_remote()
        if self._local is not None:
            self._local.close()
            self._local = None
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def _close_remote(self) -> None:
        if self.remote >= 0:
            os.close(self.remote)
            self.remote = -1


def _set_window_size(master: int, rows: int, columns: int) -> None:
    """Sets the size of a terminal (ioctl_tty(2), TIOCSWINSZ), unless it is 0, as for a serial line."""
    import fcntl
    import termios

    if rows and columns:
        size = b"".join(number.to_bytes(2, "little") for number in (rows, columns, 0, 0))
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)


def _end_lines_plainly(master: int) -> None:
    """Clears ONLCR, with which a terminal writes a carriage return before each line feed (termios(3))."""
    import termios

    attributes = termios.tcgetattr(master)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(master, termios.TCSANOW, attributes)


def foreground(pidfd: int, pid: int, console: Console | None) -> int:
    """Waits for a child in the foreground: forwards our signals to it and relays its terminal. Returns its exit status.

    pidfd, pid: of the child; console: its terminal, or None if it has our standard descriptors. The exit status is 0 to
    255, or 128 + signal. Raises LaunchError if the terminal does not arrive, and OSError. The caller has called
    :func:`hold_signals`, and signals stay blocked. Our own terminal is raw meanwhile and is always restored.
    """
    signals = native.signalfd(FORWARDED)
    settings = None
    try:
        if console is None:
            while native.wait_two(signals, pidfd) & 1:
                _forward(signals, pidfd, None)
            return _status(pidfd, pid)
        console.receive()  # if the caller has not done so before
        settings = _raw(0)
        relay = Relay(console.master, 0, 1)
        _loop(pidfd, signals, relay, console)
        relay.finish()
        return _status(pidfd, pid)
    finally:
        if settings is not None:
            _restore(0, settings)
        os.close(signals)


def _loop(pidfd: int, signals: int, relay: Relay, console: Console) -> None:
    """Relays until the process has ended."""
    import select

    while True:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(signals, select.POLLIN)
        relay.register(poll)
        ready = dict(poll.poll())
        if signals in ready:
            _forward(signals, pidfd, console)
        relay.step(ready)
        if pidfd in ready:
            return


def _forward(signals: int, pidfd: int, console: Console | None) -> None:
    """Forwards received signals to the process. SIGWINCH becomes a new size of its terminal, if it has one."""
    while number := native.take_signal(signals):
        if number == _WINCH and console is not None:
            console.resize()
            continue
        try:
            native.pidfd_send_signal(pidfd, number)
        except native.NativeError as error:
            if error.errno != errno.ESRCH:  # it has just ended; the pidfd will report that
                raise


def _status(pidfd: int, pid: int) -> int:
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if result is None:
        raise LaunchError(f"wait for process {pid}: it has not ended")
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


class Relay:
    """Copies ``source`` to a PTY master, and the master to ``sink``, without blocking on the master.

    Each direction buffers one chunk and reads more only after writing it. A program that writes without reading can
    therefore not block the other direction.
    """

    __slots__ = ("_input", "_master", "_output", "_sink", "_source")

    def __init__(self, master: int, source: int, sink: int) -> None:
        self._master = master
        self._source = source  # -1 after its end
        self._sink = sink  # -1 when it does not accept more
        self._input = b""
        self._output = b""

    def register(self, poll: select.poll) -> None:
        """Registers what the next step waits for."""
        import select

        master = (select.POLLOUT if self._input else 0) | (0 if self._output else select.POLLIN)
        if self._master >= 0:
            poll.register(self._master, master)
        if self._source >= 0 and self._master >= 0 and not self._input:
            poll.register(self._source, select.POLLIN)
        if self._output and self._sink >= 0:
            poll.register(self._sink, select.POLLOUT)

    def step(self, ready: dict[int, int]) -> None:
        """Copies what can be copied now. ready: the result of poll(2)."""
        if self._sink in ready and self._output:
            self._write_sink()
        if self._source in ready and not self._input:
            self._read_source()
        if self._master in ready:
            self._read_master()
            self._write_master()

    def finish(self) -> None:
        """Copies the last output after the process's end, until the terminal is closed or silent for DRAIN_WAIT."""
        import select

        while self._master >= 0:
            if self._output:
                self._write_sink()
                continue
            poll = select.poll()
            poll.register(self._master, select.POLLIN)
            if not poll.poll(DRAIN_WAIT * 1000):
                break
            self._read_master()
        while self._output:
            self._write_sink()

    def _read_source(self) -> None:
        try:
            self._input = os.read(self._source, _CHUNK)
        except OSError:  # a terminal that hung up
            self._input = b""
        if not self._input:
            self._source = -1
            self._input = _end_of_file(self._master)

    def _read_master(self) -> None:
        if self._output:
            return
        try:
            self._output = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last process closed the terminal
            self._output = b""
        if not self._output:
            self._master = -1
        if self._sink < 0:
            self._output = b""

    def _write_master(self) -> None:
        if self._input and self._master >= 0:
            try:
                self._input = self._input[os.write(self._master, self._input) :]
            except BlockingIOError:
                pass
            except OSError:
                self._input = b""

    def _write_sink(self) -> None:
        """Writes to the sink. If its reader is gone, output is dropped and the process continues."""
        try:
            self._output = self._output[os.write(self._sink, self._output) :] if self._sink >= 0 else b""
        except BlockingIOError:
            pass
        except OSError:
            self._sink = -1
            self._output = b""


def _end_of_file(master: int) -> bytes:
    """Returns the character that means the end of input, VEOF (termios(3)); empty if the terminal is not canonical."""
    import termios

    attributes = termios.tcgetattr(master)
    return bytes(attributes[6][termios.VEOF]) if attributes[3] & termios.ICANON else b""


def _raw(descriptor: int) -> list[object] | None:
    """Makes a terminal raw (termios(3), cfmakeraw). Returns its old settings, or None if it is not a terminal."""
    import termios

    try:
        settings = termios.tcgetattr(descriptor)
    except termios.error:
        return None
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = settings
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    oflag &= ~termios.OPOST
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    characters = [*characters]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, characters])
    return settings


def _restore(descriptor: int, settings: list[object]) -> None:
    import termios

    try:
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)  # type: ignore[arg-type]
    except termios.error:
        pass  # the terminal is gone
