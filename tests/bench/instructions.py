# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of each verb in user space, which noise hardly changes.

They are kept in instructions.json.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from harness.bundle import DEFAULT_CAPABILITIES

from bench import machine, profile, scale
from bench.timer import CallError, wait_for_end
from bench.tools import COUNTER, Place, Tool

FILE = Path(__file__).parent / "instructions.json"
LIMIT = 900  # seconds for one verb: a step takes 3 to 40 µs
NOTE = (
    "Executed in user space by the runtime's own process from its exec to its exit, including what it executes in its",
    "place, but without its children (the container, and what creates it). Each verb is counted whole, step by step,",
    "on a real container in the right state (tests/bench/instructions.c). Two counts of the same build differ by less",
    "than 1%. crun 1.8 with a filter is left out, because it compiles the filter in each call, and so is runc, whose",
    "Go threads share the work differently each time. `make bench-instructions` counts again.",
)
FILTERED = "{}, podman's filter, cached"
OTHERS = 10
LIST = f"list of {OTHERS}"
VERBS = (
    "create",
    "start",
    "state",
    "exec true",
    "kill",
    "delete",
    "run true",
    FILTERED.format("create"),
    FILTERED.format("run true"),
    LIST,
)
TOOLS = ("pyoci", "crun")


def counts(tool: str, verb: str) -> bool:
    """Returns whether a verb of the tool is counted: with a filter only if it caches compiled programs."""
    return tool == "pyoci" or verb not in (FILTERED.format("create"), FILTERED.format("run true"))


def read() -> dict[str, Any]:
    """Returns what was counted last; {} if nothing was."""
    try:
        counted: dict[str, Any] = json.loads(FILE.read_text())
    except FileNotFoundError:
        return {}
    return counted


def refresh() -> int:
    """Counts and writes the file; 1 if it cannot be done here."""
    if os.geteuid() != 0:
        print("bench: counting instructions needs root", file=sys.stderr)
        return 1
    machine.enter()
    place = Place()
    before = read().get("verbs", {})
    counted: dict[str, dict[str, int]] = {verb: {} for verb in VERBS}
    try:
        tools = [tool for tool in place.tools if tool.name in TOOLS]
        for tool in tools:
            _verbs(place, tool, counted)
        facts = machine.facts({tool.name: tool.command for tool in tools}, 1)
    except (CallError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        for line in place.close():
            print(f"bench: left behind: {line}", file=sys.stderr)
    said = {tool.name: facts[tool.name] for tool in tools}
    document = {"note": " ".join(NOTE), **said, "machine": platform.machine(), "verbs": counted}
    FILE.write_text(json.dumps(document, indent=1) + "\n")
    for verb, found in counted.items():
        for name, count in found.items():
            known = before.get(verb, {}).get(name)
            print(f"{verb:36} {name:6} {count / 1e6:9.3f} million" + (f"  {count / known - 1:+.2%}" if known else ""))
    return 0


def _verbs(place: Place, tool: Tool, counted: dict[str, dict[str, int]]) -> None:
    """Each verb once, on containers that are in the state that it is for; fills `counted[verb][tool]`."""

    def count(name: str, *words: str | Path) -> None:
        counted[name][tool.name] = _count(place, tool, *words)

    sleeper = place.bundle(f"{tool.name}-count", "/bin/sleep", "1000")
    true = place.bundle(f"{tool.name}-true", "/bin/true")
    file = place.path / "count-pid"
    count("create", "create", "--bundle", sleeper, "--pid-file", file, "counted")
    count("start", "start", "counted")
    count("state", "state", "counted")
    count("exec true", "exec", "counted", "/bin/true")
    count("kill", "kill", "counted", "KILL")
    wait_for_end(int(file.read_text()))
    count("delete", "delete", "counted")
    count("run true", "run", "--bundle", true, "counted")

    if counts(tool.name, FILTERED.format("create")):
        linux = {"seccomp": profile.load(DEFAULT_CAPABILITIES)}
        filtered = place.bundle(f"{tool.name}-filtered", "/bin/true", linux=linux)
        place.timer.call(tool.argv("run", "--bundle", filtered, "counted"))  # which fills the cache
        count(FILTERED.format("run true"), "run", "--bundle", filtered, "counted")
        count(FILTERED.format("create"), "create", "--bundle", filtered, "--pid-file", file, "counted")
        place.remove(tool, ["counted"])

    many = scale.fill(place, tool, OTHERS)
    counted[LIST][tool.name] = _count(place, many, "list")
    scale.empty(place, many)


def _count(place: Place, tool: Tool, *words: str | Path) -> int:
    """Runs one call to its end. Raises CallError unless it exits with 0."""
    file = place.path / "count"
    spent = place.timer.call([COUNTER, str(LIMIT), str(file), *tool.argv(*words)])
    count = int(file.read_text())
    print(f"bench: {tool.name} {words[0]}: {count:,} in {spent / 1e9:.0f} s", file=sys.stderr, flush=True)
    return count
