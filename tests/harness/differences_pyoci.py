# SPDX-License-Identifier: Apache-2.0
"""The tests that pyoci does not pass yet, and why."""

from __future__ import annotations

from harness.difference import Difference

PYOCI = (
    Difference(
        "pyoci",
        "update comes with a later version, and is refused by name",
        "engines/test_cri.py::test_update_of_resources",
    ),
)
