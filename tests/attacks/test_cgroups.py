# SPDX-License-Identifier: Apache-2.0
"""What a container can do to control groups that are not its own."""

from __future__ import annotations

import pytest
from harness import host
from harness.runtime import Runtime

pytestmark = pytest.mark.usefixtures("cgroups")

SCRIPT = """
cd /sys/fs/cgroup
for place in . */; do
    mkdir "$place/escaped" 2>/dev/null && echo "made $place/escaped"
    for file in "$place/cgroup.procs" "$place/tasks" "$place/pids.max" "$place/cgroup.freeze" "$place/freezer.state"; do
        (test ! -e "$file" || echo 1 >"$file") 2>/dev/null || continue
        test ! -e "$file" || echo "wrote $file"
    done
done
echo end
"""


@pytest.mark.parametrize("options", [("rw",), ("nosuid", "noexec", "nodev"), ("rw", "relatime")])
def test_user_namespace_without_a_cgroup_namespace(runtime: Runtime, options: tuple[str, ...]) -> None:
    """CVE-2023-25809: its root is the host's to cgroupfs, if the map says so, and would lift the container's limits."""
    bundle = runtime.bundle().map_users(0).sh(SCRIPT)
    mount = next(mount for mount in bundle.mounts if mount["destination"] == "/sys/fs/cgroup")
    mount["options"] = list(options)
    out = runtime.output(bundle).splitlines()
    if not host.unified():  # the directory above the hierarchies is a tmpfs of the container's own
        out = [line for line in out if line != "made ./escaped"]
    assert out == ["end"]


def test_the_group_of_a_container_cannot_be_left(runtime: Runtime) -> None:
    """Also where its cgroups are writable: the group is the root of what a cgroup namespace shows."""
    bundle = runtime.bundle().namespace("cgroup")
    mount = next(mount for mount in bundle.mounts if mount["destination"] == "/sys/fs/cgroup")
    mount["options"] = ["nosuid", "noexec", "nodev"]
    place = "/sys/fs/cgroup" if host.unified() else "/sys/fs/cgroup/pids"
    bundle.sh(f"ls -d {place}/../{bundle.name} {place}/../../{bundle.name}; cat /proc/self/cgroup")
    result = runtime.run(bundle)
    seen = [line.rpartition(":")[2] for line in result.out.splitlines() if ":" in line]
    assert bundle.name not in result.out, result
    assert set(seen) == {"/"}
