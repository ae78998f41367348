# SPDX-License-Identifier: Apache-2.0
"""Measures the peak memory of each verb, and the memory of a created container."""

from __future__ import annotations

from pathlib import Path

from harness.bundle import DEFAULT_CAPABILITIES

from bench import profile
from bench.stats import Results
from bench.timer import wait_for_end
from bench.tools import PEAK, Place, Tool


def kept(pid: int, file: str, *keys: str) -> int:
    """Returns the sum of some lines of a file of /proc/PID, in KiB."""
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(keys))


def private(pid: int) -> int:
    """Memory that is the process's alone, in KiB."""
    return kept(pid, "smaps_rollup", "Private_Clean:", "Private_Dirty:")


def peaks(place: Place, results: Results, rounds: int) -> None:
    """Peak resident memory of the runtime's process in each verb, with that of the children that it waited for."""
    try:
        linux = {"seccomp": profile.load(DEFAULT_CAPABILITIES)}
    except OSError:
        linux = None
    sleeper = {tool.name: place.bundle(tool.name + "-peak", "/bin/sleep", "1000") for tool in place.tools}
    true = {tool.name: place.bundle(tool.name + "-peak-true", "/bin/true", linux=linux) for tool in place.tools}
    pid_file = place.path / "peak-pid"
    for _ in range(rounds):
        for tool in place.tools:
            _peak(place, results, tool, "create", "--bundle", sleeper[tool.name], "--pid-file", pid_file, "peak")
            for words in (
                ("start", "peak"),
                ("state", "peak"),
                ("exec", "peak", "/bin/true"),
                ("kill", "peak", "KILL"),
            ):
                _peak(place, results, tool, *words)
            wait_for_end(int(pid_file.read_text()))
            _peak(place, results, tool, "delete", "peak")
            tool.drop_programs()
            _peak(place, results, tool, "run", "--bundle", true[tool.name], "run")


def _peak(place: Place, results: Results, tool: Tool, *words: str | Path) -> None:
    shown = "run true, podman's filter, cold" if words[0] == "run" else str(words[0])
    file = place.path / "peak"
    place.timer.call([PEAK, str(file), *tool.argv(*words)])
    results.row("memory", f"peak of {shown}", "KiB").add(tool.name, int(file.read_text()))


def waiting(place: Place, results: Results, rounds: int) -> None:
    """Private memory of a created container's process, and what pause needs once it runs."""
    created = results.row("memory", "private, created container", "KiB")
    pause_private = results.row("memory", "private, pause", "KiB")
    pause_resident = results.row("memory", "resident (VmRSS), pause", "KiB")
    for _ in range(rounds):
        for tool in place.tools:
            _, pid = place.create(tool, place.bundle(tool.name + "-kept", "/bin/pause"), "kept")
            created.add(tool.name, private(pid))
            place.timer.call(tool.argv("start", "kept"))
            _wait_until_pause(pid)
            pause_private.add(tool.name, private(pid))
            pause_resident.add(tool.name, kept(pid, "status", "VmRSS:"))
            place.timer.call(tool.argv("kill", "kept", "KILL"))
            wait_for_end(pid)
            place.remove(tool, ["kept"])


def _wait_until_pause(pid: int) -> None:
    """`start` may return a moment before the program is executed, so wait until it sleeps as itself."""
    for _ in range(1000000):
        status = Path(f"/proc/{pid}/status").read_text()
        if status.startswith("Name:\tpause") and "\nState:\tS" in status:
            return
    raise TimeoutError(f"process {pid} did not become pause")
