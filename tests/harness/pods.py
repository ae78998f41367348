# SPDX-License-Identifier: Apache-2.0
"""Pods for tests: manifests from Python values, run in the foreground or in the background."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from harness import bundle, leaks
from harness.runtime import Result, Runtime, wait_until

WAITS = "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done"
"""A script that says that it is there, and ends with 0 when it is asked to."""


class Pods:
    """The manifests and pods of one test."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.image = runtime.tmp / "image"
        self.directory = Path(f"{runtime.root}-pods")
        bundle.make_rootfs(self.image, runtime.busybox)

    def container(self, name: str, script: str = WAITS, **fields: Any) -> dict[str, Any]:
        """Returns a container that runs a shell script."""
        return {"name": name, "image": "dir:image", "command": ["sh", "-c", script], **fields}

    def manifest(self, *containers: dict[str, Any], **spec: Any) -> Path:
        """Writes the manifest of a pod with a name of its own; JSON is YAML."""
        name = f"{self.runtime.prefix}-pod{self.runtime.number()}"
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, **spec, "containers": list(containers)}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        path = self.runtime.tmp / f"{name}.yaml"
        path.write_text(json.dumps(document))
        return path

    def run(self, *containers: dict[str, Any], **spec: Any) -> Result:
        """Runs a pod in the foreground, to its end."""
        return self.runtime.call("pod", "run", self.manifest(*containers, **spec))

    def output(self, *containers: dict[str, Any], **spec: Any) -> str:
        """Runs a pod that must succeed. Returns what its containers print."""
        result = self.run(*containers, **spec)
        assert result.code == 0, result
        return result.out

    def front(self, path: Path, *flags: str) -> Front:
        """Starts a pod in the foreground, without waiting for it."""
        return Front(self, path, *flags)

    def start(self, *containers: dict[str, Any], flags: tuple[str, ...] = (), **spec: Any) -> Pod:
        """Runs a pod in the background while the context lasts."""
        path = self.manifest(*containers, **spec)
        result = self.runtime.ok("pod", "run", "-d", *flags, path)
        assert result.out == f"{path.stem}\n"
        return Pod(self, path.stem)

    def assert_nothing_left(self) -> None:
        """No container, directory, mount, control group or process of any pod."""
        left = [str(path) for path in self.directory.iterdir()] if self.directory.exists() else []
        left += leaks.control_groups(self.runtime.prefix) + leaks.mounts(self.directory)
        left += leaks.state(self.runtime.root)
        assert not left, left
        assert not leaks.processes(self.runtime.spare)


class Pod:
    """A pod in the background. As a context it is removed at its end, and must leave nothing."""

    def __init__(self, pods: Pods, name: str) -> None:
        self.pods = pods
        self.runtime = pods.runtime
        self.name = name
        self.path = pods.directory / name

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.path.exists():
            self.runtime.ok("pod", "rm", "--force", self.name)
        if kind is None:
            self.pods.assert_nothing_left()

    def inspect(self) -> dict[str, Any]:
        """Returns the document of `pod inspect`."""
        document: dict[str, Any] = json.loads(self.runtime.ok("pod", "inspect", "-f", "json", self.name).out)
        return document

    def member(self, name: str) -> dict[str, Any]:
        """Returns one container of that document."""
        return next(one for one in self.inspect()["containers"] if one["name"] == name)

    def pid(self, name: str) -> int:
        """Returns the PID of a container's init on the host."""
        pid: int = self.member(name)["pid"]
        return pid

    def events(self) -> list[tuple[str, str]]:
        """(container, what happened), in order."""
        return [(event["container"], event["event"]) for event in self.inspect()["events"]]

    def logs(self, *args: str) -> str:
        """Returns the output of `pod logs`."""
        return self.runtime.ok("pod", "logs", self.name, *args).out

    def sh(self, container: str, script: str) -> str:
        """Runs a shell in a container by `exec`. Returns what it prints."""
        return self.runtime.ok("exec", f"{self.name}.{container}", "/bin/sh", "-c", script).out

    def wait_for_log(self, container: str, text: str, timeout: float = 5.0) -> None:
        """Waits until a container has printed `text`."""
        wait_until(lambda: text in self.logs(container), f"{text!r} in the log of {container}", timeout)

    def wait_for_end(self, timeout: float = 10.0) -> dict[str, Any]:
        """Follows the logs until the pod has ended. Returns the last document."""
        self.runtime.ok("pod", "logs", "-f", self.name, timeout=timeout)
        wait_until(lambda: self.inspect()["phase"] in ("Succeeded", "Failed"), f"the end of {self.name}", timeout)
        return self.inspect()

    def stop(self, *flags: str) -> dict[str, Any]:
        """Calls `pod stop`. Returns the last document."""
        self.runtime.ok("pod", "stop", *flags, self.name)
        return self.inspect()


class Front:
    """A `pod run` in the foreground that has not ended yet."""

    def __init__(self, pods: Pods, path: Path, *flags: str) -> None:
        self.pods = pods
        self.name = path.stem
        self._child, self.result = pods.runtime.popen("pod", "run", *flags, path)

    def wait_for(self, text: str, timeout: float = 5.0) -> None:
        """Waits until `text` is in the output or among the events."""
        wait_until(lambda: text in self.result.out + self.result.err, f"{text!r} in {self.result!r}", timeout)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the supervisor."""
        self._child.send_signal(number)

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """The process of the supervisor."""
        return self._child

    def end(self, timeout: float = 15.0) -> Result:
        """Waits for the end; nothing may be left."""
        result = self.pods.runtime.finish(self._child, self.result, timeout)
        self.pods.assert_nothing_left()
        return result
