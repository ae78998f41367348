# SPDX-License-Identifier: Apache-2.0
"""All containers of a state root."""

from __future__ import annotations

from pyoci.container.state import State
from pyoci.errors import NotFound, PyociError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.paths import Root


def containers(root: Root) -> tuple[list[State], list[str]]:
    """Returns the states that can be read, in the order of their IDs, and a warning for each that cannot."""
    states: list[State] = []
    warnings: list[str] = []
    for container_id in root.ids():
        try:
            states.append(State.load(root, container_id))
        except NotFound:
            continue  # deleted meanwhile
        except PyociError as error:
            warnings.append(str(error))
    return states, warnings
