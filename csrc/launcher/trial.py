# SPDX-License-Identifier: Apache-2.0
"""Tries an image before the build accepts it: it must print exactly what the interpreter prints.

An image relies on behaviour that CPython does not guarantee (image.c), so that it could be written does not prove that
it works. Each command is called several times, because the stack and libraries have other addresses in each process.
The commands need no root and create no container. They cover flags, JSON, the checks, the plan, the compiler of seccomp
filters, cffi, and the limit of recursion.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

ROUNDS = 3
TIMEOUT = 60
FILTER = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"}],
}
NOT_JSON = {"cut": '{"ociVersion": "1.0.2", "process": {', "deep": "[" * 100000}

Outcome = tuple[int, bytes, bytes]


def call(command: list[str]) -> Outcome:
    """Exit status (negative: a signal) and output of one run in an empty environment."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=TIMEOUT, check=False)
    return done.returncode, done.stdout, b"".join(done.stderr.splitlines(keepends=True)[:3])


def interpreter(package: str) -> list[str]:
    """Returns the command that does with this interpreter what the image does."""
    paths = [os.path.abspath(path) for path in (package, *sys.path[1:])]
    program = f"import sys\nsys.path[:] = {paths!r}\nfrom pyoci.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-IBSXutf8", "-c", program]


def write_bundles(place: str, config: dict[str, Any]) -> None:
    """Writes a bundle that can be planned, one without a root file system, and some that are not JSON."""
    config["process"]["terminal"] = False
    config["linux"]["seccomp"] = FILTER
    texts = {"whole": json.dumps(config), "bare": json.dumps(config), **NOT_JSON}
    for name, text in texts.items():
        os.makedirs(f"{place}/{name}")
        with open(f"{place}/{name}/config.json", "w", encoding="utf-8") as file:
            file.write(text)
    os.mkdir(f"{place}/whole/rootfs")


def commands(place: str) -> list[list[str]]:
    """Returns the commands to call. None of them creates anything."""
    bundles = [["create", "--bundle", f"{place}/{name}", "none"] for name in ("bare", *NOT_JSON)]
    words = [["state", "none"], ["list", "--format", "json"], ["kill", "none", "NOSUCH"], *bundles]
    root = ["--root", f"{place}/root", "--log", f"{place}/log", "--log-format", "json"]
    return [["--help"], ["features"], ["plan", "--bundle", f"{place}/whole"], *([*root, *more] for more in words)]


def compare(image: list[str], known: list[str], words: list[str]) -> str:
    """Returns how the image's output differs from the interpreter's; "" if it does not."""
    expected = call([*known, *words])
    for _ in range(ROUNDS):
        found = call([*image, *words])
        if found != expected:
            return (
                f"pyoci {' '.join(words)}: {found[0]}, {found[1:]!r:.400} is not {expected[0]}, {expected[1:]!r:.400}"
            )
    return ""


def faults(program: str, package: str, work: str) -> list[str]:
    """Tries an image, with the built package beside it. Returns its faults, one line each."""
    place = tempfile.mkdtemp(prefix="trial-", dir=work)
    try:
        os.link(program, f"{place}/pyoci")
        os.symlink(os.path.abspath(package), f"{place}/lib")
        image, known = [f"{place}/pyoci"], interpreter(package)
        status, out, err = call([*image, "--version"])
        if status or not out.startswith(b"pyoci version ") or b"launcher: image of CPython" not in out:
            return [f"pyoci --version: {status}, {out!r}, {err!r}"]
        call([*known, "spec", "--bundle", place])
        with open(f"{place}/config.json", encoding="utf-8") as file:
            write_bundles(place, json.load(file))
        return [fault for words in commands(place) if (fault := compare(image, known, words))]
    finally:
        shutil.rmtree(place)
