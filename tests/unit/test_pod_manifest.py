# SPDX-License-Identifier: Apache-2.0
"""A v1 Pod manifest is used or refused, property by property."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from pyoci.errors import PodError
from pyoci.pod import manifest, quantity, yamltext
from pyoci.pod.model import Pod

MINIMAL: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "dir:image", "command": ["sh"]}]},
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "image").mkdir()
    return str(tmp_path / "pod.yaml")


def changed(where: str, value: Any) -> dict[str, Any]:
    """The minimal manifest with one property set; ``where`` is a path such as spec.containers.0.name."""
    document = copy.deepcopy(MINIMAL)
    *parents, last = where.split(".")
    place: Any = document
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[last] = value
    return document


def error_of(document: Any, path: str) -> str:
    with pytest.raises(PodError) as caught:
        manifest.check(document, path)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix("pod.yaml: ")


def container(path: str, **fields: Any) -> Any:
    document = copy.deepcopy(MINIMAL)
    document["spec"]["containers"][0].update(fields)
    return manifest.check(document, path).containers[0]


def test_minimal(path: str, tmp_path: Path) -> None:
    pod = manifest.check(MINIMAL, path)
    assert (pod.name, pod.hostname, pod.restart, pod.grace, pod.share_pid) == ("p", "p", "Always", 30, False)
    (only,) = pod.containers
    assert (only.name, only.where, only.image) == ("c", "spec.containers[0]", str(tmp_path / "image"))
    assert (only.command, only.args, only.cwd, only.env, only.mounts) == (("sh",), (), "/", (), ())
    assert (only.security.user, only.security.group, only.security.no_new_privileges) == (0, 0, False)


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ("apiVersion", "v2", "apiVersion: must be one of 'v1', it is 'v2'"),
        ("kind", "Deployment", "kind: must be one of 'Pod', it is 'Deployment'"),
        ("metadata.name", "A b", "metadata.name: 'A b' is not a name"),
        ("metadata.name", "a" * 64, "is not a name"),
        ("metadata.labels", {"a": 1}, "metadata.labels[a]: must be a string, it is 1; quote it"),
        ("spec.hostNetwork", True, "spec.hostNetwork: not supported, but as false"),
        ("spec.hostUsers", False, "spec.hostUsers: not supported, but as true"),
        ("spec.os", {"name": "windows"}, "spec.os: not supported, but as linux"),
        ("spec.activeDeadlineSeconds", 5, "spec.activeDeadlineSeconds: not supported"),
        ("spec.runtimeClassName", "gvisor", "spec.runtimeClassName: not supported"),
        ("spec.securityContext", {"seccompProfile": {"type": "RuntimeDefault"}}, "seccompProfile: not supported, but"),
        ("spec.restartPolicy", "Sometimes", "spec.restartPolicy: must be one of 'Always', 'OnFailure', 'Never'"),
        ("spec.restartPolcy", "Never", "spec.restartPolcy: unknown field; did you mean restartPolicy?"),
        ("spec.terminationGracePeriodSeconds", -1, "spec.terminationGracePeriodSeconds: must be a whole number from 0"),
        ("spec.shareProcessNamespace", "yes", "spec.shareProcessNamespace: must be true or false, it is 'yes'"),
        ("spec.hostname", "a.b", "spec.hostname: 'a.b' is not a name"),
        ("spec.containers", [], "spec.containers: a pod needs at least one"),
        ("spec.containers", {"a": 1}, "spec.containers: must be a list, it is a mapping"),
        ("spec.containers", ["c"], "spec.containers[0]: must be a mapping, it is 'c'"),
        ("spec.containers.0.name", "pause", "spec.containers[0].name: 'pause' is already the name of the sandbox"),
        ("spec.containers.0.name", "a.b", "spec.containers[0].name: 'a.b' is not a name"),
        ("spec.containers.0.image", "nginx", "spec.containers[0].image: must be dir:PATH"),
        ("spec.containers.0.image", "dir:nowhere", "spec.containers[0].image: there is no directory"),
        ("spec.containers.0.command", [], "spec.containers[0].command: is missing"),
        ("spec.containers.0.command", "sh", "spec.containers[0].command: must be a list, it is 'sh'"),
        ("spec.containers.0.command", ["sh", 1], "spec.containers[0].command[1]: must be a string, it is 1; quote it"),
        ("spec.containers.0.command", ["s\0h"], "spec.containers[0].command[0]: holds a NUL character"),
        ("spec.containers.0.livenessProbe", {}, "spec.containers[0].livenessProbe: not supported"),
        ("spec.containers.0.tty", True, "spec.containers[0].tty: not supported, but as false"),
        ("spec.containers.0.comand", [], "spec.containers[0].comand: unknown field; did you mean command?"),
        ("spec.containers.0.workingDir", "tmp", "spec.containers[0].workingDir: must be absolute, it is 'tmp'"),
        ("spec.containers.0.env", [{"name": "A=B"}], "spec.containers[0].env[0].name: 'A=B' cannot name a variable"),
        ("spec.containers.0.env", [{"name": "A", "value": 80}], "spec.containers[0].env[0].value: must be a string"),
        ("spec.containers.0.env", [{"name": "A", "valueFrom": {}}], "env[0].valueFrom: not supported"),
        ("spec.containers.0.ports", [{"name": "x"}], "spec.containers[0].ports[0].containerPort: is missing"),
        ("spec.containers.0.ports", [{"containerPort": 80, "hostPort": 80}], "ports[0].hostPort: not supported: a pod"),
        ("spec.containers.0.volumeMounts", [{"name": "v", "mountPath": "/v"}], "there is no volume 'v' in"),
        ("spec.containers.0.resources", {"limits": {"cpu": "x"}}, "resources.limits.cpu: 'x' is not a quantity"),
        ("spec.containers.0.resources", {"limits": {"memory": -1}}, "resources.limits.memory: -1 is negative"),
        ("spec.containers.0.resources", {"limits": {"nvidia.com/gpu": 1}}, "limits.nvidia.com/gpu: unknown field"),
        ("spec.containers.0.resources", {"limits": {"cpu": 1}, "requests": {"cpu": 2}}, "requests.cpu: is larger than"),
        ("spec.containers.0.securityContext", {"privileged": True}, "securityContext.privileged: not supported"),
        ("spec.containers.0.securityContext", {"seccompProfile": {}}, "securityContext.seccompProfile: not supported"),
        ("spec.containers.0.securityContext", {"procMount": "Unmasked"}, "securityContext.procMount: not supported"),
        ("spec.containers.0.securityContext", {"runAsUser": 2**31}, "runAsUser: must be a whole number from 0 to"),
        ("spec.containers.0.securityContext", {"runAsNonRoot": True}, "runAsNonRoot: the user is 0"),
        ("spec.containers.0.securityContext", {"capabilities": {"add": ["CAP_X"]}}, "add[0]: 'CAP_X' is not a capab"),
        ("spec.volumes", [{"name": "v"}], "spec.volumes[0]: needs one of emptyDir: {} and hostPath"),
        ("spec.volumes", [{"name": "v", "configMap": {}}], "spec.volumes[0].configMap: not supported"),
        ("spec.volumes", [{"name": "v", "emptyDir": {"sizeLimit": "1M"}}], "emptyDir.sizeLimit: not supported: only"),
        ("spec.volumes", [{"name": "v", "hostPath": {"path": "a"}}], "spec.volumes[0].hostPath.path: must be absolute"),
        ("spec.volumes", [{"name": "v", "emptyDir": {}}] * 2, "spec.volumes[1].name: 'v' is already the name"),
        ("spec.initContainers", MINIMAL["spec"]["containers"], "'c' is already the name of spec.initContainers[0]"),
    ],
)
def test_refused(path: str, where: str, value: Any, expected: str) -> None:
    error = error_of(changed(where, value), path)
    assert expected in error
    assert "faults" not in error  # one mistake is one fault, without others in its train


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ({"mountPath": "v"}, "mountPath: must be absolute"),
        ({"mountPath": "/"}, "mountPath: must be absolute, without '..' and ':', and not the root"),
        ({"mountPath": "/a/../b"}, "mountPath: must be absolute, without '..'"),
        ({"mountPath": "/v", "subPath": "a"}, "subPath: not supported"),
        ({"mountPath": "/v", "mountPropagation": "Bidirectional"}, "not supported: Bidirectional needs a privileged"),
        ({"mountPath": "/v/w/"}, "'/v/w' is already used by volume 'v'"),
    ],
)
def test_mount_refused(path: str, mount: dict[str, Any], expected: str) -> None:
    document = changed("spec.volumes", [{"name": "v", "emptyDir": {}}])
    mounts = [{"name": "v", "mountPath": "/v/w"}, {"name": "v", **mount}]
    document["spec"]["containers"][0]["volumeMounts"] = mounts
    assert expected in error_of(document, path)


@pytest.mark.parametrize("document", [None, [], "Pod", 1])
def test_not_a_mapping(path: str, document: Any) -> None:
    assert "manifest: must be a mapping" in error_of(document, path)


def test_nothing_required_is_invented(path: str) -> None:
    for where in ("apiVersion", "kind", "metadata", "spec"):
        document = copy.deepcopy(MINIMAL)
        del document[where]
        assert "is missing" in error_of(document, path), where


EXPORTED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "annotations": {"a": "b"}, "creationTimestamp": "2026-01-01T00:00:00Z", "generateName": "p-", "generation": 1,
        "labels": {"app": "p"}, "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}],
        "name": "p-x1", "namespace": "default", "ownerReferences": [{"kind": "ReplicaSet", "name": "p"}],
        "resourceVersion": "815", "uid": "0a84c4a5-4a1c-4d3e-9f6d-2f1c1e2b5f7a",
    },
    "spec": {
        "containers": [
            {
                "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent", "name": "p", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                                  "name": "kube-api-access-x1", "readOnly": True}],
            }
        ],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": True, "nodeName": "node-1",
        "preemptionPolicy": "PreemptLowerPriority", "priority": 0, "restartPolicy": "Always",
        "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccount": "default",
        "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
        "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        "volumes": [{"name": "kube-api-access-x1", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
    },
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}  # fmt: skip
"""What ``kubectl get pod -o yaml`` prints, shortened."""


def test_exported_pod_needs_an_image_and_a_command(path: str) -> None:
    assert error_of(EXPORTED, path) == (
        "2 faults: spec.containers[0].image: must be dir:PATH, a root file system on disk; it is 'nginx:1.27'; "
        "spec.containers[0].command: is missing: an image that is a directory names no program"
    )
    document = copy.deepcopy(EXPORTED)
    document["spec"]["containers"][0] |= {"image": "dir:image", "command": ["sh"]}
    pod = manifest.check(document, path)
    assert (pod.name, pod.labels, pod.annotations, pod.volumes) == ("p-x1", {"app": "p"}, {"a": "b"}, ())
    assert pod.containers[0].mounts == ()
    assert set(pod.ignored) == {
        "status", "metadata.creationTimestamp", "metadata.generateName", "metadata.generation",
        "metadata.managedFields", "metadata.namespace", "metadata.ownerReferences", "metadata.resourceVersion",
        "metadata.uid", "spec.dnsPolicy",
        "spec.enableServiceLinks", "spec.nodeName", "spec.preemptionPolicy", "spec.priority", "spec.schedulerName",
        "spec.serviceAccount", "spec.serviceAccountName", "spec.tolerations", "spec.volumes[0].projected",
        "spec.containers[0].volumeMounts[0]", "spec.containers[0].imagePullPolicy",
        "spec.containers[0].terminationMessagePath", "spec.containers[0].terminationMessagePolicy",
    }  # fmt: skip


def test_what_is_as_pyoci_does_it_anyway_is_accepted(path: str) -> None:
    document = changed("spec.hostNetwork", False)
    document["spec"] |= {"hostPID": False, "hostIPC": False, "hostUsers": True, "os": {"name": "linux"}}
    document["spec"]["securityContext"] = {"seccompProfile": {"type": "Unconfined"}, "fsGroupChangePolicy": "Always"}
    document["spec"]["containers"][0] |= {
        "stdin": False, "stdinOnce": False, "tty": False,
        "securityContext": {"privileged": False, "procMount": "Default", "seccompProfile": {"type": "Unconfined"}},
    }  # fmt: skip
    assert manifest.check(document, path).ignored == ("spec.securityContext.fsGroupChangePolicy",)


def test_another_projected_volume_is_refused(path: str) -> None:
    document = changed("spec.volumes", [{"name": "token", "projected": {}}])
    document["spec"]["containers"][0]["volumeMounts"] = [{"name": "token", "mountPath": "/t"}]
    assert error_of(document, path) == "spec.volumes[0].projected: not supported"


def test_all_faults_are_told_at_once(path: str) -> None:
    document = changed("spec.restartPolcy", "Never")
    document["spec"] |= {"terminationGracePeriodSeconds": "soon", "hostNetwork": True}
    document["spec"]["volumes"] = [{"name": "v", "configMap": {}}, {"name": "W"}]
    document["spec"]["containers"].append(
        {"name": "d", "command": "sh", "livenessProbe": {}, "env": [{"value": 1}], "volumeMounts": [{"name": "v"}]}
    )
    with pytest.raises(PodError) as caught:
        manifest.check(document, path)
    head, *faults = caught.value.lines
    assert head == "pod.yaml: 12 faults:"
    assert sorted(fault.strip() for fault in faults) == sorted([
        "spec.volumes[0].configMap: not supported",
        "spec.volumes[1].name: 'W' is not a name of a-z, 0-9 and '-' with at most 63 characters",
        "spec.volumes[1]: needs one of emptyDir: {} and hostPath: {path: ...}",
        "spec.containers[1].image: is missing",
        "spec.containers[1].command: must be a list, it is 'sh'",
        "spec.containers[1].env[0].name: is missing",
        "spec.containers[1].env[0].value: must be a string, it is 1; quote it",
        "spec.containers[1].volumeMounts[0].mountPath: is missing",
        "spec.containers[1].livenessProbe: not supported",
        "spec.terminationGracePeriodSeconds: must be a whole number from 0 to 1000000, it is 'soon'",
        "spec.hostNetwork: not supported, but as false",
        "spec.restartPolcy: unknown field; did you mean restartPolicy?",
    ])  # fmt: skip
    assert str(caught.value) == "pod.yaml: 12 faults: " + "; ".join(fault.strip() for fault in faults)


def test_faults_are_bounded(path: str) -> None:
    document = changed("spec.x", 1)
    document["spec"] |= {f"field{number}\n\x1b[31m{'y' * 1000}": "z" * 1000 for number in range(5000)}
    with pytest.raises(PodError) as caught:
        manifest.check(document, path)
    assert len(caught.value.lines) == 32
    assert caught.value.lines[-1] == "  and 4971 more"
    assert len(str(caught.value)) < 5000
    assert str(caught.value).isprintable()


def test_null_is_absence(path: str) -> None:
    pod = manifest.check(changed("spec.initContainers", None), path)
    assert pod.init == ()


def test_name_of_the_command_line(path: str) -> None:
    assert manifest.check(MINIMAL, path, "other").name == "other"
    with pytest.raises(PodError, match="^flag --name: 'Other' is not a name"):
        manifest.check(MINIMAL, path, "Other")
    with pytest.raises(PodError, match="metadata.nam: unknown field"):
        manifest.check(changed("metadata.nam", "x"), path, "other")


def test_security_of_pod_and_container(path: str) -> None:
    document = changed(
        "spec.securityContext",
        {"runAsUser": 7, "runAsGroup": 8, "supplementalGroups": [9, 10], "fsGroup": 11, "runAsNonRoot": True},
    )
    document["spec"]["containers"].append(
        {
            "name": "d",
            "image": "dir:image",
            "args": ["x"],
            "securityContext": {
                "runAsUser": 70,
                "capabilities": {"add": ["SYS_TIME"], "drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "privileged": False,
            },
        }
    )
    first, second = manifest.check(document, path).containers
    assert (first.security.user, first.security.group, first.security.groups) == (7, 8, (9, 10, 11))
    assert (second.security.user, second.security.group) == (70, 8)
    assert (second.security.add, second.security.drop) == (("SYS_TIME",), ("ALL",))
    assert second.security.readonly_root
    assert second.security.no_new_privileges


def test_volumes(path: str) -> None:
    document = changed(
        "spec.volumes",
        [
            {"name": "disk", "emptyDir": {}},
            {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "host", "hostPath": {"path": "/srv", "type": "Directory"}},
        ],
    )
    pod: Pod = manifest.check(document, path)
    assert [(v.name, v.kind, v.path, v.check, v.size) for v in pod.volumes] == [
        ("disk", "emptyDir", "", "", None),
        ("ram", "memory", "", "", 1 << 20),
        ("host", "hostPath", "/srv", "Directory", None),
    ]


def test_resources(path: str) -> None:
    assert container(path, resources={"limits": {"cpu": 0.5, "memory": "64Mi"}}).resources.cpu_request == 500
    both = container(path, resources={"limits": {"cpu": "2"}, "requests": {"cpu": "100m", "memory": "1G"}}).resources
    assert (both.cpu_limit, both.cpu_request, both.memory_limit) == (2000, 100, None)


@pytest.mark.parametrize(
    ("text", "number"),
    [("100m", 100), ("0.5", 500), (0.5, 500), (2, 2000), ("1e3", 1_000_000), (".25", 250), ("1u", 1), ("0", 0)],
)
def test_processors(text: Any, number: int) -> None:
    assert quantity.millis(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("64Mi", 64 << 20), ("1G", 10**9), ("1.5Gi", 3 << 29), ("1k", 1000), (4096, 4096), ("100m", 1), ("1E", 10**18)],
)
def test_bytes(text: Any, number: int) -> None:
    assert quantity.whole(text) == number


@pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1GiB", "0x10", "1ee3", True, None, "9E9E", "16Ei", "-1", "1" * 80])
def test_no_quantity(text: Any) -> None:
    with pytest.raises(ValueError):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a: 1\nb: 2\na: 3\n", "m: line 3 column 1: key 'a' is given twice"),
        (b"a: [1\n", "m: line 2 column 1:"),
        (b"1: 2\n", "m: line 1 column 1: a key is not a string"),
        (b"? [a]\n: 1\n", "a key is not a string"),
        (b"a: 1\n---\nb: 2\n", "m: 2 documents, but a manifest is one v1 Pod"),
        (b"", "m: 0 documents"),
        (b"a: !!python/object/apply:os.system [id]\n", "python/object/apply:os.system' is not allowed"),
        (b"a: \x00\n", "m: "),
        (b"\xff\xfe\xff", "m: "),
        (b"[" * 5000, "m: "),
        (b"a: *b\n", "found undefined alias"),
        (b"[" * 65 + b"]" * 65, "m: line 1 column 65: nested more than 64 levels deep"),
        (b"- " * 65 + b"a", "m: line 1 column 129: nested more than 64 levels deep"),
        (b"- a\n" * 20000, "m: line 20000 column 3: more than 20000 values"),
        (b"---\na\n" * 20001, "more than 20000 values"),
        (b"a: &a {<<: *a}\n", "m: line 1 column 4: a mapping merges itself"),
        (b"a: {<<: b}\n", "a merge (<<) names what is not a mapping"),
        (
            b"a: &a {" + b"".join(b"k%d: 1, " % n for n in range(200)) + b"}\nb: {<<: [" + b"*a, " * 200 + b"]}\n",
            "than 20000 v",
        ),
        (b"a: 1" + b":1" * 50000, "m: line 1 column 4: a number is too long"),
        (b"a: !!int 1" + b":1" * 50000, "a number is too long"),
        (b"a: !!set {b, c}\n", "set' is not allowed"),
        (b"a: !" + b"t" * 70000 + b" 1\n", "is not allowed"),
    ],
)
def test_yaml_refused(text: bytes, expected: str) -> None:
    with pytest.raises(PodError) as caught:
        yamltext.parse(text, "m")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_anchors_and_merges() -> None:
    text = b"base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\n---\n"
    assert yamltext.parse(text, "m") == {"base": {"x": 1, "y": 2}, "other": {"x": 1, "y": 3}}
    text = b"a: &a {x: 1, z: 0}\nb: &b {<<: *a, x: 2}\nc: {y: 4, <<: [*b, *a]}\n"  # the first one named wins
    assert yamltext.parse(text, "m") == {"a": {"x": 1, "z": 0}, "b": {"x": 2, "z": 0}, "c": {"x": 2, "z": 0, "y": 4}}


def test_nested_merges_do_not_multiply() -> None:
    text = "a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 41))
    assert len(text) < 1300
    document = yamltext.parse(text.encode(), "m")
    assert isinstance(document, dict)
    assert document["a40"] == {"x": 1, "y": 2}


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="No such file"):
        manifest.load(str(tmp_path / "none.yaml"))


def test_file_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_bytes(b"#" * (yamltext.LARGEST + 1))
    with pytest.raises(PodError, match="longer than"):
        manifest.load(str(tmp_path / "long.yaml"))
