# SPDX-License-Identifier: Apache-2.0
"""Descriptors: what the program gets, what init holds while it waits, and systemd's socket activation."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import subprocess
from pathlib import Path

import pytest
from harness import inspection
from harness.runtime import Runtime

LIST = "for fd in /proc/self/fd/*; do n=${fd##*/}; test $n -gt 2 && test -e $fd && echo $n; done; true"


@pytest.fixture
def files(runtime: Runtime) -> list[int]:
    """Descriptors 3 to 7 of the call: five files with their number as their content."""
    descriptors = []
    for number in range(5):
        path = runtime.tmp / f"file{number}"
        path.write_text(f"{number}\n")
        descriptors.append(os.open(path, os.O_RDONLY))
    return descriptors


AWAY = 200  # numbers that no descriptor of the tests has


def call_with(
    runtime: Runtime, files: list[int], targets: list[int], *words: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A call in which the files stand at the target numbers; a shell moves them there."""
    between = [AWAY + index for index in range(len(files))]
    moves = " ".join(f"{target}<&{source}" for target, source in zip(targets, between, strict=True))
    for number, descriptor in zip(between, files, strict=True):
        os.dup2(descriptor, number, inheritable=True)
    ends = " ".join(f"{number}<&-" for number in between)
    script = f'exec {moves} {ends}; test -n "$PIDME" && export LISTEN_PID=$$; exec "$@"'
    try:
        return subprocess.run(
            ["/bin/bash", "-c", script, "sh", runtime.command, "--root", runtime.root, *words],
            capture_output=True,
            text=True,
            timeout=15,
            pass_fds=between,
            check=False,
            env=env or {"PATH": "/bin:/usr/bin"},
        )
    finally:
        for number in [*between, *files]:
            os.close(number)


def test_only_standard_streams(runtime: Runtime, files: list[int]) -> None:
    """Descriptors of the caller do not leak into the container."""
    bundle = runtime.bundle().sh(LIST).save()
    runtime.container(bundle)
    done = call_with(runtime, files, [3, 4, 5, 9, 15], "run", "--bundle", bundle.path, bundle.name)
    assert (done.returncode, done.stdout) == (0, ""), done


def test_preserved_descriptors(runtime: Runtime, files: list[int]) -> None:
    bundle = runtime.bundle().sh(f"cat <&3; cat <&4; {LIST}").save()
    runtime.container(bundle)
    done = call_with(
        runtime, files, [3, 4, 5, 6, 7], "run", "--preserve-fds", "2", "--bundle", bundle.path, bundle.name
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "3", "4"]), done


