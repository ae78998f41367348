# SPDX-License-Identifier: Apache-2.0
"""The command under test, called as engines call it, and its containers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import bundle as bundles
from harness import inspection, leaks, reaper

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = Path(os.environ.get("RUNTIME") or REPOSITORY / "build/pyoci").absolute()
TIMEOUT = 15.0  # seconds; a call that takes longer hangs


class Result:
    """How a call ended: its exit code (negative: the signal) and what it wrote."""

    def __init__(self, argv: list[str], code: int, out: Path, err: Path) -> None:
        self.argv = argv
        self.code = code
        self.out_path = out
        self.err_path = err
        self._kept = {out: "", err: ""}

    def _read(self, path: Path) -> str:
        """Returns the text of a file, or its last text: the files are gone when pytest shows a failure."""
        if path.exists():
            self._kept[path] = path.read_text(errors="replace")
        return self._kept[path]

    @property
    def out(self) -> str:
        """Standard output up to now: a detached container goes on writing."""
        return self._read(self.out_path)

    @property
    def err(self) -> str:
        """Standard error up to now."""
        return self._read(self.err_path)

    def __repr__(self) -> str:
        return f"{' '.join(self.argv)!r} -> {self.code}\nout: {self.out!r}\nerr: {self.err!r}"


def kind_of(command: Path) -> str:
    """`pyoci`, `runc` or `crun`, by the first word of its --version."""
    text = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout
    return text.split()[0]


class Runtime:
    """RUNTIME with a state root of its own, and everything that a test makes with it."""

    def __init__(self, command: Path, kind: str, prefix: str, busybox: Path) -> None:
        self.command = command
        self.kind = kind
        self.prefix = prefix
        self.busybox = busybox
        self.tmp = Path(tempfile.mkdtemp(prefix=f"{prefix}-"))
        self.tmp.chmod(0o755)  # a user namespace's root must reach the bundles
        self.root = self.tmp / "state"
        self.containers: list[Container] = []
        self.spare: set[int] = set(inspection.descendants(os.getpid()))
        self._count = 0

    def number(self) -> int:
        """Returns a number that this test has not used yet."""
        self._count += 1
        return self._count

    def popen(
        self,
        *args: str | Path,
        stdin: Any = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
        bare: bool = False,
        caller: Sequence[str] = (),
    ) -> tuple[subprocess.Popen[bytes], Result]:
        """Starts a call, without waiting. `bare`: no --root; `caller`: a prefix (callers.py). The result's code is set
        by `finish`."""
        argv = [*caller, str(self.command), *([] if bare else ["--root", str(self.root)]), *map(str, args)]
        number = self.number()
        result = Result(argv, 0, self.tmp / f"call-{number}.out", self.tmp / f"call-{number}.err")
        with open(result.out_path, "wb") as out, open(result.err_path, "wb") as err:
            child = subprocess.Popen(argv, stdin=stdin, stdout=out, stderr=err, env=env, pass_fds=pass_fds, cwd=cwd)
        reaper.CALLS.add(child.pid)
        return child, result

    def finish(self, child: subprocess.Popen[bytes], result: Result, timeout: float = TIMEOUT) -> Result:
        """Waits for a call; one that hangs is ended and fails the test."""
        code = reaper.wait_for_call(child, timeout)
        if code is None:
            child.kill()
            child.wait()
            raise AssertionError(f"the call did not end in {timeout} s: {result!r}")
        result.code = code
        repr(result)  # keeps both texts
        return result

    def call(self, *args: str | Path, timeout: float = TIMEOUT, **how: Any) -> Result:
        """Calls the runtime and waits."""
        child, result = self.popen(*args, **how)
        return self.finish(child, result, timeout)

    def ok(self, *args: str | Path, **how: Any) -> Result:
        """Calls the runtime; anything but exit code 0 fails the test."""
        result = self.call(*args, **how)
        assert result.code == 0, result
        return result

    def fails(self, *args: str | Path, **how: Any) -> str:
        """Calls the runtime, which must fail like a program, not crash; returns what it wrote to stderr."""
        result = self.call(*args, **how)
        assert 0 < result.code < 128 or result.code == 255, result  # runc's exec fails with 255
        assert result.err.strip(), f"failed without a message: {result!r}"
        assert "Traceback" not in result.err, result
        assert "panic:" not in result.err, result
        return result.err

    def bundle(self, name: str = "") -> bundles.Bundle:
        """Returns a new bundle; its name is also the ID of its container."""
        name = name or f"{self.prefix}-{self.number()}"
        return bundles.Bundle(self.tmp / name, name, self.busybox)

    def container(self, bundle: bundles.Bundle, container_id: str = "") -> Container:
        """Returns a handle for the container of a bundle, and does not create it."""
        handle = Container(self, bundle, container_id or bundle.name)
        self.containers.append(handle)
        return handle

    def create(self, bundle: bundles.Bundle, *flags: str | Path, **how: Any) -> Container:
        """Saves the bundle and creates its container."""
        bundle.save()
        handle = self.container(bundle)
        pid_file = bundle.path / "pid"
        handle.result = self.ok("create", "--bundle", bundle.path, "--pid-file", pid_file, *flags, handle.id, **how)
        handle.pid = int(pid_file.read_text())
        return handle

    def start(self, bundle: bundles.Bundle, *flags: str | Path, **how: Any) -> Container:
        """Creates and starts the container of a bundle."""
        handle = self.create(bundle, *flags, **how)
        handle.start()
        return handle

    def run(self, bundle: bundles.Bundle, *flags: str | Path, **how: Any) -> Result:
        """Runs the container of a bundle in the foreground, to its end."""
        bundle.save()
        handle = self.container(bundle)
        return self.call("run", "--bundle", bundle.path, *flags, handle.id, **how)

    def output(self, bundle: bundles.Bundle, *flags: str | Path, **how: Any) -> str:
        """Runs the container of a bundle. Returns what it prints; it must exit with 0."""
        result = self.run(bundle, *flags, **how)
        assert result.code == 0, result
        return result.out

    def refuses(self, bundle: bundles.Bundle, *flags: str | Path, **how: Any) -> str:
        """`create` fails, and leaves nothing; returns the error."""
        bundle.save()
        error = self.fails("create", "--bundle", bundle.path, *flags, self.container(bundle).id, **how)
        self.assert_clean()
        return error

    def assert_clean(self) -> None:
        """Nothing of this test is left at this moment."""
        left = self.leftovers()
        assert not left, f"left behind: {left}"

    def leftovers(self) -> list[str]:
        """Returns what is left of the test's containers, and removes it."""
        return [
            *leaks.processes(self.spare),
            *leaks.control_groups(self.prefix),
            *leaks.mounts(self.tmp),
            *leaks.state(self.root),
        ]

    def close(self) -> list[str]:
        """Deletes each container by force and the test's directory; returns what was left in spite of that."""
        for handle in self.containers:
            if (self.root / handle.id).exists():
                self.call("delete", "--force", handle.id)
        left = self.leftovers()
        shutil.rmtree(self.tmp)
        return left


