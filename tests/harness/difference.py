# SPDX-License-Identifier: Apache-2.0
"""One entry of the table of differences."""

from __future__ import annotations


class Difference:
    """Tests that fail on one runtime for one reason.

    Each is named by file, function and parameters, or only the first.
    """

    def __init__(self, runtime: str, reason: str, *tests: str, race: bool = False) -> None:
        self.runtime = runtime
        self.reason = reason
        self.tests = tests
        self.race = race
