# SPDX-License-Identifier: Apache-2.0
"""Measures with many containers: others in the same root, and a hundred at a time."""

from __future__ import annotations

import shutil
import subprocess
import time

from bench.stats import Results, Row
from bench.timer import CallError, wait_for_end
from bench.tools import Place, Tool

SOURCE = "others0"
SETTLE = 1.0  # seconds
VERBS = ("create", "start", "state", "exec", "kill", "delete")


def fill(place: Place, tool: Tool, count: int) -> Tool:
    """Makes a root with `count` stopped containers: one is real, the others are copies of its state under other IDs.

    A thousand real ones would measure the kernel. All three runtimes take a copy for a container: pyoci and runc
    find its ID in state.json, crun in the directory's name alone. `list` is asked whether it sees them all.
    """
    made = place.more(tool, f"{count}-others")
    _, pid = place.create(made, place.bundle(f"{tool.name}-{count}", "/bin/sleep", "1000"), SOURCE)
    place.timer.call(made.argv("start", SOURCE))
    place.timer.call(made.argv("kill", SOURCE, "KILL"))
    wait_for_end(pid)
    for number in range(1, count):
        target = made.root / f"others{number}"
        shutil.copytree(made.root / SOURCE, target, symlinks=True)
        file = target / "state.json"
        if file.exists():
            text = file.read_text()
            for form in ('"id": "%s"', '"id":"%s"'):
                text = text.replace(form % SOURCE, form % f"others{number}")
            file.write_text(text)
    listed = subprocess.run(made.argv("list", "--quiet"), capture_output=True, text=True, check=True).stdout.split()
    if len(listed) != count:
        raise CallError(f"{tool.name} lists {len(listed)} of {count} containers")
    return made


def empty(place: Place, tool: Tool) -> None:
    """Takes the copies away, and the real container by its runtime."""
    for entry in tool.root.iterdir():
        if entry.name.startswith("others") and entry.name != SOURCE:
            shutil.rmtree(entry)
    place.remove(tool, [SOURCE])


def others(place: Place, results: Results, rounds: int, counts: tuple[int, ...]) -> None:
    """`list` and the five verbs, with so many other containers in the root; each verb, with the fewest and the most."""
    filled = {(tool.name, count): fill(place, tool, count) for count in counts for tool in place.tools}
    bundles = {tool.name: place.bundle(tool.name + "-beside", "/bin/sleep", "1000") for tool in place.tools}
    rows = {(what, count): _row(results, what, count) for what in ("list", "five verbs") for count in counts}
    rows |= {(verb, count): _row(results, verb, count) for verb in VERBS for count in (counts[0], counts[-1])}
    for turn in range(rounds + 1):
        for count in counts:
            for tool in place.tools:
                there = filled[tool.name, count]
                spent = place.cycle(there, bundles[tool.name], "beside", executes=True)
                spent["list"] = place.timer.call(there.argv("list"))
                for what in (*VERBS, "list", "five verbs"):
                    if turn and (what, count) in rows:
                        rows[what, count].add(tool.name, spent[what])
    for there in filled.values():
        empty(place, there)


def _row(results: Results, what: str, count: int) -> Row:
    shown = "exec true" if what == "exec" else what
    return results.row("scale", f"{shown}, {count:,} others")


def together(place: Place, results: Results, rounds: int, count: int) -> None:
    """`create` and `start` of `count` containers, one after the other, and all at once."""
    row = results.row("scale", f"{count} containers in a row")
    at_once = results.row("scale", f"{count} containers at once")
    ids = [f"crowd{number}" for number in range(count)]
    bundles = {
        (tool.name, one): place.bundle(f"{tool.name}-{one}", "/bin/pause") for tool in place.tools for one in ids
    }
    for _ in range(rounds):
        for tool in place.tools:
            calls = {
                "create": [tool.argv("create", "--bundle", bundles[tool.name, one], one) for one in ids],
                "start": [tool.argv("start", one) for one in ids],
            }
            begin = time.perf_counter_ns()
            for create, start in zip(calls["create"], calls["start"], strict=True):
                place.timer.call(create)
                place.timer.call(start)
            row.add(tool.name, time.perf_counter_ns() - begin)
            place.remove(tool, ids)
            begin = time.perf_counter_ns()
            for argvs in calls.values():
                started = [(place.timer.spawn(argv), argv) for argv in argvs]
                for pid, argv in started:
                    place.timer.wait(pid, argv)
            at_once.add(tool.name, time.perf_counter_ns() - begin)
            place.remove(tool, ids)
            time.sleep(SETTLE)  # the kernel tears namespaces down later: the next tool should not pay for it
