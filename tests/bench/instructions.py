# SPDX-License-Identifier: Apache-2.0
"""How many instructions each verb costs in user space: a price that noise hardly changes. Kept in instructions.json."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from harness.bundle import DEFAULT_CAPABILITIES

from bench import machine, profile
from bench.timer import ENVIRONMENT, CallError, wait_for_end
from bench.tools import Place, Tool

FILE = Path(__file__).parent / "instructions.json"
NOTE = (
    "Executed in user space by pyoci's own process, without its children, counted by valgrind (callgrind).",
    "valgrind 3.19 knows neither clone3 nor pidfd_open. So `create` and `run` are counted as far as clone3, and with",
    "the way back from its failure; `exec` and `kill` as far as they find that they cannot hold the container's",
    "process; `state` with a process that it takes for ended. `start` and `delete` are whole. runc and crun do not run",
    "in valgrind (crun executes itself anew from memory, runc crashes it). `make bench-instructions` counts again.",
)
# What each verb may end with where valgrind lacks a system call; anything else is an error.
CUT_SHORT = {
    "create": "clone3: Function not implemented",
    "run": "clone3: Function not implemented",
    "exec": "container not running",
    "kill": "container not running",
}


def read() -> dict[str, Any]:
    """What was counted last; {} if nothing was."""
    try:
        counted: dict[str, Any] = json.loads(FILE.read_text())
    except FileNotFoundError:
        return {}
    return counted


def refresh() -> int:
    """Counts and writes the file; 1 if it cannot be done here."""
    valgrind = shutil.which("valgrind")
    if os.geteuid() != 0 or not valgrind:
        why = "counting instructions needs root" if valgrind else "valgrind is not installed"
        print(f"bench: {why}", file=sys.stderr)
        return 1
    machine.enter()
    place = Place()
    before = read().get("verbs", {})
    try:
        tool = place.tools[0]
        counted = _verbs(place, tool, valgrind)
        facts = machine.facts({"pyoci": tool.command}, 1)
    except CallError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        left = place.close()
        machine.leave()
        for line in left:
            print(f"bench: left behind: {line}", file=sys.stderr)
    document = {"note": " ".join(NOTE), "pyoci": facts["pyoci"], "machine": platform.machine(), "verbs": counted}
    FILE.write_text(json.dumps(document, indent=1) + "\n")
    for verb, count in counted.items():
        change = f"  {count / before[verb] - 1:+.1%}" if before.get(verb) else ""
        print(f"{verb:36} {count / 1e6:9.2f} million{change}")
    return 0


def _verbs(place: Place, tool: Tool, valgrind: str) -> dict[str, int]:
    """Each verb once, on containers that were brought into the right state without valgrind."""
    bundle = place.bundle("count", "/bin/sleep", "1000")
    counted = {"create": _count(place, tool, valgrind, "create", "--bundle", bundle, "counted")}
    counted["run"] = _count(place, tool, valgrind, "run", "--bundle", bundle, "counted")
    if profile.FILE.exists():
        filtered = place.bundle("filtered", "/bin/true", linux={"seccomp": profile.load(DEFAULT_CAPABILITIES)})
        place.timer.call(tool.argv("run", "--bundle", filtered, "warm"))
        name = "create, podman's filter, cached"
        counted[name] = _count(place, tool, valgrind, "create", "--bundle", filtered, "counted")
    _, pid = place.create(tool, bundle, "counted")
    counted["start"] = _count(place, tool, valgrind, "start", "counted")
    counted["state"] = _count(place, tool, valgrind, "state", "counted")
    counted["exec"] = _count(place, tool, valgrind, "exec", "counted", "/bin/true")
    counted["kill"] = _count(place, tool, valgrind, "kill", "counted", "KILL")
    place.timer.call(tool.argv("kill", "counted", "KILL"))
    wait_for_end(pid)
    counted["delete"] = _count(place, tool, valgrind, "delete", "counted")
    return counted


def _count(place: Place, tool: Tool, valgrind: str, verb: str, *words: str | Path) -> int:
    log = place.path / "callgrind.log"
    argv = [
        valgrind,
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        f"--log-file={log}",
        *tool.argv(verb, *words),
    ]
    try:
        place.timer.call(argv, ENVIRONMENT)
    except CallError as error:
        if verb not in CUT_SHORT or CUT_SHORT[verb] not in str(error):
            raise
    found = re.search(r"Collected : (\d+)", log.read_text())
    if not found:
        raise CallError(f"{verb}: valgrind counted nothing")
    return int(found[1])
