# SPDX-License-Identifier: Apache-2.0
"""Measures each verb, `run`, seccomp, and containers that join a pod. The tools take turns in each round."""

from __future__ import annotations

from harness.bundle import DEFAULT_CAPABILITIES

from bench import profile
from bench.stats import Results
from bench.timer import wait_for_end
from bench.tools import FLOOR, Place

VERBS = ("create", "start", "state", "exec", "kill", "delete", "five verbs")
EXECUTE = "exec true"


def verbs(place: Place, results: Results, rounds: int) -> None:
    """create, start, state, exec, kill, delete; `run true`; and the floors beside them."""
    group = "verbs"
    for name in (*VERBS, "run true", "a static program"):
        results.row(group, EXECUTE if name == "exec" else name)
    sleeper = {tool.name: place.bundle(tool.name, "/bin/sleep", "1000") for tool in place.tools}
    true = {tool.name: place.bundle(tool.name + "-true", "/bin/true") for tool in place.tools}
    for turn in range(rounds + 1):
        for tool in place.tools:
            spent = place.cycle(tool, sleeper[tool.name], "verbs", executes=True)
            ran = place.timer.call(tool.argv("run", "--bundle", true[tool.name], "run"))
            if turn == 0:  # the first round fills the caches of the file system
                continue
            for verb in VERBS:
                results.row(group, EXECUTE if verb == "exec" else verb).add(tool.name, spent[verb])
            results.row(group, "run true").add(tool.name, ran)
            if "exec floor" in spent:
                results.row(group, EXECUTE).add("floor", spent["exec floor"])
        floor = place.timer.call([FLOOR, "run", str(place.rootfs), "/bin/true"])
        nothing = place.timer.call([FLOOR, "none"])
        if turn:
            results.row(group, "run true").add("floor", floor)
            results.row(group, "a static program").add("floor", nothing)


def seccomp(place: Place, results: Results, rounds: int) -> None:
    """`create` and `run true` without a filter, with podman's default one from the cache, and without the cache."""
    try:
        filtered = {"seccomp": profile.load(DEFAULT_CAPABILITIES)}
    except OSError as error:
        results.skipped["seccomp"] = f"no default profile of podman's: {error}"
        return
    bundles = {}
    for tool in place.tools:
        for kind, linux in (("without", None), ("seccomp", filtered)):
            bundles[tool.name, kind, "create"] = place.bundle(f"{tool.name}-{kind}", "/bin/sleep", "1000", linux=linux)
            bundles[tool.name, kind, "run"] = place.bundle(f"{tool.name}-{kind}-true", "/bin/true", linux=linux)
    names = {"without": "no filter", "cached": "podman's filter, cached", "cold": "podman's filter, cold"}
    rows = {
        (verb, how): results.row("seccomp", f"{shown}, {name}")
        for verb, shown in (("create", "create"), ("run", "run true"))
        for how, name in names.items()
    }
    for turn in range(rounds + 1):
        for tool in place.tools:
            for how in ("without", "cold", "cached"):  # the cold call fills the cache for the one after it
                kind = "without" if how == "without" else "seccomp"
                if how == "cold":
                    tool.drop_programs()
                created, _ = place.create(tool, bundles[tool.name, kind, "create"], "filtered")
                place.remove(tool, ["filtered"])
                if how == "cold":
                    tool.drop_programs()
                ran = place.timer.call(tool.argv("run", "--bundle", bundles[tool.name, kind, "run"], "run"))
                if turn:
                    rows["create", how].add(tool.name, created)
                    rows["run", how].add(tool.name, ran)


def pods(place: Place, results: Results, rounds: int) -> None:
    """`create` and `run true` of a container that joins network, ipc and uts of a pause container."""
    created, ran = results.row("pods", "create in a pod"), results.row("pods", "run true in a pod")
    members = {}
    holders = {}
    for tool in place.tools:
        _, pid = place.create(tool, place.bundle(f"{tool.name}-pause", "/bin/pause"), "pause")
        holders[tool.name] = pid
        place.timer.call(tool.argv("start", "pause"))
        files = {"network": "net", "ipc": "ipc", "uts": "uts"}
        namespaces = [{"type": kind, "path": f"/proc/{pid}/ns/{file}"} for kind, file in files.items()]
        linux = {"namespaces": [*namespaces, {"type": "pid"}, {"type": "mount"}]}
        for verb, args in (("create", ("/bin/sleep", "1000")), ("run", ("/bin/true",))):
            members[tool.name, verb] = place.bundle(f"{tool.name}-member-{verb}", *args, linux=linux)
    for turn in range(rounds + 1):
        for tool in place.tools:
            first, _ = place.create(tool, members[tool.name, "create"], "member")
            place.remove(tool, ["member"])
            second = place.timer.call(tool.argv("run", "--bundle", members[tool.name, "run"], "run"))
            if turn:
                created.add(tool.name, first)
                ran.add(tool.name, second)
    for tool in place.tools:
        place.timer.call(tool.argv("kill", "pause", "KILL"))
        wait_for_end(holders[tool.name])
        place.remove(tool, ["pause"])
