# SPDX-License-Identifier: Apache-2.0
"""Hooks that run in the runtime's namespaces: prestart, createRuntime, poststart and poststop.

The specification is config.md, "POSIX-platform Hooks". Each hook is a process group of its own, gets exactly its own
environment, and the state on standard input. It has no time limit unless its config gives one (the specification sets
none); with one, the whole group is killed at its end. What it prints is kept up to a bound, for the error message. The
runtime waits for the hook itself, never for what the hook left running; such a process loses the pipe that it printed
to, and so redirects its output, as daemons do.
"""

from __future__ import annotations

import errno
import os
import time

from pyoci import native, report
from pyoci.container.processes import expect_children
from pyoci.errors import HookError, hook_words
from pyoci.kernel.signals import SIGKILL, SIGPIPE, SIGXFSZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Hook

KILL_WAIT = 5.0  # seconds for a killed hook to be gone: only one stuck in the kernel needs longer
_KEPT = 8192  # bytes of output, the last ones
_LONGEST = 1 << 30  # ms: what poll(2) takes is an int
_SHOWN = 200  # characters of its last line

# What posix_spawn says for a program that cannot be run. The plain words of ENOENT and EACCES would be taken by
# engines for a fault of the container's own program.
_REASONS = {errno.ENOENT: "no such program on the host", errno.EACCES: "not executable"}


def run(kind: str, hooks: list[Hook], state: str, pointer: str, cwd: str | None = None) -> None:
    """Runs hooks one after the other; the first that fails ends the list.

    kind: ``createRuntime`` and so on, for messages; hooks: as config.json has them; state: the JSON text for their
    standard input; pointer: JSON pointer to the list; cwd: the working directory (None: the runtime's own).
    Raises HookError; whether that is fatal is the caller's to know.
    """
    for index, hook in enumerate(hooks):
        _run_one(hook_words(kind, index, hook["path"]), hook, state, f"{pointer}/{index}", cwd)


def run_all(kind: str, hooks: list[Hook], state: str, pointer: str, cwd: str | None = None) -> list[HookError]:
    """Runs every hook, whatever becomes of the ones before it, as the specification wants for poststop.

    Takes what :func:`run` takes; gives the failures, for warnings.
    """
    failures = []
    for index, hook in enumerate(hooks):
        try:
            _run_one(hook_words(kind, index, hook["path"]), hook, state, f"{pointer}/{index}", cwd)
        except HookError as error:
            failures.append(error)
    return failures


def _run_one(name: str, hook: Hook, state: str, pointer: str, cwd: str | None) -> None:
    started = time.monotonic()
    output, hook_end = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid = _spawn(hook, state, hook_end, cwd)
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, error.strerror)
            raise HookError(f"{name}: cannot be run: {reason} ({pointer})") from None
        finally:
            os.close(hook_end)
        kept, failure = _wait(pid, output, hook.get("timeout"))
    finally:
        os.close(output)
    if report.debugging and not failure:
        report.debug(f"{name.removeprefix('error running ')}: succeeded")
    if failure:
        spent = round((time.monotonic() - started) * 1000)
        raise HookError(f"{name}: {failure} after {spent} ms{_last_line(kept)} ({pointer})")


def _spawn(hook: Hook, state: str, output: int, cwd: str | None) -> int:
    """Starts a hook in a session of its own; gives its PID. Raises OSError."""
    path = hook["path"]
    expect_children()
    # a file, not a pipe: a hook that never reads its input cannot block or kill the runtime
    stdin = os.memfd_create("state", os.MFD_CLOEXEC)
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if cwd is not None else -1
    try:
        os.pwrite(stdin, state.encode("utf-8", "surrogateescape"), 0)
        if cwd is not None:
            os.chdir(cwd)
        return os.posix_spawn(
            path,
            hook.get("args") or [path],
            _environment(hook.get("env") or []),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                *[(os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()],
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[SIGPIPE, SIGXFSZ],  # Python ignores these two
        )
    finally:
        os.close(stdin)
        if before >= 0:
            os.fchdir(before)
            os.close(before)


def _inheritable() -> list[int]:
    """What our caller gave us besides 0-2, perhaps for the container's process: no hook's business."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            pass  # the descriptor that listdir itself had
    return found


def _environment(lines: list[str]) -> dict[str, str]:
    """``NAME=value`` lines as posix_spawn takes them; of a name that stands twice the last counts."""
    pairs = [line.partition("=") for line in lines]
    return {name: value for name, equals, value in pairs if name and equals}


def _wait(pid: int, output: int, timeout: float | None) -> tuple[bytes, str]:
    """Waits for the hook, reading what it prints; gives the last of that and, unless it succeeded, how it ended."""
    import select

    os.set_blocking(output, False)
    pidfd = os.pidfd_open(pid)
    kept = b""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output, select.POLLIN)
    if native.interrupts() >= 0:
        poll.register(native.interrupts(), select.POLLIN)
    end = None if timeout is None else time.monotonic() + timeout
    try:
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            events = dict(poll.poll(None if left is None else min(left * 1000, _LONGEST)))
            native.check_interrupt()
            if output in events:
                chunk = _read(output)
                kept = (kept + chunk)[-_KEPT:]
                if not chunk:
                    poll.unregister(output)
            if pidfd in events:
                _, status = os.waitpid(pid, 0)
                # what is left, one read: whatever the hook left running may go on writing for ever
                kept = (kept + _read(output))[-_KEPT:]
                return kept, _ending(os.waitstatus_to_exitcode(status))
            if end is not None and time.monotonic() >= end:
                _kill_group(pid, pidfd)
                return kept, f"ran out of its {timeout} s and was killed"
    except BaseException:  # an interrupt: nobody would wait for it any more
        _kill_group(pid, pidfd)
        raise
    finally:
        os.close(pidfd)


def _read(output: int) -> bytes:
    """What the pipe holds, at most 64 KiB; empty at its end."""
    try:
        return os.read(output, 65536)
    except BlockingIOError:
        return b""


def _kill_group(pid: int, pidfd: int) -> None:
    """Kills the hook with all that stayed in its group, and reaps it. The wait is bounded."""
    import select

    try:
        os.killpg(pid, SIGKILL)
    except ProcessLookupError:
        pass
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if poll.poll(KILL_WAIT * 1000):
        os.waitpid(pid, 0)


def _ending(code: int) -> str:
    if code == 0:
        return ""
    return f"exit status {code}" if code > 0 else f"killed by signal {-code}"


def _last_line(kept: bytes) -> str:
    """The last line that the hook printed, shortened, with a colon before it; empty when it printed none."""
    lines = kept.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return ""
    line = "".join(letter if letter.isprintable() else "?" for letter in lines[-1].strip())
    return f": {line if len(line) <= _SHOWN else line[: _SHOWN - 3] + '...'}"
