# SPDX-License-Identifier: Apache-2.0
"""From a pod to the config.json of each of its containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyoci.config import check
from pyoci.kernel.capabilities import NAMES
from pyoci.pod import capabilities, manifest, translate
from pyoci.pod.model import Pod, Resources
from pyoci.pod.translate import Facts, Places

FACTS = Facts(("CHOWN", "KILL", "SYS_TIME"), cgroup_namespace=False)
PLACES = Places({"v": "/vol/v", "h": "/srv"}, frozenset({"v"}), "/pod/shm", {"hosts": "/pod/hosts"})


def pod(tmp_path: Path, spec: dict[str, Any] | None = None, **fields: Any) -> Pod:
    (tmp_path / "image").mkdir(exist_ok=True)
    container = {"name": "c", "image": "dir:image", "command": ["sh"], **fields}
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/srv"}}]
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"a": "b"}},
        "spec": {"containers": [container], "volumes": volumes, **(spec or {})},
    }
    return manifest.check(document, str(tmp_path / "pod.yaml"))


def peer(made: Pod, facts: Facts = FACTS) -> dict[str, Any]:
    config = translate.peer(made, made.containers[0], 42, facts, PLACES)
    check.config(config)
    return config


def namespaces(config: dict[str, Any]) -> dict[str, str | None]:
    return {entry["type"]: entry.get("path") for entry in config["linux"]["namespaces"]}


def test_sandbox(tmp_path: Path) -> None:
    config = translate.sandbox(pod(tmp_path), FACTS, PLACES)
    check.config(config)
    assert namespaces(config) == {"network": None, "ipc": None, "uts": None, "pid": None, "mount": None}
    assert config["process"]["args"] == ["/pause"]
    assert config["process"]["user"] == {"uid": 65535, "gid": 65535}
    assert config["process"]["capabilities"] == {"bounding": [], "effective": [], "permitted": []}
    assert config["process"]["noNewPrivileges"] is True
    assert config["root"]["readonly"] is True
    assert config["hostname"] == "p"
    assert config["linux"]["cgroupsPath"] == "/pyoci-pod-p/pause"


def test_peer_joins_the_sandbox(tmp_path: Path) -> None:
    config = peer(pod(tmp_path))
    joined = {"network": "/proc/42/ns/net", "ipc": "/proc/42/ns/ipc", "uts": "/proc/42/ns/uts"}
    assert namespaces(config) == {**joined, "pid": None, "mount": None}
    assert "hostname" not in config
    assert config["annotations"] == {"a": "b", "org.pyoci.pod.name": "p", "org.pyoci.pod.container": "c"}


def test_peer_shares_pids_when_asked(tmp_path: Path) -> None:
    assert namespaces(peer(pod(tmp_path, {"shareProcessNamespace": True})))["pid"] == "/proc/42/ns/pid"


def test_cgroup_namespace(tmp_path: Path) -> None:
    facts = Facts(FACTS.capabilities, cgroup_namespace=True)
    assert "cgroup" in namespaces(peer(pod(tmp_path), facts))
    assert "cgroup" in namespaces(translate.sandbox(pod(tmp_path), facts, PLACES))


def test_process(tmp_path: Path) -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2$(C)$$(A)"}, {"name": "C"}]
    config = peer(pod(tmp_path, args=["$(B)", "$(PATH)"], env=env, workingDir="/w"))
    assert config["process"]["args"] == ["sh", "12$(C)$(A)", "$(PATH)"]
    assert config["process"]["env"][1:] == ["HOSTNAME=p", "A=1", "B=12$(C)$(A)", "C="]
    assert config["process"]["env"][0].startswith("PATH=/usr/local/sbin:")
    assert config["process"]["cwd"] == "/w"
    assert config["process"]["terminal"] is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""), ("$", "$"), ("$$", "$"), ("$(A)", "x"), ("$$(A)", "$(A)"), ("$$$(A)", "$x"), ("$(A", "$(A"),
        ("$A", "$A"), ("$(N)$(A)", "$(N)x"), ("a$", "a$"), ("$()", "$()"), ("$((A))", "$((A))"),
    ],
)  # fmt: skip
def test_expand(text: str, expected: str) -> None:
    assert translate.expand(text, {"A": "x"}) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Resources(), {}),
        (Resources(cpu_limit=500), {"cpu": {"quota": 50000, "period": 100000}}),
        (Resources(cpu_limit=1), {"cpu": {"quota": 1000, "period": 100000}}),
        (Resources(cpu_request=250), {"cpu": {"shares": 256}}),
        (Resources(cpu_request=0), {"cpu": {"shares": 2}}),
        (Resources(cpu_request=10**6), {"cpu": {"shares": 262144}}),
        (Resources(memory_limit=4096), {"memory": {"limit": 4096}}),
    ],
)
def test_resources(wanted: Resources, expected: dict[str, Any]) -> None:
    made = translate.resources(wanted)
    assert made.pop("devices")[0] == {"allow": False, "access": "rwm"}
    assert made == expected


def test_limits_do_not_take_the_place_of_the_device_list(tmp_path: Path) -> None:
    resources = peer(pod(tmp_path, resources={"limits": {"memory": "8Mi"}}))["linux"]["resources"]
    assert resources["devices"][0] == {"allow": False, "access": "rwm"}
    assert resources["memory"] == {"limit": 8 << 20}


def mounts(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert len({mount["destination"] for mount in config["mounts"]}) == len(config["mounts"])
    return {mount["destination"]: mount for mount in config["mounts"]}


def test_volumes(tmp_path: Path) -> None:
    config = peer(
        pod(
            tmp_path,
            volumeMounts=[
                {"name": "v", "mountPath": "/data/sub/deep"},
                {"name": "h", "mountPath": "/data", "readOnly": True, "mountPropagation": "HostToContainer"},
            ],
        )
    )
    found = mounts(config)
    assert found["/data"] == {
        "destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "rslave", "ro"],
    }  # fmt: skip
    assert found["/data/sub/deep"]["options"] == ["rbind", "rprivate", "rw", "exec"]
    order = list(found)
    assert order.index("/data") < order.index("/data/sub/deep")
    assert found["/dev/shm"]["source"] == "/pod/shm"
    assert found["/etc/hosts"]["options"][-1] == "rw"


@pytest.mark.parametrize("target", ["/etc/hosts", "/etc", "/dev/shm"])
def test_a_volume_takes_the_place_of_a_default(tmp_path: Path, target: str) -> None:
    found = mounts(peer(pod(tmp_path, volumeMounts=[{"name": "v", "mountPath": target}])))
    assert found[target]["source"] == "/vol/v"
    assert "/etc/hosts" in found or target == "/etc"


def test_read_only_root(tmp_path: Path) -> None:
    config = peer(pod(tmp_path, securityContext={"readOnlyRootFilesystem": True}))
    assert config["root"]["readonly"] is True
    assert mounts(config)["/etc/hosts"]["options"][-1] == "ro"


def test_identity(tmp_path: Path) -> None:
    spec = {"securityContext": {"supplementalGroups": [5], "fsGroup": 6}}
    process = peer(pod(tmp_path, spec, securityContext={"runAsUser": 3, "allowPrivilegeEscalation": False}))["process"]
    assert process["user"] == {"uid": 3, "gid": 0, "additionalGids": [5, 6]}
    assert process["noNewPrivileges"] is True


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), ("ALL",), []),
        (("SYS_TIME",), ("ALL",), ["CAP_SYS_TIME"]),
        (("ALL",), ("KILL",), ["CAP_CHOWN", "CAP_SYS_TIME"]),
        (("KILL",), ("KILL", "ALL"), []),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], expected: list[str]) -> None:
    assert capabilities.granted(add, drop, FACTS.capabilities) == expected


def test_default_capabilities_are_all_known() -> None:
    granted = capabilities.granted((), (), ())
    assert len(granted) == len(capabilities.DEFAULT) == 14
    assert capabilities.granted(("SYS_TIME",), (), ()) == sorted(
        [*granted, "CAP_SYS_TIME"], key=lambda name: NAMES.index(name.removeprefix("CAP_"))
    )


def test_ids_of_two_pods_cannot_meet() -> None:
    assert translate.container_id("a.b", "c") != translate.container_id("a", "b-c")
    assert translate.container_id("a.b", "c").rpartition(".") == ("a.b", ".", "c")
