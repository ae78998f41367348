# SPDX-License-Identifier: Apache-2.0
"""Reads the fenced blocks of the documents, and runs them.

The language of a block tells what it is:

- ``console``: a line that begins with ``$ `` is a command, which continues after a ``\\`` at the end of a line. The
  lines after it are its output; ``...`` stands for any lines. A command must exit with 0, unless its output is an
  error.
- ``sh``: a script that must exit with 0.
- ``json``, ``toml``, ``yaml``: parsed; after ``<!-- file: NAME -->`` also written to that file, for later commands.
- ``text``, ``python`` or nothing: text without commands.

A block after ``<!-- not run: REASON -->`` is not run. The blocks of a document share a shell and a directory.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LANGUAGES = ("console", "sh", "json", "toml", "yaml", "text", "python", "")
MARK = re.compile(r"<!-- (not run|file): *(.*?) *-->")


class Block:
    """A fenced block: where it begins, its language, its lines, and what the comment before it says."""

    def __init__(self, path: Path, line: int, language: str, mark: str, about: str) -> None:
        self.path = path
        self.line = line
        self.language = language
        self.mark = mark  # "", "not run" or "file"
        self.about = about  # the reason, or the file's name
        self.lines: list[str] = []

    def __repr__(self) -> str:
        return f"{self.path.relative_to(REPOSITORY)}:{self.line}"

    @property
    def text(self) -> str:
        """What stands between the fences."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def runs(self) -> bool:
        """Whether there is something to run, and nobody says why not."""
        return self.language in ("console", "sh") and self.mark != "not run"


class Command:
    """A command, and the lines that the document shows for it; None: it shows nothing by intent (a script)."""

    def __init__(self, text: str, shown: list[str] | None) -> None:
        self.text = text
        self.shown = shown

    @property
    def may_fail(self) -> bool:
        """An error of pyoci is shown."""
        return any(line.startswith("pyoci: ") for line in self.shown or ())


def documents() -> list[Path]:
    """README.md and what is in docs/."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]


def blocks(path: Path) -> list[Block]:
    """Returns the fenced blocks of a document."""
    found: list[Block] = []
    open_block: Block | None = None
    mark = about = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if open_block is not None:
            if line.strip() == "```":
                open_block = None
            else:
                open_block.lines.append(line)
        elif line.startswith("```"):
            open_block = Block(path, number, line[3:].strip(), mark, about)
            found.append(open_block)
            mark = about = ""
        elif found_mark := MARK.fullmatch(line.strip()):
            mark, about = found_mark.groups()
        elif line.strip():
            mark = about = ""
    assert open_block is None, f"{open_block!r} does not end"
    return found


def commands(block: Block) -> list[Command]:
    """Returns the commands of a block, in order."""
    if block.language == "sh":
        return [Command(block.text, None)]
    found: list[Command] = []
    for line in block.lines:
        if found and found[-1].text.endswith("\\\n"):
            found[-1].text += f"{line}\n"
        elif line.startswith("$ "):
            found.append(Command(f"{line[2:]}\n", []))
        else:
            assert found, f"{block!r} shows {line!r} before any command"
            shown = found[-1].shown
            assert shown is not None
            shown.append(line)
    return found


class Ran:
    """How a command ended, and what it printed on both streams."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output


def run(items: list[Command | Block], directory: Path, environment: dict[str, str], timeout: float) -> list[Ran]:
    """Runs commands in one shell, after another; a Block in between is a file to write.

    A command's output goes to a file, so what it leaves running holds no pipe of ours.
    """
    script = ["cd work"]
    count = 0
    for item in items:
        if isinstance(item, Block):
            (directory / f"file.{item.line}").write_text(item.text, encoding="utf-8")
            script.append(f"cat {directory}/file.{item.line} >{item.about}")
            continue
        script.append(f"{{\n{item.text}}} >{directory}/out.{count} 2>&1; echo $? >{directory}/code.{count}")
        count += 1
    (directory / "script").write_text("\n".join(script) + "\n", encoding="utf-8")
    subprocess.run(
        ["/bin/bash", "script"], cwd=directory, env=environment, stdin=subprocess.DEVNULL, timeout=timeout, check=False
    )
    return [
        Ran(int((directory / f"code.{number}").read_text()), (directory / f"out.{number}").read_text(errors="replace"))
        for number in range(count)
        if (directory / f"code.{number}").exists()
    ]


# What differs from run to run, and what stands for it.
VOLATILE = [
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)"), "TIME"),
    (re.compile(r"\d\d:\d\d:\d\d\.\d+"), "TIME"),
    (re.compile(r"\+\d+\.\d+ s"), "TIME"),
    (re.compile(r"\b402653\d{4}\b"), "INODE"),  # of a namespace, proc(5)
    (re.compile(r"\b\d+ (/\S+)"), r"INODE \1"),
    (re.compile(r"\binode \d+"), "inode INODE"),
    (re.compile(r'(\bpid"?:? )\d+'), r"\1PID"),
    (re.compile(r"(127\.0\.0\.1):\d{5}\b"), r"\1:PORT"),
    (re.compile(r"/\S*/(bundles/|hello\b)"), r"DIR/\1"),
    (re.compile(r"/tmp/[\w.-]+"), "TMP"),
    (re.compile(r"fetched at try \d+"), "fetched at try N"),
    (re.compile(r"^(hello +)\d+"), r"\1PID"),
    (re.compile(r" \d+s "), " AGE "),
    (re.compile(r"commit: \S+"), "commit: COMMIT"),
    (re.compile(r"\b3\.\d+\.\d+\b"), "PYTHON"),
    (re.compile(r"libseccomp: \S+"), "libseccomp: VERSION"),
]


def settled(line: str) -> str:
    """Returns a line without what differs from run to run, such as PIDs and the width of columns."""
    for pattern, stands_for in VOLATILE:
        line = pattern.sub(stands_for, line)
    return re.sub(r" {2,}", "  ", line).rstrip()


def differs(shown: list[str], output: str) -> str:
    """Returns where the output differs from the document; "" if it does not. ``...`` stands for any lines."""
    wanted = [settled(line) for line in shown]
    while wanted and not wanted[-1]:
        wanted.pop()
    got = [settled(line) for line in output.rstrip("\n").splitlines()]
    pattern = "\n".join("(?:.*\n)*?.*" if line.strip() == "..." else re.escape(line) for line in wanted)
    if re.fullmatch(pattern, "\n".join(got)):
        return ""
    return f"the document shows\n{chr(10).join(wanted)}\nbut it prints\n{chr(10).join(got)}"
