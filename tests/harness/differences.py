# SPDX-License-Identifier: Apache-2.0
"""Where runc 1.1 and crun 1.8, as Debian 12 ships them, do otherwise than a test says, and why.

An entry is strict: a test that it names must fail on that runtime, and a pass is reported as an error, so that the
table cannot outlive its reasons. Only a race, which does not fail each time, may pass. They show that the tests can
fail; where they fail they are no reference. What pyoci cannot do yet stands here too.
"""

from __future__ import annotations

from harness.difference import Difference
from harness.differences_crun import CRUN
from harness.differences_pyoci import PYOCI
from harness.differences_runc import RUNC

TABLE = (*RUNC, *CRUN, *PYOCI)


def find(node: str, runtime: str) -> Difference | None:
    """The entry for a test, by its pytest node ID."""
    name = "/".join(node.split("/")[node.split("::")[0].count("/") - 1 :])
    file, _, rest = name.partition("::")
    keys = (name, f"{file}::{rest.partition('[')[0]}", file)
    for entry in TABLE:
        if entry.runtime == runtime and any(key in entry.tests for key in keys):
            return entry
    return None