class Container:
    """A container by its ID. `pid` is that of its first process, from the pid file."""

    def __init__(self, runtime: Runtime, bundle: bundles.Bundle, container_id: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = container_id
        self.pid = 0
        self.result: Result | None = None

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.ok("delete", "--force", self.id)

    def start(self) -> None:
        """`start`, which must succeed."""
        self.runtime.ok("start", self.id)

    def state(self) -> dict[str, Any]:
        """Returns the state document."""
        document: dict[str, Any] = json.loads(self.runtime.ok("state", self.id).out)
        return document

    def kill(self, name: str = "KILL") -> None:
        """`kill` with a signal, which must succeed."""
        self.runtime.ok("kill", self.id, name)

    def end(self) -> int:
        """Kills the first process and waits for its end."""
        self.kill("KILL")
        return self.wait()

    def delete(self) -> None:
        """`delete`, which must succeed."""
        self.runtime.ok("delete", self.id)

    def exec(self, *args: str | Path, **how: Any) -> Result:
        """`exec` with flags in `flags`, then the ID, then `args`."""
        flags = how.pop("flags", ())
        return self.runtime.call("exec", *flags, self.id, *args, **how)

    def sh(self, script: str, *flags: str) -> str:
        """Runs a shell in the container. Returns what it prints."""
        result = self.exec("/bin/sh", "-c", script, flags=flags)
        assert result.code == 0, result
        return result.out

    @property
    def output(self) -> str:
        """What the container wrote to its standard output up to now."""
        assert self.result is not None
        return self.result.out

    def wait(self, timeout: float = 5.0) -> int:
        """Waits for the end of the first process, as its subreaper; returns its status (negative: the signal)."""
        assert reaper.wait_for_end(self.pid, timeout), f"process {self.pid} of {self.id} did not end in {timeout} s"
        return os.waitstatus_to_exitcode(reaper.status(self.pid, timeout))

    def wait_for(self, text: str, timeout: float = 5.0) -> None:
        """Waits until the container has printed `text`."""
        wait_until(lambda: text in self.output, f"{text!r} in the output of {self.id}", timeout)


def wait_until(condition: Any, what: str, timeout: float = 5.0) -> None:
    """Waits for a condition of the world that has no descriptor to wait on."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout} s in vain for {what}"
        reaper.collect()
        time.sleep(0.005)


@contextlib.contextmanager
def stranger(seconds: int = 60) -> Any:
    """Starts a process of the host, which tests must not harm."""
    child = subprocess.Popen(["/bin/sleep", str(seconds)])
    reaper.CALLS.add(child.pid)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGKILL)
        child.wait()
        reaper.CALLS.discard(child.pid)
