# SPDX-License-Identifier: Apache-2.0
"""The runtimes to compare, and the bundles that all of them get."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness import leaks
from harness.bundle import default_config, make_rootfs

from bench import machine
from bench.timer import Timer, collect, wait_for_end

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build"
FLOOR = str(BUILD / "bench/floor")
PEAK = str(BUILD / "bench/peak")
COUNTER = str(BUILD / "bench/instructions")
PAUSE = BUILD / "bundles/rootfs/pause/pause"
FIVE = ("create", "start", "state", "kill", "delete")


class Tool:
    """One runtime with a state root of its own."""

    def __init__(self, name: str, command: str, root: Path) -> None:
        self.name = name
        self.command = command
        self.root = root

    def at(self, root: Path) -> Tool:
        """Returns the same runtime with another root."""
        return Tool(self.name, self.command, root)

    def argv(self, *words: str | Path) -> list[str]:
        """Returns the words of a call."""
        return [self.command, "--root", str(self.root), *map(str, words)]

    def drop_programs(self) -> None:
        """Empties the cache of compiled seccomp programs, of the runtimes that have one."""
        shutil.rmtree(machine.CACHE / "seccomp" if self.name == "pyoci" else self.root / ".cache", ignore_errors=True)


class Place:
    """A temporary directory with bundles, and state roots on a tmpfs; `close` ends all and says what was left."""

    def __init__(self) -> None:
        self.prefix = f"pb{os.getpid():07}"  # always as long: the length of a path is counted in instructions
        self.states = machine.RUN / self.prefix
        self.states.mkdir(mode=0o711)
        self.path = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-"))
        self.path.chmod(0o755)
        self.timer = Timer(self.path)
        self.rootfs = self.path / "rootfs"
        shutil.copy2("/bin/busybox", self.path / "busybox")
        make_rootfs(self.rootfs, self.path / "busybox")
        shutil.copy2(PAUSE, self.rootfs / "bin/pause")
        commands = {
            "pyoci": os.environ.get("RUNTIME") or str(BUILD / "pyoci"),
            "runc": shutil.which("runc"),
            "crun": shutil.which("crun"),
        }
        self.tools = [Tool(name, command, self.states / name) for name, command in commands.items() if command]
        self.missing = [name for name, command in commands.items() if not command]
        self._roots = {tool.root: tool for tool in self.tools}

    def more(self, tool: Tool, name: str) -> Tool:
        """Returns the runtime with another root."""
        made = tool.at(self.states / f"{tool.name}-{name}")
        self._roots[made.root] = made
        return made

    def bundle(self, name: str, *args: str, linux: dict[str, Any] | None = None) -> Path:
        """Returns a bundle whose process is `args`; `linux` adds to the config's object of that name."""
        config = copy.deepcopy(default_config(f"/{self.prefix}-{name}"))
        config["process"]["args"] = list(args)
        config["root"]["path"] = str(self.rootfs)
        config["hostname"] = "bench"
        config["linux"].update(linux or {})
        if any(space["type"] == "uts" and "path" in space for space in config["linux"]["namespaces"]):
            del config["hostname"]  # the pod's
        directory = self.path / "bundles" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(config, indent=1))
        return directory

    def create(self, tool: Tool, bundle: Path, container_id: str) -> tuple[int, int]:
        """`create`; its nanoseconds, and the PID of the container's first process."""
        file = self.path / "pid"
        spent = self.timer.call(tool.argv("create", "--bundle", bundle, "--pid-file", file, container_id))
        return spent, int(file.read_text())

    def remove(self, tool: Tool, ids: Iterable[str]) -> None:
        """Ends containers, whatever they do."""
        for container_id in ids:
            self.timer.call(tool.argv("delete", "--force", container_id))
        collect()

    def cycle(self, tool: Tool, bundle: Path, container_id: str, executes: bool = False) -> dict[str, int]:
        """Runs the five verbs on one container, with exec in between.

        Returns the nanoseconds of each, and the PID as `pid`.
        """
        spent = {}
        spent["create"], pid = self.create(tool, bundle, container_id)
        for verb in ("start", "state"):
            spent[verb] = self.timer.call(tool.argv(verb, container_id))
        if executes:
            spent["exec"] = self.timer.call(tool.argv("exec", container_id, "/bin/true"))
            if tool.name == "pyoci":
                spent["exec floor"] = self.timer.call([FLOOR, "exec", str(pid), "/bin/true"])
        spent["kill"] = self.timer.call(tool.argv("kill", container_id, "KILL"))
        wait_for_end(pid)
        spent["delete"] = self.timer.call(tool.argv("delete", container_id))
        spent["five verbs"] = sum(spent[verb] for verb in FIVE)
        return spent

    def close(self) -> list[str]:
        """Removes containers, cgroups, mounts and files; what should not have been there, by name."""
        left = []
        for root, tool in self._roots.items():
            for entry in leaks.state(root):
                left.append(f"{tool.name}: {entry}")
                os.spawnv(os.P_WAIT, tool.command, tool.argv("delete", "--force", Path(entry).name))
        collect()
        try:
            left += leaks.processes(set()) + leaks.control_groups(self.prefix)
            left += leaks.mounts(self.path) + leaks.mounts(self.states)
        finally:
            shutil.rmtree(self.path)
            shutil.rmtree(self.states)
        return left
