# SPDX-License-Identifier: Apache-2.0
"""The table of differences speaks only of tests that exist."""

from __future__ import annotations

import ast
from pathlib import Path

from harness import differences

TESTS = Path(__file__).resolve().parents[1]


def functions(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_entry_names_a_test() -> None:
    for entry in differences.TABLE:
        for test in entry.tests:
            file, _, rest = test.partition("::")
            assert (TESTS / file).is_file(), test
            assert not rest or rest.partition("[")[0] in functions(file), test


def test_each_entry_has_a_reason() -> None:
    assert all(len(entry.reason) > 10 for entry in differences.TABLE)


def test_no_test_has_two_entries() -> None:
    named = [(entry.runtime, test) for entry in differences.TABLE for test in entry.tests]
    assert len(named) == len(set(named))


def test_entry_is_found_by_parameters_function_and_file() -> None:
    node = "tests/runtime/test_descriptors.py::test_preserve_nonsense"
    assert differences.find(f"{node}[-1]", "runc")
    assert not differences.find(f"{node}[x]", "runc")
    assert differences.find(f"{node}[x]", "crun")
    assert not differences.find(f"{node}[x]", "pyoci")
