# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.plugin import (  # noqa: E402  (the path to it comes first)
    busybox,
    features_schema,
    pytest_collection_modifyitems,
    pytest_runtest_call,
    runtime,
    state_schema,
)

__all__ = [
    "busybox",
    "features_schema",
    "pytest_collection_modifyitems",
    "pytest_runtest_call",
    "runtime",
    "state_schema",
]
