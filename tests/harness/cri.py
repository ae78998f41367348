# SPDX-License-Identifier: Apache-2.0
"""Calls a containerd of the tests through the CRI, as the kubelet does.

`Client.call` takes the name of a method and the fields of its request, by their names in cri.proto. A message is a
dict, and the value of an enum is its name."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from harness import host, inspection, reaper
from harness.bundle import MASKED, READONLY
from harness.containerd import IMAGE, SETTINGS, Containerd
from harness.podman import PAUSE_IMAGE, PAUSE_NAME
from harness.runtime import COMMAND, wait_until

PACKAGE = "runtime.v1"
NAMESPACE = "k8s.io"  # containerd's name for what belongs to the CRI
IMAGE_SERVICE = ("ListImages", "ImageStatus")
HANDLER = "tested"
STATES = ("CREATED", "RUNNING", "EXITED", "UNKNOWN")  # of a container
EXITED = STATES.index("EXITED")
FIELD = descriptor_pb2.FieldDescriptorProto

CRI_SETTINGS = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{{tmp}}/cni/bin"
  conf_dir = "{{tmp}}/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
  default_runtime_name = "{default}"
"""
HANDLER_SETTINGS = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
  BinaryName = "{command}"
  Root = "{{tmp}}/runtime/{name}"
  SystemdCgroup = false
"""
NETWORK = """{"cniVersion": "0.4.0", "name": "pod", "type": "loopback"}\n"""
# A CNI plugin: containerd brings up `lo` by the plugin of that name, and here the pod's network is nothing else.
PLUGIN = """#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}' ;;
ADD)
    nsenter --net="$CNI_NETNS" ip link set lo up || exit 1
    echo '{"cniVersion": "0.3.1", "interfaces": [{"name": "'"$CNI_IFNAME"'", "sandbox": "'"$CNI_NETNS"'"}],
        "ips": [{"version": "4", "address": "127.0.0.1/8", "interface": 0}]}' ;;
esac
"""


def settings(handlers: Mapping[str, str]) -> str:
    """containerd's configuration with the CRI plugin and `handler -> program`, the first as the default.

    `{tmp}` is left for the directory that all is below.
    """
    text = SETTINGS.replace('"io.containerd.grpc.v1.cri", ', "")
    text += CRI_SETTINGS.format(pause=PAUSE_NAME, default=next(iter(handlers)))
    return text + "".join(HANDLER_SETTINGS.format(name=name, command=command) for name, command in handlers.items())


def write_network(directory: Path) -> None:
    """The CNI configuration and its plugin that the settings name, below their directory."""
    for name, text in (("net.d/10-pod.conf", NETWORK), ("bin/loopback", PLUGIN)):
        path = directory / "cni" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


@functools.cache
def messages() -> dict[str, Any]:
    """Returns the classes of cri.proto, by their names."""
    text = re.sub("//.*", "", Path(__file__).with_suffix(".proto").read_text())
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=PACKAGE, syntax="proto3")
    for kind, name, body in re.findall(r"^(message|enum) (\w+) \{(.*?)\}", text, re.DOTALL | re.MULTILINE):
        if kind == "enum":
            values = re.findall(r"(\w+) = (\d+);", body)
            file.enum_type.add(name=name, value=[{"name": label, "number": int(number)} for label, number in values])
            continue
        made = file.message_type.add(name=name)
        for repeated, of, field, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body):
            label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            scalar = getattr(FIELD, f"TYPE_{of.upper()}", None)
            what = {"type_name": f".{PACKAGE}.{of}"} if scalar is None else {"type": scalar}
            made.field.add(name=field, number=int(number), label=label, **what)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.removeprefix(f"{PACKAGE}."): one for name, one in classes.items()}


class Client:
    """A connection to the two services of the CRI."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def call(self, method: str, within: float = 30, **fields: Any) -> Any:
        """Calls a method; its response. Raises grpc.RpcError when it fails or takes longer than `within` seconds."""
        known = messages()
        service = "ImageService" if method in IMAGE_SERVICE else "RuntimeService"
        request = known[f"{method}Request"](**fields)
        stub = self._channel.unary_unary(
            f"/{PACKAGE}.{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=known[f"{method}Response"].FromString,
        )
        return stub(request, timeout=within, wait_for_ready=True)

    def close(self) -> None:
        """Ends the connection and its threads."""
        self._channel.close()


