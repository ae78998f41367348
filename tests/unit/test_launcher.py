# SPDX-License-Identifier: Apache-2.0
"""The launcher: build/pyoci does what ``python3 -IS -m pyoci`` does, in whichever form it was built.

An image (csrc/launcher/image.c) is a process continued from a file: here is what must not come from the process that
was written, and what image.c brings in place of CPython's own modules.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build"
LAUNCHER = BUILD / "pyoci"
PATHS = [str(BUILD / "lib"), sysconfig.get_path("purelib")]
PYTHON = os.path.realpath(sys.executable)


def call(command: list[str], *arguments: str, **environment: str) -> tuple[int, bytes, bytes]:
    """Exit status and output of one run in the given environment alone."""
    done = subprocess.run(
        [*command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def launched(*arguments: str, **environment: str) -> tuple[int, bytes, bytes]:
    return call([str(LAUNCHER)], *arguments, **environment)


def interpreted(*arguments: str, **environment: str) -> tuple[int, bytes, bytes]:
    program = f"import sys\nsys.path[1:1] = {PATHS!r}\nfrom pyoci.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return call([PYTHON, "-IBSXutf8", "-c", program], *arguments, **environment)


def kind() -> str:
    """The word for the launcher's form: image, embedded, script."""
    _, out, _ = launched("--version")
    (line,) = [line for line in out.decode().splitlines() if line.startswith("launcher: ")]
    return line.split()[1].rstrip(",")


@pytest.fixture(name="image")
def image_fixture() -> None:
    if kind() != "image":
        pytest.skip("the launcher is not an image: this Python has no static library, or PYOCI_LAUNCHER says so")


def test_form_is_told() -> None:
    assert kind() in ("image", "embedded", "script")


def test_interpreter_stands_beside_an_image(image: None) -> None:
    status, out, err = call([str(LAUNCHER) + "-python"], "--version")
    assert (status, err) == (0, b"")
    assert b"launcher: embedded CPython" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--no-such-flag"],
        ["no-such-verb"],
        ["create", "--help"],
        ["pod", "--help"],
        ["pod", "run", "/nowhere/pod.yaml"],
        ["features"],
        ["state", "none"],
        ["state", "n\u00e4me", "\u2713"],
        ["kill", "none", "NOSUCH"],
        ["list", "--format", "json"],
        ["delete", "--regex", "("],
        ["--root", "/nowhere/\udcff", "list"],
    ],
)
def test_same_as_the_interpreter(arguments: list[str], tmp_path: Path) -> None:
    words = arguments if arguments[0] in ("--root", "--help") else ["--root", str(tmp_path), *arguments]
    assert launched(*words) == interpreted(*words)


