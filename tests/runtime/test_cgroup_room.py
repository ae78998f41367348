# SPDX-License-Identifier: Apache-2.0
"""pyoci.cgroup on the kernel's own control groups, v1 and v2, without a container around them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness.cgroup_room import (  # noqa: F401  (the fixtures among them are found by name)
    PREFIX,
    Group,
    either_group,
    make,
    no_group_left,
    run_programs,
    there,
    v1_group,
    v2_group,
)

from pyoci import cgroup, jsontext
from pyoci.cgroup import directories, files
from pyoci.errors import CgroupError


def test_create_add_delete(group: Group, program: Any) -> None:
    one = group("a/b/box")
    one.delete()  # nothing there yet: fine
    make(one)
    assert there(one) == list(one.paths.values())
    assert one.pids() == []
    process = program(one, "sleep", "100")
    assert one.pids() == [process.pid]
    # A controller that is mounted together with others is listed with each of them.
    lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
    own = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
    found = {name: own["" if name == "unified" else name] for name in one.paths}
    assert found == dict.fromkeys(one.paths, f"{PREFIX}/a/b/box")
    assert one.kill(signal.SIGKILL) == 1
    assert process.wait(10) == -signal.SIGKILL
    one.delete()
    assert there(one) == []
    one.delete()
    assert (one.pids(), one.kill(9), one.kill(15), one.frozen()) == ([], 0, 0, False)
    one.thaw()
    with pytest.raises(CgroupError):
        one.freeze()


def test_the_saved_state_is_enough(group: Group, program: Any) -> None:
    one = group("box")
    make(one)
    process = program(one, "sleep", "100")
    later = cgroup.from_state(jsontext.loads(jsontext.dumps(one.state({}))))
    assert later.pids() == [process.pid]
    assert later.kill(signal.SIGKILL) == 1
    process.wait(10)
    later.delete()
    assert there(one) == []


def test_a_used_group_is_refused_and_stays(group: Group, program: Any) -> None:
    one = group("box")
    make(one)
    program(one, "sleep", "100")
    with pytest.raises(CgroupError, match="container's cgroup .* is not empty"):
        make(group("box"))
    assert len(one.pids()) == 1
    one.kill(signal.SIGKILL)
    one.delete()


def test_a_used_sub_group_is_refused(group: Group, program: Any) -> None:
    one, below = group("box"), group("box/below")
    make(one)
    make(below)
    program(below, "sleep", "100")
    with pytest.raises(CgroupError, match="is not empty"):
        make(group("box"))
    one.kill(signal.SIGKILL)
    one.delete()


def test_a_frozen_group_is_refused(group: Group) -> None:
    one = group("box")
    make(one)
    one.freeze()
    with pytest.raises(CgroupError, match="is frozen"):
        make(group("box"))
    one.thaw()
    make(group("box"))  # empty and not frozen: used
    one.delete()


def test_delete_takes_the_groups_below(group: Group) -> None:
    one = group("box")
    make(one)
    for name in ("x", "x/y", "x/y/z", "w"):
        make(group(f"box/{name}"))
    one.delete()
    assert there(one) == []


def test_delete_waits_for_a_process_that_is_about_to_end(group: Group, program: Any) -> None:
    one = group("box")
    make(one)
    process = program(one, "sh", "-c", "trap 'sleep 0.3; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    assert process.stdout.readline() == "ready\n"
    assert one.kill(signal.SIGTERM) >= 1
    begun = time.monotonic()
    one.delete()
    assert 0.2 < time.monotonic() - begun < 5
    assert process.wait(10) == 7


def test_delete_gives_up_on_a_process_that_stays(group: Group, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "WAIT_SECONDS", 0.3)
    one = group("box")
    make(one)
    process = program(one, "sleep", "100")
    begun = time.monotonic()
    with pytest.raises(CgroupError, match=rf"1 processes \({process.pid}\) still in it"):
        one.delete()
    assert 0.25 < time.monotonic() - begun < 3
    one.kill(signal.SIGKILL)
    one.delete()


# --- signals and freezing --------------------------------------------------------------------------------------------


def test_kill_reaches_the_groups_below(group: Group, program: Any) -> None:
    one, below = group("box"), group("box/below")
    make(one)
    if list(below.paths) == ["unified"]:
        os.mkdir(below.paths["unified"])  # pyoci would hand controllers down, and then none may be in the one above
    else:
        make(below)
    both = [program(place, "sleep", "100") for place in (one, below)]
    assert sorted(one.pids()) == sorted(process.pid for process in both)
    assert one.kill(signal.SIGTERM) == 2
    assert [process.wait(10) for process in both] == [-signal.SIGTERM] * 2
    one.delete()


def test_a_number_that_is_no_longer_listed_is_spared(
    group: Group, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ended and its number went to a stranger between reading the list and opening its pidfd."""
    one, elsewhere = group("box"), group("elsewhere")
    make(one)
    make(elsewhere)
    listed, stranger = program(one, "sleep", "100"), program(elsewhere, "sleep", "100")
    answers = iter([[listed.pid, stranger.pid], [listed.pid]])
    with monkeypatch.context() as patched:
        patched.setattr(files, "processes", lambda directory: next(answers))
        assert one.kill(signal.SIGTERM) == 1
    assert listed.wait(10) == -signal.SIGTERM
    assert stranger.poll() is None
    elsewhere.kill(signal.SIGKILL)
    for place in (one, elsewhere):
        place.delete()