def pod_config(name: str, parent: str, logs: Path, **security: Any) -> dict[str, Any]:
    """Returns a PodSandboxConfig as the kubelet writes it. `security` adds to its LinuxSandboxSecurityContext."""
    context = {"seccomp": {"profile_type": "RuntimeDefault"}, **security}
    context["namespace_options"] = {"pid": "CONTAINER", **context.get("namespace_options", {})}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default"},
        "hostname": "" if context["namespace_options"].get("network") == "NODE" else name,
        "log_directory": str(logs),
        "linux": {"cgroup_parent": parent, "security_context": context},
    }


def container_config(name: str, *command: str, **more: Any) -> dict[str, Any]:
    """Returns a ContainerConfig of the busybox image; `more` are further fields of it."""
    return {
        "metadata": {"name": name},
        "image": {"image": IMAGE},
        "command": list(command),
        "log_path": f"{name}.log",
        **more,
    }


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns a map, as it is on the wire."""
    return [{"key": key, "value": value} for key, value in values.items()]


def pid_of(info: Any) -> int:
    """Returns the process that a verbose answer names."""
    return int(json.loads({pair.key: pair.value for pair in info}["info"])["pid"])


class Cri(Containerd):
    """One containerd with the CRI plugin and the runtime under test as its handler."""

    def __init__(self, busybox: Path) -> None:
        super().__init__(busybox, settings({HANDLER: str(COMMAND)}), NAMESPACE)
        self.parent = self.tmp.name
        self.pods = 0
        self.client = Client(self.tmp / "sock")
        self.ok("images", "import", "--snapshotter", "native", str(PAUSE_IMAGE))
        wait_until(lambda: len(self.client.call("ListImages").images) == 2, "both images in the CRI", 20)

    def start_daemon(self) -> subprocess.Popen[bytes]:
        """Starts the daemon with the pods' network."""
        write_network(self.tmp)
        return super().start_daemon()

    def restart(self) -> None:
        """Ends the daemon and starts it anew."""
        self.client.close()
        self.stop_daemon()
        self.daemon = self.start_daemon()
        self.client = Client(self.tmp / "sock")
        wait_until(self.ready, "the CRI after a restart", 20)

    def ready(self) -> bool:
        """Returns whether the runtime and the network are ready, by Status."""
        try:
            conditions = self.client.call("Status").status.conditions
        except grpc.RpcError:
            return False
        return {one.type for one in conditions if one.status} >= {"RuntimeReady", "NetworkReady"}

    def pod(self, handler: str = HANDLER, sysctls: Mapping[str, str] | None = None, **security: Any) -> Pod:
        """Starts a pod sandbox. `security` adds to its LinuxSandboxSecurityContext."""
        self.pods += 1
        name = f"pod{self.pods}"
        config = pod_config(name, f"/{self.parent}", self.tmp / "logs" / name, **security)
        config["linux"]["sysctls"] = pairs(sysctls or {})
        made = self.client.call("RunPodSandbox", config=config, runtime_handler=handler)
        return Pod(self, made.pod_sandbox_id, config)

    def remove_all(self) -> None:
        """Stops and removes every pod, and with it its containers."""
        for pod in self.client.call("ListPodSandbox").items:
            self.client.call("StopPodSandbox", pod_sandbox_id=pod.id)
            self.client.call("RemovePodSandbox", pod_sandbox_id=pod.id)

    def leftovers(self) -> list[str]:
        """Returns what is left of containers while the daemon runs. Shims get time to end."""
        wait_until(lambda: not self._processes(), f"the end of {self._processes()}", 10)
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        left = [f"mount {target}" for target in mounts if target.startswith(f"{self.tmp}/")]
        for hierarchy in host.controllers():
            parent = host.CGROUP_ROOT / hierarchy / self.parent
            left += [f"cgroup {path}" for path in parent.glob("*/")]
        for pattern in (
            f"runtime/*/{NAMESPACE}/[!.]*",
            f"state/*.task/{NAMESPACE}/*",
            "state/*.cri/*/*",
            "root/*.cri/*/*",
        ):
            left += [f"state {path}" for path in self.tmp.glob(pattern)]
        return left

    def _processes(self) -> list[int]:
        reaper.collect()
        return [pid for pid in inspection.descendants(os.getpid()) if pid != self.daemon.pid and inspection.alive(pid)]

    def close(self) -> list[str]:
        """Ends all; what was left behind, by name."""
        self.remove_all()
        left = self.leftovers() + super().close()
        self.client.close()
        return left