def test_faults_of_a_document(tmp_path: Path) -> None:
    """All of them are named, though jsonschema, which finds the further ones, is not in an image."""
    config = {"ociVersion": 1, "process": {"cwd": 7, "args": ["x"]}, "root": {"path": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = ["--root", str(tmp_path / "root"), "create", "--bundle", str(tmp_path), "none"]
    status, out, err = launched(*words)
    assert (status, out) == (1, b"")
    assert b"also wrong: " in err
    assert (status, out, err) == interpreted(*words)


@pytest.mark.skipif(os.geteuid() != 0, reason="hides a directory by a mount: needs root")
def test_without_the_python_that_built_it(image: None, tmp_path: Path) -> None:
    """An upgrade of the distribution took its standard library away: one line, on stderr and in the log."""
    library = os.path.dirname(json.__file__).removesuffix("/json")
    hide = ["unshare", "-m", "--propagation", "private", "sh", "-ec", 'mount --bind "$0" "$1"; shift; exec "$@"']
    (tmp_path / "empty").mkdir()
    (tmp_path / "config.json").write_text('{"ociVersion": 1, "process": {"cwd": 7}, "root": {"path": "x"}}')
    begin = [*hide, str(tmp_path / "empty"), library]
    log = ["--log", str(tmp_path / "log"), "--log-format=json", "--root", str(tmp_path / "root")]
    for words, expected in (
        (["create", "--bundle", str(tmp_path), "none"], b"config.json: /ociVersion: not allowed (it is 1); "),
        (["pod", "ps"], f"pod: {library}/encodings is missing; install Python ".encode()),
    ):
        status, _, err = call([*begin, str(LAUNCHER)], *log, *words, PATH="/usr/bin:/bin")
        assert status == 1
        assert err.startswith(b"pyoci: " + expected) and err.count(b"\n") == 1
        assert json.loads((tmp_path / "log").read_text())["msg"].startswith(expected.decode())
        (tmp_path / "log").unlink()
    status, _, err = call([*begin, str(LAUNCHER) + "-python"], "--version", PATH="/usr/bin:/bin")
    assert status == 1
    assert (
        err.startswith(b"pyoci: " + library.encode() + b": the standard library of Python ") and err.count(b"\n") == 1
    )


def test_environment_is_that_of_the_call(tmp_path: Path) -> None:
    shown = launched("list", XDG_RUNTIME_DIR=str(tmp_path), HOME="/")
    assert shown == interpreted("list", XDG_RUNTIME_DIR=str(tmp_path), HOME="/")
    word = "--rootless=true"  # the root follows the environment then
    with_directory = launched(word, "state", "none", XDG_RUNTIME_DIR=str(tmp_path))
    assert with_directory == interpreted(word, "state", "none", XDG_RUNTIME_DIR=str(tmp_path))


def test_environment_of_python_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyoci").mkdir()
    (tmp_path / "pyoci" / "__init__.py").write_text("raise SystemExit(9)", encoding="utf-8")
    status, out, _ = launched("--version", PYTHONPATH=str(tmp_path), PYTHONHOME=str(tmp_path), PYTHONSTARTUP="x")
    assert status == 0
    assert out.startswith(b"pyoci version ")


def test_no_path_of_the_build_shows(image: None, tmp_path: Path) -> None:
    """A trace names files as seen from the library, also in a program that was moved since."""
    status, _, err = launched("--debug", "--root", str(tmp_path), "state", "none")
    assert status == 1
    assert b": at pyoci/cli/main.py:" in err
    assert str(REPOSITORY).encode() not in err


def test_moved(image: None, tmp_path: Path) -> None:
    """The package is found from where the program stands now."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pyoci").write_bytes(LAUNCHER.read_bytes())
    (tmp_path / "bin" / "pyoci").chmod(0o755)
    status, _, err = call([str(tmp_path / "bin/pyoci")], "--version")
    assert (status, b"no pyoci package beside this program" in err) == (1, True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "pyoci").symlink_to(BUILD / "lib")
    assert call([str(tmp_path / "bin/pyoci")], "--version")[0] == 0


# What json.c must take or refuse as the standard library does; a bundle brings it there.
VALUES = [
    *("0", "-0", "1.5", "-1e3", "1E+2", "1e999", "01", "1.", ".5", "-", "+1", "1e", "12345678901234567890123"),
    *('"', '"\\', '"a\\u00e4\\ud83d\\ude00"', '"\\ud83d"', '"\\u12"', '"\\x"', '"\t"', '"\\b\\f\\n\\r\\t\\/\\\\\\""'),
    *("[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[[[[]]]]", "[" * 5000),
    *("{", '{"a"', '{"a":', '{"a":1', '{"a":1,}', "{1:2}", '{"a":1 "b":2}', '{"a":1,"a":2}'),
    *("", "nul", "NaN", "-Infinity", "Infinity", "true false", "\ufeff{}", '"\u2028\U0001f600"'),
]


def told(outcome: tuple[int, bytes, bytes]) -> tuple[int, bytes, bytes]:
    """The outcome without the words in which json.scanner's Python says more about a string than its C."""
    status, out, err = outcome
    return status, out, re.sub(rb"not JSON: Invalid (\\escape|control character).*", b"not JSON", err)


@pytest.mark.parametrize("value", VALUES)
def test_json_is_read_as_the_interpreter_does(value: str, tmp_path: Path) -> None:
    for number, text in enumerate(
        (value, f'{{"ociVersion": {value}}}', f'{{"annotations": {{"a": {value} }} , "b":1}}')
    ):
        bundle = tmp_path / str(number)
        bundle.mkdir()
        (bundle / "config.json").write_text(text, encoding="utf-8")
        words = ["--root", str(tmp_path / "root"), "create", "--bundle", str(bundle), "none"]
        assert told(launched(*words)) == told(interpreted(*words)), text


def test_damaged_json_is_refused_alike(tmp_path: Path) -> None:
    """A config in which one byte after the other is changed: 60 of them, drawn from a fixed seed."""
    _, _, err = launched("spec", "--bundle", str(tmp_path))
    assert err == b""
    whole = (tmp_path / "config.json").read_bytes()
    draw = random.Random(20261123)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] = draw.choice(b'"\\{}[],:0e-x\x00\xff ')
        (tmp_path / "config.json").write_bytes(damaged)
        words = ["--root", str(tmp_path / "root"), "plan", "--bundle", str(tmp_path)]
        assert told(launched(*words)) == told(interpreted(*words)), bytes(damaged)


def _code_names(code: CodeType) -> Iterator[str]:
    yield f"{code.co_filename}\t{code.co_qualname}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_names(constant)


def test_hot_functions_are_there() -> None:
    """The list is recorded by `make hot`; a function that was renamed since is a line to correct."""
    listed = (REPOSITORY / "csrc/launcher/hot.txt").read_text().splitlines()
    wanted = {line.rpartition("\t")[0] for line in listed if line.startswith("pyoci/")}
    found: set[str] = set()
    for file in {line.partition("\t")[0] for line in wanted}:
        source = Path(PATHS[0], file).read_text()
        found.update(_code_names(compile(source, file, "exec", dont_inherit=True)))
    if sys.version_info >= (3, 12):
        # The list is of Python 3.11. Since PEP 709 comprehensions are part of the function that they stand in.
        wanted = {re.sub(r"\.<(list|dict|set)comp>", "", name).removesuffix(".<locals>") for name in wanted}
    assert sorted(wanted - found) == []
    assert {"pyoci/cli/main.py\tmain", "pyoci/container/create.py\tcreate"} <= wanted
    # both versions of control groups are recorded: the image is the same for all hosts
    assert {"pyoci/cgroup/v1.py", "pyoci/cgroup/v2.py"} <= {line.partition("\t")[0] for line in wanted}


def test_hot_parts_are_there(image: None) -> None:
    """Each name of the list is a member of an archive that is linked; the linker passes over one that is not."""
    variable = sysconfig.get_config_vars()
    libc = subprocess.run(["gcc", "-print-file-name=libc.a"], capture_output=True, text=True, check=True).stdout.strip()
    archives = [Path(variable["LIBPL"], f"libpython{variable['LDVERSION']}.a"), Path(libc)]
    archives += Path(libc).parent.glob("libm-*.a")
    members: set[str] = set()
    for archive in archives:
        done = subprocess.run(["ar", "t", archive], capture_output=True, text=True, check=True)
        members.update(line.removesuffix(".o") for line in done.stdout.splitlines())
    listed = (REPOSITORY / "csrc/launcher/hot_parts.txt").read_text(encoding="ascii").splitlines()
    assert sorted(set(listed) - members) == []
    assert len(listed) == len(set(listed)) > 100
    assert {"ceval", "obmalloc", "typeobject"} <= set(listed)


def test_own_parts_lie_together(image: None) -> None:
    """The script for the linker names each object of ours that is linked."""
    script = (BUILD / "setup/image-order").read_text(encoding="ascii")
    sources = [*(REPOSITORY / "csrc/native").glob("*.c"), *(REPOSITORY / "csrc/launcher").glob("json*.c")]
    assert len(sources) > 3
    assert [path.stem for path in sources if f"*image-{path.stem}.o(.text .text.*)" not in script] == []


@pytest.fixture(name="work")
def copied_work(tmp_path: Path) -> Path:
    """A directory to build the launcher in, in which all but image.c is compiled already."""
    work = tmp_path / "work"
    shutil.copytree(BUILD / "setup", work, symlinks=True)
    for name in ("pyoci", "pyoci-image", "image-base", "image-image.o"):
        (work / name).unlink(missing_ok=True)
    return work


def build_launcher(work: Path, compiler: str) -> subprocess.CompletedProcess[str]:
    """What setup.py does when it builds the launcher of the package that is built."""
    program = f"import setup\nprint(setup.build_launchers({PATHS[0]!r}, {str(work)!r}))"
    environment = {**os.environ, "CC": compiler, "PYOCI_LAUNCHER": ""}
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True, timeout=300
    )


