# SPDX-License-Identifier: Apache-2.0
"""Writes docs/cli.md from the help of the command: build/venv/bin/python docs/cli.py > docs/cli.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

COMMAND = Path(__file__).resolve().parents[1] / "build/pyoci"
BEGIN = """# The command line

<!-- made by docs/cli.py; a test compares -->

pyoci accepts the flags that engines pass to runc and crun for these verbs. A long name may begin with one dash or two,
and its value follows after a space or `=`. The help says "accepted" of a flag that has no effect.

The exit status is 0 on success, and 1 after an error, which is one line on stderr. `run` and `exec` in the foreground
return the status of the process, or 128 plus the number of the signal that ended it. With `--log FILE` the error goes
to that file too. Warnings and the lines of `--debug` go to stderr, or to the log if there is one.
"""
ENDING = """
## Verbs that are refused

checkpoint, restore and mounts are not supported yet, and say so.
"""


def help_of(*words: str) -> str:
    """Returns what ``pyoci WORDS --help`` prints."""
    return subprocess.run([COMMAND, *words, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout


def names(text: str) -> list[str]:
    """Returns the words that begin the indented lines of a help text, before the first flag."""
    return [found[1] for line in text.splitlines() if (found := re.match(r"  ([a-z]+) +\S", line))]


def page() -> str:
    """Returns the whole document."""
    whole = help_of()
    parts = [BEGIN, section("pyoci", whole)]
    for verb in names(whole):
        text = help_of(verb)
        parts.append(section(f"pyoci {verb}", text))
        if verb == "pod":
            parts += [section(f"pyoci pod {command}", help_of("pod", command)) for command in names(text)]
    return "".join([*parts, ENDING])


def section(title: str, text: str) -> str:
    """Returns a heading, and a help text as it is printed."""
    return f"\n## {title}\n\n```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    print(page(), end="")
