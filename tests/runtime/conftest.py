# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from harness.plugin import (
    busybox,
    cgroup_v2,
    cgroups,
    features_schema,
    pytest_collection_modifyitems,
    pytest_generate_tests,
    pytest_runtest_call,
    runtime,
    state_schema,
)

__all__ = [
    "busybox",
    "cgroup_v2",
    "cgroups",
    "features_schema",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
    "pytest_runtest_call",
    "runtime",
    "state_schema",
]
