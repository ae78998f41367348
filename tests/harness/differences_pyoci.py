# SPDX-License-Identifier: Apache-2.0
"""The tests that pyoci does not pass yet, and why."""

from __future__ import annotations

from harness.difference import Difference

PYOCI: tuple[Difference, ...] = ()
