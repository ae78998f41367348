# SPDX-License-Identifier: Apache-2.0
"""README.md, docs/ and CHANGELOG.md: whole, and true where that can be seen without root.

tests/runtime/test_docs_commands.py runs the commands; tests/harness/docs.py says how a block is marked.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import docs  # noqa: E402  (the path to it comes first)

from pyoci.cli import main as cli  # noqa: E402
from pyoci.config import supported  # noqa: E402

DOCUMENTS = [pytest.param(path, id=path.name) for path in docs.documents()]
PLAIN = [*docs.documents(), REPOSITORY / "CHANGELOG.md"]
PARSERS = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}


def flat(path: Path) -> str:
    """The text of a document in one line, without backquotes."""
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8").replace("`", ""))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_blocks_are_run_or_say_why_not(path: Path) -> None:
    for block in docs.blocks(path):
        assert block.language in docs.LANGUAGES, f"{block!r}: unknown language {block.language}"
        if block.mark == "not run":
            assert len(block.about.split()) > 1, f"{block!r}: no reason is given"
            assert block.language in ("console", "sh"), f"{block!r}: there is nothing to run"
        elif block.mark == "file":
            assert block.language in PARSERS and block.about, f"{block!r}: a file needs a name and a known language"
        if block.language == "console":
            assert docs.commands(block), f"{block!r} has no command"
        elif block.language != "sh":
            assert not [line for line in block.lines if line.startswith(("$ ", "# "))], (
                f"{block!r} has commands: ```console"
            )


@pytest.mark.parametrize("path", docs.documents(), ids=lambda path: path.name)
def test_configurations_can_be_parsed(path: Path) -> None:
    for block in docs.blocks(path):
        if block.language in PARSERS:
            assert PARSERS[block.language](block.text), f"{block!r} is empty"


def documents_in(path: Path, language: str) -> list[Any]:
    return [PARSERS[language](block.text) for block in docs.blocks(path) if block.language == language]


def test_configurations_of_the_readme_name_the_runtime() -> None:
    readme = REPOSITORY / "README.md"
    (daemon,) = documents_in(readme, "json")
    (containerd,) = documents_in(readme, "toml")
    command = daemon["runtimes"]["pyoci"]["path"]
    runtime = containerd["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["pyoci"]
    assert runtime["options"]["BinaryName"] == command == "/usr/local/bin/pyoci"
    assert [one["handler"] for one in documents_in(readme, "yaml") if one["kind"] == "RuntimeClass"] == ["pyoci"]


def test_podman_is_told_what_the_installed_file_tells() -> None:
    template = (REPOSITORY / "packaging/pyoci.conf.in").read_text(encoding="utf-8")
    installed = tomllib.loads(template.replace("@PREFIX@", "/usr/local"))["engine"]
    shown = next(one["engine"] for one in documents_in(REPOSITORY / "docs/engines.md", "toml") if "engine" in one)
    assert {name: shown[name] for name in installed} == installed
    assert set(installed) == {"runtimes", "runtime_supports_json", "runtime_supports_nocgroup"}  # as podman reads them


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_targets_of_make_exist(path: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`(?:sudo )?make ([a-z][a-z-]*)`", path.read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_rooms_of_the_readme_exist() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Where things are")[2].partition("\n## ")[0]
    rooms = [
        name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1] if "|" in row else "")
    ]
    assert len(rooms) > 10
    for name in rooms:
        assert (REPOSITORY / name).exists(), name


def limits() -> str:
    """The list of README.md of what the table of supported.py refuses, a line for each kind of thing."""
    kinds: dict[str, list[str]] = {}
    for row, support in supported.TABLE.items():
        path, _, value = row.partition("=")
        name = value or path.lstrip("/").replace("/*", "").replace("/", ".")
        if support.subject and name not in kinds.setdefault(support.subject, []):
            kinds[support.subject].append(name)
    return "".join(f"- {words}: {', '.join(f'`{name}`' for name in names)};\n" for words, names in kinds.items())


def test_readme_lists_what_is_refused() -> None:
    """The list is the table's; what this prints is what is to stand there."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Limits")[2].partition("\n## ")[0]
    assert limits().count("\n") > 10
    assert f"\n\n{limits()}- the verbs " in section, limits()
    assert [verb for verb in cli.UNSUPPORTED if not re.search(rf"\b{verb}\b", section)] == []


