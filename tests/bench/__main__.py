# SPDX-License-Identifier: Apache-2.0
"""The command behind `make bench`, `make bench-docs` and `make bench-instructions`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bench import docs, engines, instructions, machine, memory, scale, table, verbs
from bench.stats import Results
from bench.timer import CallError
from bench.tools import BUILD, Place

RESULTS = BUILD / "bench/results.json"
GROUPS = tuple(table.GROUPS)


def measure(place: Place, results: Results, wanted: set[str], rounds: int, smoke: bool) -> None:
    """Measures the wanted groups, each with the number of rounds that its cost allows."""
    few = 2 if smoke else max(5, rounds // 5)
    counts = (3, 10) if smoke else (10, 100, 1000)
    ends = 1 if smoke else few
    plan: list[tuple[str, Callable[[], None]]] = [
        ("verbs", lambda: verbs.verbs(place, results, rounds)),
        ("seccomp", lambda: verbs.seccomp(place, results, rounds)),
        ("pods", lambda: verbs.pods(place, results, rounds)),
        ("memory", lambda: memory.peaks(place, results, few)),
        ("memory", lambda: memory.waiting(place, results, few)),
        ("scale", lambda: scale.others(place, results, few if smoke else rounds, counts)),
        ("scale", lambda: scale.together(place, results, 1 if smoke else 3, 4 if smoke else 100)),
        ("engines", lambda: engines.podman(place, results, ends)),
        ("engines", lambda: engines.containerd(place, results, ends)),
        ("engines", lambda: engines.cri(place, results, ends)),
    ]
    for group, job in plan:
        if group in wanted:
            print(f"bench: {group}", file=sys.stderr, flush=True)
            job()


def run(options: argparse.Namespace) -> int:
    """Measures, prints the table and writes the JSON; 1 if a runtime failed or left something behind."""
    if os.geteuid() != 0:
        print("bench: real containers need root", file=sys.stderr)
        return 1
    rounds = 2 if options.smoke else options.rounds
    machine.enter()
    place, results, failure = Place(), Results(), ""
    try:
        results.facts = machine.facts({tool.name: tool.command for tool in place.tools}, rounds)
        results.mark = place.prefix
        if options.remark:
            results.facts["remark"] = options.remark
        results.skipped.update({name: "not installed" for name in place.missing})
        measure(place, results, set(options.group or GROUPS), rounds, options.smoke)
    except CallError as error:
        failure = str(error)
    finally:
        left = place.close()
    if failure or left:
        print(*(f"bench: {line}" for line in [failure or "left behind:", *left]), sep="\n", file=sys.stderr)
        return 1
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results.document(), indent=1) + "\n")
    print(table.text(results))
    print(f"written: {options.json}", file=sys.stderr)
    return 0


def main() -> int:
    """Reads the arguments and does one of the three."""
    parser = argparse.ArgumentParser(prog="bench", description="pyoci beside runc, crun and the kernel's floor")
    parser.add_argument("what", nargs="?", choices=("run", "docs", "instructions"), default="run")
    parser.add_argument("--rounds", type=int, default=50, help="rounds of the verbs; what costs more gets fewer (50)")
    parser.add_argument("--smoke", action="store_true", help="2 rounds of everything, small: shows that it works")
    parser.add_argument("--group", action="append", choices=GROUPS, help="measure this group only; may be repeated")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the results go (build/bench/results.json)")
    parser.add_argument("--remark", default="", help="what a reader should know of this run, kept with the results")
    options = parser.parse_args()
    if options.what == "docs":
        return docs.write(options.json)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is taken away at the end
    if options.what == "instructions":
        return instructions.refresh()
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
