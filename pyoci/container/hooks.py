# SPDX-License-Identifier: Apache-2.0
"""Runs the hooks in the runtime's namespaces: prestart, createRuntime, poststart and poststop.

The specification is config.md, "POSIX-platform Hooks". Each hook is a session of its own and gets the state on standard
input. Its environment comes from config.json, or else from the runtime. It is killed if the runtime is killed.

A hook has a time limit only if its config sets one. When it is over, the whole process group is killed. The end of its
output is kept for the error message. The runtime waits only for the hook itself, not for processes that the hook leaves
running. These lose the pipe to which they print, so they should redirect their output, as daemons do.
"""

from __future__ import annotations

import errno
import os
import time

from pyoci import native, report
from pyoci.container.processes import expect_children
from pyoci.errors import HookError, hook_words, plain, reason
from pyoci.kernel.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config.documents import Hook

KILL_WAIT = 5.0  # seconds until a killed hook must be gone; only one stuck in the kernel takes longer
_KEPT = 8192  # the last bytes of the output
_LONGEST = 1 << 30  # ms: poll(2) takes an int
_SHOWN = 200  # characters of its last line

# Why a program cannot be run. Engines would take the texts of ENOENT and EACCES for a fault of the container's program.
_REASONS = {errno.ENOENT: "no such program on the host", errno.EACCES: "not executable"}


def run(kind: str, hooks: list[Hook], state: bytes) -> None:
    """Runs hooks one after the other, until one fails.

    kind: ``createRuntime`` and so on, for messages; hooks: as in config.json; state: the JSON text for their standard
    input. Raises HookError.
    """
    for index, hook in enumerate(hooks):
        _run_one(hook_words(kind, index, hook["path"]), hook, state, f"/hooks/{kind}/{index}")


def run_all(kind: str, hooks: list[Hook], state: bytes) -> None:
    """Runs every hook and warns of each that fails, as the specification demands for poststop."""
    for index, hook in enumerate(hooks):
        try:
            _run_one(hook_words(kind, index, hook["path"]), hook, state, f"/hooks/{kind}/{index}")
        except HookError as error:
            report.warn(str(error))


def _run_one(name: str, hook: Hook, state: bytes, pointer: str) -> None:
    started = time.monotonic()
    output, hook_end = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid = _spawn(hook, state, hook_end)
        except OSError as error:
            why = _REASONS.get(error.errno or 0) or reason(error)
            raise HookError(f"{name}: cannot be run: {why} ({pointer})") from error
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


def _spawn(hook: Hook, state: bytes, output: int) -> int:
    """Starts a hook. Returns its PID. Raises OSError."""
    path = hook["path"]
    expect_children()
    # A file instead of a pipe, so that a hook that does not read its input cannot block or kill the runtime.
    stdin = os.memfd_create("state", os.MFD_CLOEXEC)
    try:
        os.pwrite(stdin, state, 0)
        env = hook.get("env")
        return native.spawn_hook(path, hook.get("args") or [path], env and _last_of_each(env), stdin, output)
    finally:
        os.close(stdin)


def _last_of_each(lines: list[str]) -> list[str]:
    """Returns ``NAME=value`` lines with each name once. The last one counts, but getenv(3) would take the first."""
    found = {line.partition("=")[0]: line for line in lines if "=" in line[1:]}
    return list(found.values())


def _wait(pid: int, output: int, timeout: float | None) -> tuple[bytes, str]:
    """Waits for the hook and reads its output. Returns the end of the output, and how the hook failed, or ""."""
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
                # The rest, with one read: a process that the hook left running may write for ever.
                kept = (kept + _read(output))[-_KEPT:]
                return kept, _ending(os.waitstatus_to_exitcode(status))
            if end is not None and time.monotonic() >= end:
                _kill_group(pid, pidfd)
                return kept, f"ran out of its {timeout} s and was killed"
    except BaseException:  # an interrupt: nothing would wait for the hook any more
        _kill_group(pid, pidfd)
        raise
    finally:
        os.close(pidfd)


def _read(output: int) -> bytes:
    """Returns the content of the pipe, at most 64 KiB; empty at its end."""
    try:
        return os.read(output, 65536)
    except BlockingIOError:
        return b""


def _kill_group(pid: int, pidfd: int) -> None:
    """Kills the process group of the hook, and reaps the hook. The wait is bounded."""
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
    """Returns the last line of the output, shortened, after a colon; empty if there was no output."""
    lines = kept.decode("utf-8", "replace").strip().splitlines()
    return f": {plain(lines[-1].strip(), _SHOWN)}" if lines else ""
