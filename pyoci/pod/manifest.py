# SPDX-License-Identifier: Apache-2.0
"""Turns a Kubernetes ``v1 Pod`` manifest into a pyoci.pod.model.Pod.

Every property is used, refused by its path, or listed below as without effect on a single machine. Properties have the
meaning of the Kubernetes API reference (core/v1 PodSpec); docs/pods.md has the differences.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pyoci.errors import PodError
from pyoci.pod import capabilities, quantity, yamltext
from pyoci.pod.fields import Faults, Fields, is_subdomain, shown
from pyoci.pod.model import SANDBOX, Container, Mount, Pod, Resources, Security, Volume

_ID = 2**31 - 1  # the API server's own limit for user and group IDs
_RESTART = ("Always", "OnFailure", "Never")
_HOST_PATH_TYPES = ("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")

# What a cluster adds to a pod, for a scheduler, an API server or a registry. It has no effect on a single machine and
# is ignored, so that the output of `kubectl get pod -o yaml` can be run. `pod run` names what it ignores.
_IGNORED_METADATA = (
    "creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName generation managedFields "
    "namespace ownerReferences resourceVersion selfLink uid"
)
_IGNORED_SPEC = (
    "affinity automountServiceAccountToken dnsPolicy enableServiceLinks imagePullSecrets nodeName nodeSelector "
    "overhead preemptionPolicy priority priorityClassName readinessGates schedulerName schedulingGates serviceAccount "
    "serviceAccountName tolerations topologySpreadConstraints"
)
_IGNORED_CONTAINER = "imagePullPolicy resizePolicy terminationMessagePath terminationMessagePolicy"
_TOKEN_VOLUME = "kube-api-access-"  # the volume that the ServiceAccount admission of an API server adds

# Names of Kubernetes 1.34 at these places that pyoci does not support. The error for them is "not supported", and
# "unknown field" for any other.
_SPEC = (
    "activeDeadlineSeconds dnsConfig ephemeralContainers hostAliases hostnameOverride resourceClaims resources "
    "runtimeClassName setHostnameAsFQDN subdomain"
)
_POD_SECURITY = (
    "appArmorProfile seLinuxChangePolicy seLinuxOptions seccompProfile supplementalGroupsPolicy sysctls windowsOptions"
)
_CONTAINER = (
    "envFrom lifecycle livenessProbe readinessProbe restartPolicy restartPolicyRules startupProbe volumeDevices"
)
_SECURITY = "appArmorProfile seLinuxOptions windowsOptions"
_VOLUME = (
    "awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI ephemeral fc flexVolume flocker "
    "gcePersistentDisk gitRepo glusterfs image iscsi nfs persistentVolumeClaim photonPersistentDisk portworxVolume "
    "projected quobyte rbd scaleIO secret storageos vsphereVolume"
)
_UNCONFINED = {"type": "Unconfined"}


@dataclass(frozen=True, slots=True)
class _PodSecurity:
    user: int
    group: int
    groups: tuple[int, ...]
    non_root: bool
    fs_group: int | None


@dataclass(frozen=True, slots=True)
class _Volumes:
    """named: by name; missing: names of ignored and faulty volumes, whose mounts are not reported again."""

    named: dict[str, Volume]
    missing: dict[str, bool]  # name → whether it is ignored


def load(path: str, name: str = "") -> Pod:
    """Returns the pod that the manifest at ``path`` describes. name: replaces metadata.name.

    Raises PodError, which names the file and each property at fault. Image directories must exist.
    """
    data = yamltext.read(path)
    return check(yamltext.parse(data, path), path, name, data)


def check(document: object, path: str, name: str = "", text: bytes = b"") -> Pod:
    """Returns the pod of a parsed document. path: of the manifest, images are relative to its directory; text: of the
    manifest. Raises PodError.
    """
    if name and not is_subdomain(name):
        raise PodError(f"flag --name: {shown(name)} is not a name of a-z, 0-9, '-' and '.' with at most 63 characters")
    faults = Faults(os.path.basename(path))
    top = Fields(faults, "", document, ignored="status")
    if isinstance(document, dict):
        top.choice("apiVersion", ("v1",))
        top.choice("kind", ("Pod",))
    faults.end()  # faults of another kind of document are of no interest
    metadata = top.child("metadata", ignored=_IGNORED_METADATA)
    own = metadata.take("name") if name else metadata.subdomain("name")
    labels, annotations = metadata.map("labels"), metadata.map("annotations")
    metadata.end()
    if not top.has("spec"):
        top.fault("spec", "is missing")
        faults.end()
    spec = top.child("spec", _SPEC, _IGNORED_SPEC)
    top.end()
    pod = _pod(spec, name or str(own), os.path.abspath(path), labels, annotations, text)
    faults.end()
    return pod


def _pod(spec: Fields, name: str, source: str, labels: dict[str, str], annotations: dict[str, str], text: bytes) -> Pod:
    security, volumes = (
        _pod_security(spec.child("securityContext", _POD_SECURITY, "fsGroupChangePolicy")),
        _volumes(spec),
    )
    init = _containers(spec, "initContainers", source, security, volumes)
    containers = _containers(spec, "containers", source, security, volumes, "a pod needs at least one")
    _unique(spec, init + containers)
    hostname = spec.label("hostname") if spec.has("hostname") else name
    grace = spec.integer("terminationGracePeriodSeconds", 0, 10**6)
    restart, share_pid = spec.choice("restartPolicy", _RESTART, "Always"), spec.boolean("shareProcessNamespace")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        spec.only(key, False, "false")
    spec.only("hostUsers", True, "true")
    spec.only("os", {"name": "linux"}, "linux")
    spec.end()
    return Pod(
        name=name, hostname=hostname, source=source, text=text, labels=labels, annotations=annotations, init=init,
        containers=containers, volumes=tuple(volumes.named.values()), restart=restart,
        grace=30 if grace is None else grace, share_pid=share_pid, fs_group=security.fs_group,
        ignored=tuple(spec.faults.ignored),
    )  # fmt: skip


def _containers(
    spec: Fields, key: str, source: str, security: _PodSecurity, volumes: _Volumes, needed: str = ""
) -> tuple[Container, ...]:
    items = spec.children(key, _CONTAINER, _IGNORED_CONTAINER, needed)
    return tuple(_container(item, source, security, volumes) for item in items)


def _unique(spec: Fields, containers: tuple[Container, ...]) -> None:
    seen = {SANDBOX: "the sandbox"}
    for container in containers:
        if container.name in seen:
            key = container.where.removeprefix("spec.") + ".name"
            spec.fault(key, f"{container.name!r} is already the name of {seen[container.name]}")
        elif container.name:
            seen[container.name] = container.where


def _pod_security(fields: Fields) -> _PodSecurity:
    security = _PodSecurity(
        user=fields.integer("runAsUser", 0, _ID) or 0,
        group=fields.integer("runAsGroup", 0, _ID) or 0,
        groups=fields.integers("supplementalGroups", 0, _ID),
        non_root=fields.boolean("runAsNonRoot"),
        fs_group=fields.integer("fsGroup", 0, _ID),
    )
    fields.only("seccompProfile", _UNCONFINED, "type: Unconfined")
    fields.end()
    return security


def _volumes(spec: Fields) -> _Volumes:
    volumes = _Volumes({}, {})
    for fields in spec.children("volumes", _VOLUME):
        name = fields.label("name")
        if name in volumes.named or name in volumes.missing:
            fields.fault("name", f"{name!r} is already the name of another volume")
        if name.startswith(_TOKEN_VOLUME) and fields.has("projected"):
            fields.ignore("projected")
            volumes.missing[name] = True
        elif fields.has("emptyDir") and not fields.has("hostPath"):
            volumes.named[name] = _empty_dir(fields.child("emptyDir"), name)
        elif fields.has("hostPath") and not fields.has("emptyDir"):
            volumes.named[name] = _host_path(fields.child("hostPath"), name)
        else:
            volumes.missing[name] = False
            if fields.has("emptyDir") or not any(fields.has(kind) for kind in _VOLUME.split()):
                fields.fault("", "needs one of emptyDir: {} and hostPath: {path: ...}")
            fields.take("emptyDir"), fields.take("hostPath")
        fields.end()
    return volumes


def _empty_dir(source: Fields, name: str) -> Volume:
    memory = source.choice("medium", ("", "Memory"), "") == "Memory"
    if not memory:
        source.refuse("sizeLimit", "only medium: Memory can hold an emptyDir to a size")
    size = source.quantity("sizeLimit", quantity.whole)
    source.end()
    return Volume(name, "memory" if memory else "emptyDir", size=size or None)


def _host_path(source: Fields, name: str) -> Volume:
    missing = not source.has("path")
    path = source.text("path")
    if not missing and (not path.startswith("/") or ".." in path.split("/")):
        source.fault("path", f"must be absolute and without '..', it is {shown(path)}")
    volume = Volume(name, "hostPath", path, source.choice("type", _HOST_PATH_TYPES, ""))
    source.end()
    return volume


def _container(fields: Fields, source: str, pod: _PodSecurity, volumes: _Volumes) -> Container:
    name = fields.label("name")
    image = _image(fields, os.path.dirname(source))
    before = fields.faults.count
    command, args = fields.texts("command"), fields.texts("args")
    if fields.faults.count == before and not "".join((command + args)[:1]):
        fields.fault("command", "is missing: an image that is a directory names no program")
    cwd = fields.text("workingDir", "/") or "/"
    if not cwd.startswith("/"):
        fields.fault("workingDir", f"must be absolute, it is {shown(cwd)}")
    _ports(fields)
    for key in ("stdin", "stdinOnce", "tty"):
        fields.only(key, False, "false")
    container = Container(
        name=name, where=fields.path, image=image, command=command, args=args, cwd=cwd, env=_environment(fields),
        mounts=_mounts(fields, volumes), security=_security(fields, pod), resources=_resources(fields),
    )  # fmt: skip
    fields.end()
    return container


def _image(fields: Fields, base: str) -> str:
    missing = not fields.has("image")
    image = fields.text("image")
    kind, _, path = image.partition(":")
    if missing or kind != "dir" or not path:
        if not missing:
            fields.fault("image", f"must be dir:PATH, a root file system on disk; it is {shown(image)}")
        return ""
    path = os.path.realpath(os.path.join(base, path))
    if not os.path.isdir(path):
        fields.fault("image", f"there is no directory {path}")
    return path


def _ports(fields: Fields) -> None:
    """Checks the ports. They only inform the reader: containers in the network namespace reach all ports."""
    for port in fields.children("ports"):
        port.refuse("hostPort", "a pod has a network of its own")
        port.refuse("hostIP", "a pod has a network of its own")
        if not port.has("containerPort"):
            port.fault("containerPort", "is missing")
        port.integer("containerPort", 1, 65535)
        port.text("name", "")
        port.choice("protocol", ("TCP", "UDP", "SCTP"), "TCP")
        port.end()


def _environment(fields: Fields) -> tuple[tuple[str, str], ...]:
    pairs = []
    for item in fields.children("env", "valueFrom"):
        missing = not item.has("name")
        name = item.text("name")
        if not missing and (not name or "=" in name):
            item.fault("name", f"{shown(name)} cannot name a variable")
        pairs.append((name, item.text("value", "")))
        item.end()
    return tuple(pairs)


def _mounts(fields: Fields, volumes: _Volumes) -> tuple[Mount, ...]:
    mounts: dict[str, Mount] = {}
    for item in fields.children("volumeMounts", "recursiveReadOnly subPath subPathExpr"):
        mount = _mount(item, volumes)
        item.end()
        if mount is None:
            continue
        if mount.path in mounts:
            item.fault("mountPath", f"{shown(mount.path)} is already used by volume {mounts[mount.path].volume!r}")
        mounts[mount.path] = mount
    return tuple(mounts.values())


def _mount(item: Fields, volumes: _Volumes) -> Mount | None:
    """Returns a mount, or None if its volume does not exist."""
    missing = not item.has("mountPath")
    name, path = item.text("name"), item.text("mountPath")
    if volumes.missing.get(name):
        item.faults.ignored.append(item.path)
    elif name and name not in volumes.named and name not in volumes.missing:
        item.fault("name", f"there is no volume {shown(name)} in spec.volumes")
    target = os.path.normpath(path).replace("//", "/")
    if not missing and (not path.startswith("/") or target == "/" or ".." in path.split("/") or ":" in path):
        item.fault("mountPath", f"must be absolute, without '..' and ':', and not the root; it is {shown(path)}")
    way = item.choice("mountPropagation", ("None", "HostToContainer", "Bidirectional"), "None")
    if way == "Bidirectional":
        item.fault("mountPropagation", "not supported: Bidirectional needs a privileged container")
    readonly = item.boolean("readOnly")
    if name not in volumes.named:
        return None
    return Mount(name, target, readonly, "slave" if way == "HostToContainer" else "private")


def _security(fields: Fields, pod: _PodSecurity) -> Security:
    own = fields.child("securityContext", _SECURITY)
    own.only("privileged", False, "false")
    own.only("procMount", "Default", "Default")
    own.only("seccompProfile", _UNCONFINED, "type: Unconfined")
    user, group = own.integer("runAsUser", 0, _ID), own.integer("runAsGroup", 0, _ID)
    user, group = pod.user if user is None else user, pod.group if group is None else group
    if own.boolean("runAsNonRoot", pod.non_root) and user == 0:
        own.fault("runAsNonRoot", "the user is 0; give runAsUser another value")
    granted = own.child("capabilities")
    security = Security(
        user=user,
        group=group,
        groups=pod.groups + (() if pod.fs_group is None else (pod.fs_group,)),
        add=granted.texts("add"),
        drop=granted.texts("drop"),
        readonly_root=own.boolean("readOnlyRootFilesystem"),
        no_new_privileges=not own.boolean("allowPrivilegeEscalation", True),
    )
    for key, names in (("add", security.add), ("drop", security.drop)):
        for index, name in enumerate(names):
            if name and not capabilities.known(name):
                granted.fault(f"{key}[{index}]", f"{shown(name)} is not a capability (as NET_BIND_SERVICE, or ALL)")
    granted.end()
    own.end()
    return security


def _resources(fields: Fields) -> Resources:
    resources = fields.child("resources", "claims")
    limits, requests = resources.child("limits"), resources.child("requests")
    cpu, memory = limits.quantity("cpu", quantity.millis), limits.quantity("memory", quantity.whole)
    cpu_request = requests.quantity("cpu", quantity.millis)
    # A request for memory is for a scheduler, which a single machine does not have.
    memory_request = requests.quantity("memory", quantity.whole)
    for kind, least, most in (("cpu", cpu_request, cpu), ("memory", memory_request, memory)):
        if least is not None and most is not None and least > most:
            requests.fault(kind, f"is larger than {limits.at(kind)}")
    for part in (limits, requests, resources):
        part.end()
    # For kubelet, a limit of 0 is no limit, and a missing request equals the limit.
    return Resources(cpu or None, cpu_request if cpu_request is not None else cpu or None, memory or None)