def test_preserved_descriptors_of_exec(runtime: Runtime, files: list[int]) -> None:
    container = runtime.start(runtime.bundle())
    done = call_with(
        runtime,
        files,
        [3, 4, 5, 6, 7],
        "exec",
        "--preserve-fds",
        "1",
        container.id,
        "/bin/sh",
        "-c",
        f"cat <&3; {LIST}",
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0", "3"]), done


def test_hole_in_preserved_descriptors(runtime: Runtime, files: list[int]) -> None:
    """Of 3 and 4, only 4 is open."""
    bundle = runtime.bundle().sh(f"cat <&4; {LIST}").save()
    runtime.container(bundle)
    done = call_with(
        runtime, files, [4, 8, 9, 10, 11], "run", "--preserve-fds", "2", "--bundle", bundle.path, bundle.name
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0", "4"]), done


def test_listen_fds(runtime: Runtime, files: list[int]) -> None:
    """sd_listen_fds(3): the descriptors from 3 on belong to the process that LISTEN_PID names, which is 1 inside."""
    bundle = runtime.bundle().sh(f"cat <&3; echo $LISTEN_FDS $LISTEN_PID; {LIST}").save()
    runtime.container(bundle)
    done = call_with(
        runtime,
        files,
        [3, 4, 5, 6, 7],
        "run",
        "--bundle",
        bundle.path,
        bundle.name,
        env={"PATH": "/bin:/usr/bin", "LISTEN_FDS": "2", "PIDME": "1"},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0", "2", "1", "3", "4"]), done


def test_listen_fds_after_preserved(runtime: Runtime, files: list[int]) -> None:
    bundle = runtime.bundle().sh(LIST).save()
    runtime.container(bundle)
    done = call_with(
        runtime,
        files,
        [3, 4, 5, 6, 7],
        "run",
        "--preserve-fds",
        "1",
        "--bundle",
        bundle.path,
        bundle.name,
        env={"PATH": "/bin:/usr/bin", "LISTEN_FDS": "2", "PIDME": "1"},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["3", "4", "5"]), done


def test_listen_fds_of_another_process(runtime: Runtime, files: list[int]) -> None:
    bundle = runtime.bundle().sh(f"echo .$LISTEN_FDS; {LIST}").save()
    runtime.container(bundle)
    done = call_with(
        runtime,
        files,
        [3, 4, 5, 6, 7],
        "run",
        "--bundle",
        bundle.path,
        bundle.name,
        env={"PATH": "/bin:/usr/bin", "LISTEN_FDS": "2", "LISTEN_PID": "1"},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["."]), done


def test_preserve_more_than_there_are(runtime: Runtime) -> None:
    assert runtime.output(runtime.bundle().sh(LIST), "--preserve-fds", "3") == ""


@pytest.mark.parametrize("count", [500, 8200, 60000])
def test_preserve_thousands(runtime: Runtime, count: int) -> None:
    """Most of them are not there, and RLIMIT_NOFILE may be lower than the number asked for."""
    assert runtime.output(runtime.bundle().sh(LIST), "--preserve-fds", str(count)) == ""


def call_by_shell(runtime: Runtime, before: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A call from a shell that does something with its descriptors or limits before."""
    return subprocess.run(
        ["/bin/bash", "-c", f'{before}; exec "$@"', "sh", runtime.command, "--root", runtime.root, *words],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


@pytest.mark.parametrize("last", [510, 8190])
def test_preserve_with_a_far_one(runtime: Runtime, last: int) -> None:
    """All descriptors up to a far one are open, and each arrives."""
    bundle = runtime.bundle().sh(f"cat <&{last}; ls /proc/self/fd | wc -l")
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 9000, "soft": 9000}]
    runtime.container(bundle.save())
    (runtime.tmp / "far").write_text("far\n")
    before = f'for i in {{3..{last - 1}}}; do eval "exec $i</dev/null"; done; exec {last}<{runtime.tmp}/far'
    done = call_by_shell(runtime, before, "run", "--preserve-fds", str(last - 2), "--bundle", bundle.path, bundle.name)
    assert done.returncode == 0, done
    name, count = done.stdout.split()
    assert name == "far"
    assert int(count) >= last


def test_preserve_up_to_the_limit(runtime: Runtime) -> None:
    """No number is left for init's own descriptors."""
    bundle = runtime.bundle().save()
    runtime.container(bundle)
    before = "ulimit -n 64; exec 63</dev/null"
    done = call_by_shell(runtime, before, "create", "--preserve-fds", "61", "--bundle", bundle.path, bundle.name)
    assert done.returncode == 1, done
    assert done.stderr.endswith("dup: too many open files; raise RLIMIT_NOFILE (ulimit -n)\n"), done
    runtime.assert_clean()


@pytest.mark.parametrize("value", ["-1", "x", "99999999999"])
def test_preserve_nonsense(runtime: Runtime, value: str) -> None:
    runtime.refuses(runtime.bundle(), "--preserve-fds", value)


def test_descriptors_of_a_created_container(runtime: Runtime) -> None:
    """While it waits for start, init holds its standard streams and sockets, no file or directory of the host, and
    nothing that its caller has open."""
    reader, writer = os.pipe()
    opened = [reader, writer, os.open(runtime.tmp, os.O_RDONLY), os.open("/etc/passwd", os.O_RDONLY)]
    container = runtime.create(runtime.bundle(), pass_fds=opened)
    os.close(writer)
    ends, _, _ = select.select([reader], [], [], 2)  # unless somebody else holds the other side
    for descriptor in (reader, *opened[2:]):
        os.close(descriptor)
    assert ends
    more = {number: target for number, target in inspection.descriptors(container.pid).items() if number > 2}
    for number in more:
        mode = os.stat(f"/proc/{container.pid}/fd/{number}").st_mode
        assert not stat.S_ISDIR(mode), more
        assert not stat.S_ISREG(mode) or "memfd:" in more[number], more
        assert not stat.S_ISBLK(mode), more


def test_created_container_runs_no_file_of_the_host(runtime: Runtime) -> None:
    """/proc/PID/exe is a sealed memfd, or on a read-only mount: a container cannot write to it (CVE-2019-5736)."""
    container = runtime.create(runtime.bundle())
    exe = f"/proc/{container.pid}/exe"
    assert os.readlink(exe) != str(runtime.command.resolve())
    if "memfd:" in os.readlink(exe):
        descriptor = os.open(exe, os.O_RDONLY)
        seals = fcntl.fcntl(descriptor, 1034)  # F_GET_SEALS
        os.close(descriptor)
        assert seals & 0x8, "F_SEAL_WRITE is not set"
    else:
        descriptor = os.open(exe, os.O_RDONLY)
        flags = os.fstatvfs(descriptor).f_flag
        os.close(descriptor)
        assert flags & os.ST_RDONLY
