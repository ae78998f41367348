# SPDX-License-Identifier: Apache-2.0
"""The tests that runc 1.1 and crun 1.8 of Debian 12 fail, and why; and the tests that pyoci does not pass yet.

An entry is strict: a test that it names must fail on that runtime. A pass is reported as an error, so that the table
stays true. Only a race, which does not fail every time, may pass. The entries prove that the tests can fail. A runtime
is no reference for a test that it fails.
"""

from __future__ import annotations

from harness.difference import Difference
from harness.differences_crun import CRUN
from harness.differences_pyoci import PYOCI
from harness.differences_runc import RUNC

TABLE = (*RUNC, *CRUN, *PYOCI)


def find(node: str, runtime: str) -> Difference | None:
    """Returns the entry for a test, by its pytest node ID."""
    name = "/".join(node.split("/")[node.split("::")[0].count("/") - 1 :])
    file, _, rest = name.partition("::")
    keys = (name, f"{file}::{rest.partition('[')[0]}", file)
    for entry in TABLE:
        if entry.runtime == runtime and any(key in entry.tests for key in keys):
            return entry
    return None
