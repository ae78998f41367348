# SPDX-License-Identifier: Apache-2.0
"""What a manifest says of a container's process, read back from the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import host, inspection
from harness.pods import WAITS, Pod, Pods


def status(pods: Pods, security: dict[str, Any], **spec: Any) -> dict[str, str]:
    """/proc/self/status of a process under a security context."""
    path = pods.manifest(pods.container("a", "cat /proc/self/status", securityContext=security), **spec)
    pods.runtime.ok("pod", "run", "-d", path)
    with Pod(pods, path.stem) as pod:
        assert pod.wait_for_end()["phase"] == "Succeeded"
        return inspection.parse_status(pod.logs("a"))


def names(mask: str) -> int:
    return int(mask, 16).bit_count()


def test_default_identity(pods: Pods) -> None:
    found = status(pods, {})
    assert found["Uid"].split() == found["Gid"].split() == ["0"] * 4
    assert found["Groups"] == ""
    assert found["NoNewPrivs"] == "0"
    assert found["CapBnd"] == found["CapEff"] == found["CapPrm"] == "00000000a80425fb"  # docker's fourteen
    assert names(found["CapInh"]) == names(found["CapAmb"]) == 0


def test_user_group_and_groups(pods: Pods) -> None:
    found = status(
        pods, {"runAsUser": 1234},
        securityContext={"runAsUser": 1, "runAsGroup": 55, "runAsNonRoot": True, "supplementalGroups": [66, 77]},
    )  # fmt: skip
    assert found["Uid"].split() == ["1234"] * 4
    assert found["Gid"].split() == ["55"] * 4
    assert found["Groups"].split() == ["66", "77"]
    assert names(found["CapEff"]) == names(found["CapPrm"]) == names(found["CapAmb"]) == 0


def test_capabilities(pods: Pods) -> None:
    found = status(pods, {"capabilities": {"add": ["SYS_TIME"], "drop": ["ALL"]}})
    assert int(found["CapBnd"], 16) == int(found["CapEff"], 16) == 1 << 25
    found = status(pods, {"capabilities": {"add": ["ALL"], "drop": ["CHOWN"]}})
    own = inspection.parse_status(Path("/proc/self/status").read_text())["CapPrm"]
    assert int(found["CapEff"], 16) == int(own, 16) & ~1


def test_no_privilege_escalation(pods: Pods) -> None:
    assert status(pods, {"allowPrivilegeEscalation": False})["NoNewPrivs"] == "1"


def test_read_only_root(pods: Pods) -> None:
    script = "for f in /x /etc/hosts; do echo no 2>/dev/null >$f && echo wrote $f; done; echo yes >/v/x; cat /v/x"
    mounts = [{"name": "v", "mountPath": "/v"}]
    out = pods.output(
        pods.container("a", script, securityContext={"readOnlyRootFilesystem": True}, volumeMounts=mounts),
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    assert out == "a            | yes\n"


def test_environment_arguments_and_directory(pods: Pods) -> None:
    env = [{"name": "A", "value": "one"}, {"name": "B", "value": "$(A)-two"}, {"name": "PATH", "value": "/bin"}]
    container = pods.container("a", "", env=env, workingDir="/etc")
    container["command"] = ["sh", "-c", 'echo "$B $PATH $PWD $0 $1 $2"']
    container["args"] = ["zero", "$(B)", "$(NONE) $$(A)"]
    assert pods.output(container) == "a            | one-two /bin /etc zero one-two $(NONE) $(A)\n"


def test_working_directory_is_made(pods: Pods) -> None:
    assert pods.output(pods.container("a", "pwd", workingDir="/made/for/it")) == "a            | /made/for/it\n"
    assert not (pods.image / "made").exists()


needs_controllers = pytest.mark.skipif(
    host.unified() and not {"cpu", "memory"} <= set((host.CGROUP_ROOT / "cgroup.controllers").read_text().split()),
    reason="this host's cgroup v2 has no cpu and memory controllers",
)
without_swap = pytest.mark.skipif(len(Path("/proc/swaps").read_text().splitlines()) > 1, reason="this host has swap")


@needs_controllers
def test_limits_are_in_the_control_group(pods: Pods) -> None:
    limits = {"limits": {"cpu": "250m", "memory": "48Mi"}, "requests": {"cpu": "100m", "memory": "16Mi"}}
    with pods.start(pods.container("a", resources=limits), pods.container("b")) as pod:
        groups = inspection.cgroups(pod.pid("a"))
        assert all(f"/pyoci-pod-{pod.name}/a" in path for path in groups.values() if path.count("/") > 1)
        if host.unified():
            base = host.CGROUP_ROOT / f"pyoci-pod-{pod.name}/a"
            assert (base / "memory.max").read_text() == f"{48 << 20}\n"
            assert (base / "cpu.max").read_text() == "25000 100000\n"
            return
        (cpu,) = [host.CGROUP_ROOT / "cpu" / path[1:] for names, path in groups.items() if "cpu" in names.split(",")]
        memory = host.CGROUP_ROOT / "memory" / groups["memory"][1:]
        assert (memory / "memory.limit_in_bytes").read_text() == f"{48 << 20}\n"
        assert (cpu / "cpu.cfs_quota_us").read_text() == "25000\n"
        assert (cpu / "cpu.cfs_period_us").read_text() == "100000\n"
        assert (cpu / "cpu.shares").read_text() == "102\n"
        other = host.CGROUP_ROOT / "memory" / inspection.cgroups(pod.pid("b"))["memory"][1:]
        assert int((other / "memory.limit_in_bytes").read_text()) > 1 << 40


@needs_controllers
@without_swap
def test_memory_limit_is_felt(pods: Pods) -> None:
    script = "exec dd if=/dev/zero of=/dev/null bs=64M count=1"
    assert pods.run(pods.container("a", script)).code == 0
    result = pods.run(pods.container("a", script, resources={"limits": {"memory": "16Mi"}}))
    assert "a             ended: exit status 137: out of memory" in result.err, result


def test_pause_has_no_capability_and_nobodys_identity(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        found = inspection.status(pod.pid("pause"))
        assert found["Uid"].split() == found["Gid"].split() == ["65535"] * 4
        assert int(found["CapBnd"], 16) == int(found["CapEff"], 16) == 0
        assert found["NoNewPrivs"] == "1"


def test_descriptors_of_a_container(pods: Pods) -> None:
    with pods.start(pods.container("a", "exec sleep 1000"), terminationGracePeriodSeconds=0) as pod:
        found = inspection.descriptors(pod.pid("a"))
        assert sorted(found) == [0, 1, 2]
        assert found[0] == "/dev/null"
        assert found[1].startswith("pipe:")
        assert found[2].startswith("pipe:")
        assert found[1] != found[2]


def test_masked_and_read_only_paths(pods: Pods) -> None:
    script = "ls /sys/firmware | wc -l; echo x 2>/dev/null >/proc/sys/kernel/domainname && echo wrote; echo end"
    assert pods.output(pods.container("a", script)) == "a            | 0\na            | end\n"


def test_exec_in_a_pods_container(pods: Pods) -> None:
    with pods.start(pods.container("a", WAITS, env=[{"name": "X", "value": "y"}])) as pod:
        assert pod.sh("a", "hostname; echo $X") == f"{pod.name}\ny\n"