def test_readme_tells_of_the_notify_socket_until_it_is_used() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "pyoci").rglob("*.py")]
    section = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## Limits")[2].partition("\n## ")[0]
    assert ("NOTIFY_SOCKET" in section) == (not any("NOTIFY_SOCKET" in source for source in sources))


def test_command_line_is_that_of_the_help() -> None:
    made = runpy.run_path(str(REPOSITORY / "docs/cli.py"))["page"]()
    assert (REPOSITORY / "docs/cli.md").read_text(encoding="utf-8") == made, "run docs/cli.py again"
    assert [verb for verb, _ in cli.VERBS if f"\n## pyoci {verb}\n" not in made] == []
    assert [verb for verb in cli.UNSUPPORTED if not re.search(rf"\b{verb}\b", made.rpartition("## ")[2])] == []


def test_tests_of_the_security_document_exist() -> None:
    text = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+/test_\w+)::(test_\w+)`", text)
    assert len(named) > 40
    for file, name in named:
        path = REPOSITORY / f"tests/{file}.py"
        assert path.exists(), path
        assert re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE), f"{file}::{name}"


def test_files_of_the_security_document_exist() -> None:
    text = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:pyoci|csrc|schema|docs)/[\w./]+)`", text)
    assert len(files) > 10
    assert [name for name in files if not (REPOSITORY / name).exists()] == []


def test_changelog() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
    assert [verb for verb, _ in cli.VERBS if not re.search(rf"`(pyoci )?{verb}\b", text)] == []
    assert max(map(len, text.splitlines())) <= 130


def test_readme_is_read_in_five_minutes() -> None:
    words = re.sub(r"```.*?```", "", (REPOSITORY / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL).split()
    assert len(words) < 1500


SHOWN = ["NAME  PID", "...", "one   pid 12", "end"]


@pytest.mark.parametrize(
    "output",
    [
        "NAME    PID\nx\ny\none  pid 7\nend\n",
        "NAME PID\none pid 12\nend",
        "NAME  PID\nx\none  pid 1\nend\nmore",
        "",
        "NAME  PID\nx\n",
    ],
)
def test_differences_are_seen(output: str) -> None:
    """Only the first is what SHOWN shows: widths and PIDs may differ, `...` is a line or more, no line is missing."""
    assert bool(docs.differs(SHOWN, output)) == (not output.startswith("NAME    PID"))


def test_blocks_are_read(tmp_path: Path) -> None:
    text = """
```console
$ one \\
  more
shown
$ two
pyoci: an error
```

<!-- not run: it needs a moon -->

```sh
fly
```

<!-- file: a.json -->
```json
{}
```

```
plain
```
"""
    path = tmp_path / "a.md"
    path.write_text(text, encoding="utf-8")
    found = docs.blocks(path)
    assert [(block.language, block.mark, block.about, block.runs) for block in found] == [
        ("console", "", "", True),
        ("sh", "not run", "it needs a moon", False),
        ("json", "file", "a.json", False),
        ("", "", "", False),
    ]
    assert [(one.text, one.shown, one.may_fail) for one in docs.commands(found[0])] == [
        ("one \\\n  more\n", ["shown"], False),
        ("two\n", ["pyoci: an error"], True),
    ]


def test_commands_share_a_shell(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    given = [docs.Command(text, []) for text in ("X=1; cd /\n", "echo $X; pwd; echo e >&2\n", "false\n")]
    ran = docs.run([*given], tmp_path, {"PATH": "/bin:/usr/bin"}, 10)
    assert [(one.code, one.output) for one in ran] == [(0, ""), (0, "1\n/\ne\n"), (1, "")]


def test_a_shell_that_ends_is_seen(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert docs.run([docs.Command("exit 0\n", []), docs.Command("true\n", [])], tmp_path, {}, 10) == []