def test_frozen_processes_stand_until_thawed(group: Group, program: Any) -> None:
    one = group("box")
    make(one)
    process = program(one, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do :; done")
    assert process.stdout.readline() == "ready\n"
    one.freeze()
    assert one.frozen()
    used = Path(f"/proc/{process.pid}/stat").read_text()
    time.sleep(0.1)
    assert Path(f"/proc/{process.pid}/stat").read_text() == used, "it used no time"
    assert one.kill(signal.SIGTERM) == 1
    time.sleep(0.05)
    assert process.poll() is None
    one.thaw()
    assert process.wait(10) == 7
    assert not one.frozen()
    one.delete()


def test_frozen_is_about_the_group_itself(group: Group) -> None:
    one, below = group("box"), group("box/below")
    make(one)
    make(below)
    one.freeze()
    assert (one.frozen(), below.frozen()) == (True, False)
    one.thaw()
    one.delete()


def test_sigkill_reaches_a_frozen_group(group: Group, program: Any) -> None:
    one = group("box")
    make(one)
    process = program(one, "sleep", "100")
    one.freeze()
    assert one.kill(signal.SIGKILL) == 1
    assert process.wait(10) == -signal.SIGKILL
    one.delete()


def test_sigkill_reaches_what_forks_without_end(group: Group, program: Any) -> None:
    one = group("box")
    make(one)
    # Each process hands over to its child and ends: a list of them is out of date when it has been read.
    relay = "import os, time\nend = time.monotonic() + 8\nwhile time.monotonic() < end:\n if os.fork(): os._exit(0)"
    chains = [program(one, sys.executable, "-IS", "-c", relay) for _ in range(20)]
    for chain in chains:
        chain.wait(10)
    begun = time.monotonic()
    assert one.kill(signal.SIGKILL) >= 1
    one.delete()
    assert time.monotonic() - begun < 5, "they were not all killed: the last ended by itself"


def test_v1_processes_stand_while_they_are_listed(v1: Group, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For SIGKILL: none forks between the listing and the signals; the child would be missed."""
    one = v1("box")
    make(one)
    process = program(one, "sleep", "100")
    listed, states = files.processes, []

    def look(directory: str) -> list[int]:
        states.append(Path(one.paths["freezer"], "freezer.state").read_text().strip())
        return listed(directory)

    with monkeypatch.context() as patched:
        patched.setattr(files, "processes", look)
        assert one.kill(signal.SIGKILL) == 1
    assert states
    assert set(states) == {"FROZEN"}
    assert process.wait(10) == -signal.SIGKILL
    assert Path(one.paths["freezer"], "freezer.state").read_text().strip() == "THAWED"
    one.delete()


# --- what only v2 has ----------------------------------------------------------------------------------------------


def test_v2_clone_into_cgroup(v2: Group) -> None:
    one = v2("box")
    make(one)
    descriptor = one.descriptor()
    assert not os.get_inheritable(descriptor)
    pid = clone_into(descriptor)
    try:
        assert one.pids() == [pid]
    finally:
        os.close(descriptor)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    one.delete()


def clone_into(descriptor: int) -> int:
    """clone3(2) with CLONE_INTO_CGROUP: a child that sleeps."""
    into_cgroup, number = 0x200000000, 435
    arguments = (ctypes.c_uint64 * 11)(into_cgroup, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, descriptor)
    pid: int = ctypes.CDLL(None, use_errno=True).syscall(number, arguments, ctypes.sizeof(arguments))
    if pid == 0:
        while True:
            time.sleep(1)
    assert pid > 0, os.strerror(ctypes.get_errno())
    return pid


def test_host_sees_a_unified_mount() -> None:
    """In a mount namespace of its own, where /sys/fs/cgroup is cgroup2."""
    code = (
        "from pyoci import cgroup\n"
        "host = cgroup.host()\n"
        "one = cgroup.manage(host, '/x', 'cgroupfs')\n"
        "print(host.unified, host.controllers, one.state({})['paths'])\n"
    )
    script = 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-Pc", code]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True {} {'unified': '/sys/fs/cgroup/x'}\n"
