# SPDX-License-Identifier: Apache-2.0
"""Where runc and crun, in the versions that Debian 12 ships, do otherwise than a test says, and why.

Each entry is strict: a test named here must fail on that runtime, and a pass is reported as an error, so that
the table cannot outlive its reasons. pyoci has entries of its own only for what the test host lacks.
"""

from __future__ import annotations

# test (a file and a function, with or without its parameters) -> runtime -> reason
TABLE: dict[str, dict[str, str]] = {
}


def reason(node: str, kind: str) -> str:
    """Why the test with this pytest node ID fails on a runtime, or an empty text."""
    name = node.rsplit("/", 1)[-1]
    for key in (name, name.partition("[")[0]):
        if kind in TABLE.get(key, {}):
            return TABLE[key][kind]
    return ""
