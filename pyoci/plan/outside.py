# SPDX-License-Identifier: Apache-2.0
"""What the runtime sets on the process from outside, when it is complete. It has names and fields as init's operations
have, for ``pyoci plan``.
"""

from __future__ import annotations

from pyoci.plan import ops
from pyoci.plan.operation import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class OomScoreAdj(Op):
    """proc_pid_oom_score_adj(5). init sees a procfs of the host only at its beginning."""

    __slots__ = ("value",)
    name = "oom_score_adj"
    fields = ("value",)

    def __init__(self, where: str, value: int) -> None:
        self.where = where
        self.value = value


class SchedSetattr(Op):
    """sched_setattr(2) with what a child does not inherit: it takes CAP_SYS_NICE, which the process has dropped when it
    has cloned its last child."""

    __slots__ = ("inner",)
    name = ops.SchedSetattr.name
    fields = ops.SchedSetattr.fields

    def __init__(self, inner: ops.SchedSetattr) -> None:
        self.where = inner.where
        self.inner = inner

    def shown(self) -> dict[str, Any]:
        return self.inner.shown()
