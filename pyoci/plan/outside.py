# SPDX-License-Identifier: Apache-2.0
"""What the runtime sets on the complete process from outside, with names and fields like operations, for ``plan``."""

from __future__ import annotations

from pyoci.plan import ops
from pyoci.plan.operation import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class OomScoreAdj(Op):
    """proc_pid_oom_score_adj(5). init sees a procfs of the host only at its start."""

    __slots__ = ("value",)
    name = "oom_score_adj"
    fields = ("value",)

    def __init__(self, where: str, value: int) -> None:
        self.where = where
        self.value = value


class SchedSetattr(Op):
    """sched_setattr(2) with attributes that children do not inherit. It needs CAP_SYS_NICE, which the process has
    dropped before its last clone."""

    __slots__ = ("inner",)
    name = ops.SchedSetattr.name
    fields = ops.SchedSetattr.fields

    def __init__(self, inner: ops.SchedSetattr) -> None:
        self.where = inner.where
        self.inner = inner

    def shown(self) -> dict[str, Any]:
        return self.inner.shown()
