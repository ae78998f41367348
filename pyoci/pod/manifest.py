# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes ``v1 Pod`` manifest → pyoci.pod.model.Pod.

Every property is either used or refused by its path: nothing in a manifest is skipped. The meaning of each is that of
the Kubernetes API reference (core/v1 PodSpec); what differs without a cluster is in docs/pods.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from pyoci.pod import capabilities, quantity, yamltext
from pyoci.pod.fields import Fields
from pyoci.pod.model import SANDBOX, Container, Mount, Pod, Resources, Security, Volume

_ID = 2**31 - 1  # the API server's own limit for user and group IDs
_RESTART = ("Always", "OnFailure", "Never")
_HOST_PATH_TYPES = ("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")

# Names that Kubernetes 1.34 has at these places and pyoci does not: an error says "not supported" for
# them and "unknown field" for any other.
_METADATA = (
    "creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName generation managedFields "
    "namespace ownerReferences resourceVersion selfLink uid"
)
_SPEC = (
    "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks "
    "ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostnameOverride imagePullSecrets nodeName "
    "nodeSelector os overhead preemptionPolicy priority priorityClassName readinessGates resourceClaims resources "
    "runtimeClassName schedulerName schedulingGates serviceAccount serviceAccountName setHostnameAsFQDN subdomain "
    "tolerations topologySpreadConstraints"
)
_POD_SECURITY = (
    "appArmorProfile fsGroupChangePolicy seLinuxChangePolicy seLinuxOptions seccompProfile supplementalGroupsPolicy "
    "sysctls windowsOptions"
)
_CONTAINER = (
    "envFrom imagePullPolicy lifecycle livenessProbe readinessProbe resizePolicy restartPolicy restartPolicyRules "
    "startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices"
)
_SECURITY = "appArmorProfile procMount seLinuxOptions seccompProfile windowsOptions"
_VOLUME = (
    "awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI ephemeral fc flexVolume flocker "
    "gcePersistentDisk gitRepo glusterfs image iscsi nfs persistentVolumeClaim photonPersistentDisk portworxVolume "
    "projected quobyte rbd scaleIO secret storageos vsphereVolume"
)


@dataclass(frozen=True, slots=True)
class _PodSecurity:
    user: int
    group: int
    groups: tuple[int, ...]
    non_root: bool
    fs_group: int | None


def load(path: str, name: str = "") -> Pod:
    """The pod that the manifest at ``path`` describes; ``name`` takes the place of metadata.name.

    Raises PodError: one line that names the file and the property. Image directories have to exist.
    """
    return check(yamltext.load(path), path, name)


def check(document: Any, path: str, name: str = "") -> Pod:
    """The pod of a parsed document that was read from ``path`` (images are relative to its directory)."""
    top = Fields(os.path.basename(path), "", document, "status")
    top.choice("apiVersion", ("v1",))
    top.choice("kind", ("Pod",))
    metadata = top.child("metadata", _METADATA)
    if name:
        metadata.any("name")
        metadata = _renamed(metadata, name)
    spec = top.child("spec", _SPEC) if top.has("spec") else None
    pod_name = metadata.subdomain("name")
    labels, annotations = metadata.map("labels"), metadata.map("annotations")
    metadata.end()
    top.end()
    if spec is None:
        raise top.error("spec", "is missing")
    return _pod(spec, pod_name, os.path.abspath(path), labels, annotations)


def _renamed(metadata: Fields, name: str) -> Fields:
    """The same metadata with another name, whose errors speak of ``--name``."""
    left = {key: metadata.any(key) for key in ("labels", "annotations")}
    metadata.end()
    Fields("--name", "", {"name": name}).subdomain("name")
    return Fields(metadata.name, metadata.path, {"name": name, **left})