class Pod:
    """A pod sandbox by its ID."""

    def __init__(self, cri: Cri, pod_id: str, config: dict[str, Any]) -> None:
        self.cri = cri
        self.id = pod_id
        self.config = config

    def answer(self) -> Any:
        """PodSandboxStatus, verbose."""
        return self.cri.client.call("PodSandboxStatus", pod_sandbox_id=self.id, verbose=True)

    @property
    def pid(self) -> int:
        """The sandbox's process."""
        return pid_of(self.answer().info)

    def create(self, name: str, *command: str, resources: Any = None, security: Any = None, **more: Any) -> Box:
        """Creates a container. `more` are further fields of its ContainerConfig."""
        config = container_config(name, *command, **more)
        context = {
            "namespace_options": self.config["linux"]["security_context"]["namespace_options"],
            "seccomp": {"profile_type": "RuntimeDefault"},
            "masked_paths": MASKED,
            "readonly_paths": READONLY,
            **(security or {}),
        }
        config["linux"] = {"resources": resources or {}, "security_context": context}
        made = self.cri.client.call(
            "CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config
        )
        return Box(self, made.container_id, Path(self.config["log_directory"]) / config["log_path"])

    def start(self, name: str, *command: str, **more: Any) -> Box:
        """Creates and starts a container."""
        made = self.create(name, *command, **more)
        made.start()
        return made

    def output(self, name: str, script: str, **more: Any) -> str:
        """Runs a shell as the process of a container. Returns what it prints; it must exit with 0."""
        made = self.start(name, "/bin/sh", "-c", script, **more)
        status = made.ended()
        assert status.exit_code == 0, (status, made.log())
        return "".join(line.split(" ", 3)[3] for line in made.log())

    def stop(self) -> None:
        """Ends the pod's processes."""
        self.cri.client.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self) -> None:
        """Takes the pod away."""
        self.cri.client.call("RemovePodSandbox", pod_sandbox_id=self.id)


class Box:
    """A container by its ID."""

    def __init__(self, pod: Pod, container_id: str, log_path: Path) -> None:
        self.pod = pod
        self.id = container_id
        self.log_path = log_path

    def call(self, method: str, **fields: Any) -> Any:
        """Calls a method on this container."""
        return self.pod.cri.client.call(method, container_id=self.id, **fields)

    def start(self) -> None:
        """Runs the container's program."""
        self.call("StartContainer")

    def status(self) -> Any:
        """Returns its ContainerStatus."""
        return self.call("ContainerStatus").status

    def state(self) -> str:
        """`CREATED`, `RUNNING`, `EXITED` or `UNKNOWN`."""
        return STATES[self.status().state]

    @property
    def pid(self) -> int:
        """Its first process."""
        return pid_of(self.call("ContainerStatus", verbose=True).info)

    def ended(self, timeout: float = 10) -> Any:
        """Waits for the end; the status then."""
        wait_until(lambda: self.state() == "EXITED", f"the end of {self.id}", timeout)
        return self.status()

    def exec(self, *command: str, timeout: int = 10) -> Any:
        """ExecSync: its response, with `stdout`, `stderr` and `exit_code`."""
        return self.call("ExecSync", cmd=list(command), timeout=timeout)

    def sh(self, script: str) -> str:
        """Runs a shell in the container. Returns what it prints; it must exit with 0."""
        done = self.exec("/bin/sh", "-c", script)
        assert done.exit_code == 0, done
        text: str = done.stdout.decode()
        return text

    def stop(self, grace: int = 0) -> Any:
        """StopContainer; the status then."""
        self.call("StopContainer", timeout=grace)
        return self.status()

    def log(self) -> list[str]:
        """Returns the lines of the log file, each with its end."""
        return re.findall(".*\n", self.log_path.read_text())  # a terminal's \r is no end of a line

    def wait_for_log(self) -> str:
        """Waits for the first line of the log; the line."""
        wait_until(self.log, f"output of {self.id}")
        return self.log()[0]