def test_broken_image_is_not_taken(image: None, work: Path) -> None:
    """The build runs the image that it made, says what is wrong with it, and takes the embedded form in its place.

    Here image.c is compiled so that the copy, and it alone, ends by SIGABRT where it takes up its thread again.
    """
    done = build_launcher(work, "gcc '-DPyOS_AfterFork_Child(nothing)=abort()'")
    assert "pyoci --version: -6, b'', b''" in done.stderr
    assert "the image was built, but does not do what the interpreter does" in done.stderr
    assert "the launcher is not built as an image" in done.stderr
    assert not (work / "pyoci-image").exists()
    assert [path.name for path in work.glob("trial-*")] == []
    (tmp := work.parent / "bin").mkdir()
    shutil.copy2(work / "pyoci", tmp)
    (tmp / "lib").symlink_to(PATHS[0])
    status, out, err = call([str(tmp / "pyoci")], "--version")
    assert (status, err) == (0, b"")
    assert b"launcher: embedded CPython" in out


def test_image_with_other_words_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that tells its version, and then one letter wrong, or ends well where it should fail."""
    monkeypatch.syspath_prepend(REPOSITORY / "csrc/launcher")
    import trial

    version = 'case $1 in --version) echo "pyoci version 1"; echo "launcher: image of CPython"; exit;; esac'
    program = tmp_path / "program"
    for answer, wrong in (
        ('"$@"', []),
        ('"$@" | /bin/sed s/version/Version/', ["--help", "features"]),
        ('"$@"; true', ["state"]),
    ):
        program.write_text(f"#!/bin/sh\n{version}\n{LAUNCHER} {answer}\n")
        program.chmod(0o755)
        found = trial.faults(str(program), PATHS[0], str(tmp_path))
        assert bool(found) == bool(wrong), found
        assert [word for word in wrong if not any(f" {word}" in line for line in found)] == [], found
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_image_that_passes_is_taken(image: None, work: Path) -> None:
    """The same without the breakage, so that the test before shows the trial and not the building."""
    done = build_launcher(work, "gcc")
    assert done.stderr == ""
    assert (work / "pyoci-image").exists()
    assert (work / "pyoci").read_bytes() == (work / "pyoci-image").read_bytes()