def _pod(spec: Fields, name: str, source: str, labels: dict[str, str], annotations: dict[str, str]) -> Pod:
    security, volumes = _pod_security(spec.child("securityContext", _POD_SECURITY)), _volumes(spec)
    init = tuple(_container(item, source, security, volumes) for item in spec.children("initContainers", _CONTAINER))
    containers = tuple(_container(item, source, security, volumes) for item in spec.children("containers", _CONTAINER))
    if not containers:
        raise spec.error("containers", "a pod needs at least one")
    _unique(spec, init + containers)
    hostname = spec.text("hostname", name)
    if hostname != name:
        hostname = Fields(spec.name, spec.path, {"hostname": hostname}).label("hostname")
    grace = spec.integer("terminationGracePeriodSeconds", 0, 10**6, 30)
    assert grace is not None
    pod = Pod(
        name=name, hostname=hostname, source=source, labels=labels, annotations=annotations, init=init,
        containers=containers, volumes=tuple(volumes.values()),
        restart=spec.choice("restartPolicy", _RESTART, "Always"), grace=grace,
        share_pid=spec.boolean("shareProcessNamespace"), fs_group=security.fs_group,
    )  # fmt: skip
    spec.end()
    return pod


def _unique(spec: Fields, containers: tuple[Container, ...]) -> None:
    seen = {SANDBOX: "the sandbox"}
    for container in containers:
        if container.name in seen:
            key = container.where.removeprefix("spec.") + ".name"
            raise spec.error(key, f"{container.name!r} is already the name of {seen[container.name]}")
        seen[container.name] = container.where


def _pod_security(fields: Fields) -> _PodSecurity:
    security = _PodSecurity(
        user=fields.integer("runAsUser", 0, _ID, 0) or 0,
        group=fields.integer("runAsGroup", 0, _ID, 0) or 0,
        groups=fields.integers("supplementalGroups", 0, _ID),
        non_root=fields.boolean("runAsNonRoot"),
        fs_group=fields.integer("fsGroup", 0, _ID),
    )
    fields.end()
    return security


def _volumes(spec: Fields) -> dict[str, Volume]:
    volumes: dict[str, Volume] = {}
    for fields in spec.children("volumes", _VOLUME):
        name = fields.label("name")
        if name in volumes:
            raise fields.error("name", f"{name!r} is already the name of another volume")
        if fields.has("emptyDir") == fields.has("hostPath") and not _foreign_volume(fields):
            raise fields.error("", "needs one of emptyDir: {} and hostPath: {path: ...}")
        volumes[name] = _empty_dir(fields, name) if fields.has("emptyDir") else _host_path(fields, name)
        fields.end()
    return volumes


def _foreign_volume(fields: Fields) -> bool:
    """Raises for a kind of volume that is not supported; else there is none, and the answer is False."""
    if not fields.has("emptyDir") and not fields.has("hostPath"):
        fields.end()
    return False


def _empty_dir(fields: Fields, name: str) -> Volume:
    source = fields.child("emptyDir")
    memory = source.choice("medium", ("", "Memory"), "") == "Memory"
    if not memory:
        source.refuse("sizeLimit", "only medium: Memory can hold an emptyDir to a size")
    size = source.quantity("sizeLimit", quantity.whole)
    source.end()
    return Volume(name, "memory" if memory else "emptyDir", size=size or None)


def _host_path(fields: Fields, name: str) -> Volume:
    source = fields.child("hostPath")
    path = source.text("path")
    if not path.startswith("/") or ".." in path.split("/"):
        raise source.error("path", f"must be absolute and without '..', it is {path!r}")
    volume = Volume(name, "hostPath", path, source.choice("type", _HOST_PATH_TYPES, ""))
    source.end()
    return volume


def _container(fields: Fields, source: str, pod: _PodSecurity, volumes: dict[str, Volume]) -> Container:
    name = fields.label("name")
    image = _image(fields, os.path.dirname(source))
    command, args = fields.texts("command"), fields.texts("args")
    if not (command + args) or not (command + args)[0]:
        raise fields.error("command", "is missing: an image that is a directory names no program")
    cwd = fields.text("workingDir", "/") or "/"
    if not cwd.startswith("/"):
        raise fields.error("workingDir", f"must be absolute, it is {cwd!r}")
    _ports(fields)
    container = Container(
        name=name, where=fields.path, image=image, command=command, args=args, cwd=cwd, env=_environment(fields),
        mounts=_mounts(fields, volumes), security=_security(fields, pod), resources=_resources(fields),
    )  # fmt: skip
    fields.end()
    return container


def _image(fields: Fields, base: str) -> str:
    image = fields.text("image")
    kind, _, path = image.partition(":")
    if kind != "dir" or not path:
        raise fields.error("image", f"must be dir:PATH, a root file system on disk; it is {image!r}")
    path = os.path.realpath(os.path.join(base, path))
    if not os.path.isdir(path):
        raise fields.error("image", f"there is no directory {path}")
    return path


