# SPDX-License-Identifier: Apache-2.0
"""The size of things: files, functions, argument lists. Held by tests, so that none grows without being noticed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILE_LINES = 500
FUNCTION_LINES = 50
ARGUMENTS = 5
UNTYPED_LINES = 25

C_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
C_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)


def sources(*suffixes: str) -> list[Path]:
    """The files of the program and its build."""
    found = [
        path
        for room in ("pyoci", "csrc", "schema")
        for path in sorted((REPOSITORY / room).rglob("*"))
        if path.suffix in suffixes
    ]
    return [*found, REPOSITORY / "setup.py"] if ".py" in suffixes else found


def python_functions(source: str) -> Iterator[tuple[str, int, int]]:
    """(name, lines, arguments) of each function, nested ones too; lines from its ``def`` to its end."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            wanted = node.args
            arguments = [*wanted.posonlyargs, *wanted.args, *wanted.kwonlyargs]
            stars = [one for one in (wanted.vararg, wanted.kwarg) if one]
            count = len([one for one in arguments if one.arg not in ("self", "cls")]) + len(stars)
            yield node.name, node.end_lineno - node.lineno + 1, count


def blank(match: re.Match[str]) -> str:
    """As many lines, and nothing on them."""
    return "\n" * match[0].count("\n")


def c_functions(source: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of each function: from the line where its declaration begins to that of its last brace.

    Comments, literals and directives are taken out first; what is left is balanced. At the outermost level a brace
    after a closing parenthesis opens a function; other braces there belong to types and tables.
    """
    text = C_DIRECTIVE.sub(blank, C_NOISE.sub(blank, source))
    depth, begin, body = 0, 0, -1
    for at, character in enumerate(text):
        if character == "{":
            if depth == 0 and text[:at].rstrip().endswith(")"):
                body = at
            depth += 1
        elif character == "}":
            depth -= 1
            assert depth >= 0, "the braces do not balance"
            if depth == 0 and body >= 0:
                head = text[begin:body]
                names = [name for name in re.findall(r"(\w+)\s*\(", head) if name != "__attribute__"]
                start = begin + len(head) - len(head.lstrip())
                yield names[0], text.count("\n", start, at) + 1
                body = -1
        if depth == 0 and character in ";}":
            begin = at + 1
    assert depth == 0, "the braces do not balance"


def test_c_functions_are_read() -> None:
    source = r"""
#define BODY(x) { \
    x
/* int no(void) { */
static const char *table[] = {"{", "\"", "}"};
struct pair {
    int (*call)(int);
};
static __attribute__((noinline)) int
first(char c) {
    if (c == '{' || c == '\'') {
        return 1; // }
    }
    return 0;
}

int second(void) {
}
"""
    assert list(c_functions(source)) == [("first", 7), ("second", 2)]


def test_python_functions_are_read() -> None:
    source = "class A:\n    def f(self, a, /, b, *c, d, **e):\n        def g():\n            pass\n\n        return g\n"
    assert sorted(python_functions(source)) == [("f", 5, 5), ("g", 2, 0)]


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(".py", ".c", ".h", ".S")}
    assert len(lengths) > 100
    assert {str(path): lines for path, lines in lengths.items() if lines > FILE_LINES} == {}


def test_python_functions_are_short() -> None:
    found = [(str(path), name, n) for path in sources(".py") for name, n, _ in python_functions(path.read_text())]
    assert len(found) > 500
    assert [one for one in found if one[2] > FUNCTION_LINES] == []


def test_c_functions_are_short() -> None:
    found = [(str(path), name, n) for path in sources(".c", ".h") for name, n in c_functions(path.read_text())]
    assert len(found) > 200
    assert {"op_mount", "pyoci_spawn", "main"} <= {name for _, name, _ in found}
    assert [one for one in found if one[2] > FUNCTION_LINES] == []


FILES = ("create", "gather", "intent", "launch", "options", "execute", "steps", "start", "hooks")


@pytest.mark.parametrize("file", FILES)
def test_functions_of_create_take_few_arguments(file: str) -> None:
    """What belongs together is one object (docs/design.md), not a row of arguments."""
    found = list(python_functions((REPOSITORY / "pyoci/container" / f"{file}.py").read_text()))
    assert len(found) > 1
    assert [(name, count) for name, _, count in found if count > ARGUMENTS] == []


def test_documents_have_types() -> None:
    """``dict[str, Any]`` lets a misspelt property pass; schema/ gives a type for each document."""
    lines = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for path in sources(".py")
        for line in path.read_text().splitlines()
        if "dict[str, Any]" in line and path.is_relative_to(REPOSITORY / "pyoci")
    ]
    assert len(lines) < UNTYPED_LINES, "\n".join(lines)