def _ports(fields: Fields) -> None:
    """Ports inform the reader of a manifest; whoever shares the network namespace reaches all of them."""
    for port in fields.children("ports"):
        port.refuse("hostPort", "a pod has a network of its own")
        port.refuse("hostIP", "a pod has a network of its own")
        if port.integer("containerPort", 1, 65535) is None:
            raise port.error("containerPort", "is missing")
        port.text("name", "")
        port.choice("protocol", ("TCP", "UDP", "SCTP"), "TCP")
        port.end()


def _environment(fields: Fields) -> tuple[tuple[str, str], ...]:
    pairs = []
    for item in fields.children("env", "valueFrom"):
        name = item.text("name")
        if not name or "=" in name:
            raise item.error("name", f"{name!r} cannot name a variable")
        pairs.append((name, item.text("value", "")))
        item.end()
    return tuple(pairs)


def _mounts(fields: Fields, volumes: dict[str, Volume]) -> tuple[Mount, ...]:
    mounts: dict[str, Mount] = {}
    for item in fields.children("volumeMounts", "recursiveReadOnly subPath subPathExpr"):
        name, path = item.text("name"), item.text("mountPath")
        if name not in volumes:
            raise item.error("name", f"there is no volume {name!r} in spec.volumes")
        target = os.path.normpath(path).replace("//", "/")
        if not path.startswith("/") or target == "/" or ".." in path.split("/") or ":" in path:
            raise item.error("mountPath", f"must be absolute, without '..' and ':', and not the root; it is {path!r}")
        if target in mounts:
            raise item.error("mountPath", f"{target!r} is already used by volume {mounts[target].volume!r}")
        way = item.choice("mountPropagation", ("None", "HostToContainer", "Bidirectional"), "None")
        if way == "Bidirectional":
            raise item.error("mountPropagation", "not supported: Bidirectional needs a privileged container")
        readonly = item.boolean("readOnly")
        mounts[target] = Mount(name, target, readonly, "slave" if way == "HostToContainer" else "private")
        item.end()
    return tuple(mounts.values())


def _security(fields: Fields, pod: _PodSecurity) -> Security:
    own = fields.child("securityContext", _SECURITY)
    if own.boolean("privileged"):
        raise own.error("privileged", "not supported")
    user = own.integer("runAsUser", 0, _ID, pod.user) or 0
    if own.boolean("runAsNonRoot", pod.non_root) and user == 0:
        raise own.error("runAsNonRoot", "the user is 0; give runAsUser another value")
    capabilities = own.child("capabilities")
    security = Security(
        user=user,
        group=own.integer("runAsGroup", 0, _ID, pod.group) or 0,
        groups=pod.groups + (() if pod.fs_group is None else (pod.fs_group,)),
        add=capabilities.texts("add"),
        drop=capabilities.texts("drop"),
        readonly_root=own.boolean("readOnlyRootFilesystem"),
        no_new_privileges=not own.boolean("allowPrivilegeEscalation", True),
    )
    for key, names in (("add", security.add), ("drop", security.drop)):
        _known_capabilities(capabilities, key, names)
    capabilities.end()
    own.end()
    return security


def _known_capabilities(fields: Fields, key: str, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        if not capabilities.known(name):
            raise fields.error(f"{key}[{index}]", f"{name!r} is not a capability (as NET_BIND_SERVICE, or ALL)")


def _resources(fields: Fields) -> Resources:
    resources = fields.child("resources", "claims")
    limits, requests = resources.child("limits"), resources.child("requests")
    cpu, memory = limits.quantity("cpu", quantity.millis), limits.quantity("memory", quantity.whole)
    cpu_request = requests.quantity("cpu", quantity.millis)
    # A request for memory is the scheduler's business: on one machine there is nobody to promise it.
    memory_request = requests.quantity("memory", quantity.whole)
    for kind, least, most in (("cpu", cpu_request, cpu), ("memory", memory_request, memory)):
        if least is not None and most is not None and least > most:
            raise requests.error(kind, f"is larger than {limits.at(kind)}")
    for part in (limits, requests, resources):
        part.end()
    # kubelet reads a limit of 0 as none, and a missing request as one that equals the limit.
    return Resources(cpu or None, cpu_request if cpu_request is not None else cpu or None, memory or None)
