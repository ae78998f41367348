# SPDX-License-Identifier: Apache-2.0
"""What engines rely on beside the life cycle: logs, texts, --version, features, spec, a bare environment."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
from harness.runtime import TIMEOUT, Runtime, wait_until


def log_lines(runtime: Runtime, kind: str) -> tuple[list[str], str]:
    """The log of a failed create in a format, and its standard error."""
    bundle = runtime.bundle().args("nonesuch").save()
    log = runtime.tmp / "log"
    container = runtime.container(bundle)
    error = runtime.fails("--log", log, "--log-format", kind, "create", "--bundle", bundle.path, container.id)
    return log.read_text().splitlines(), error


def test_log_as_json(runtime: Runtime) -> None:
    """podman reads the whole file as one object, containerd the last line with level error."""
    lines, error = log_lines(runtime, "json")
    assert len(lines) == 1, lines
    entry = json.loads(lines[0])
    assert {"level", "time", "msg"} <= set(entry)
    assert entry["level"] == "error"
    assert "nonesuch" in entry["msg"]
    assert "nonesuch" in error
    datetime.datetime.fromisoformat(entry["time"])


def test_log_as_text(runtime: Runtime) -> None:
    lines, error = log_lines(runtime, "text")
    assert len(lines) == 1, lines
    assert "nonesuch" in lines[0]
    assert "nonesuch" in error


def test_log_is_made_at_once(runtime: Runtime) -> None:
    """containerd opens the file after a failure and without: a missing one becomes a wrong error."""
    runtime.ok("--log", runtime.tmp / "log", "list")
    assert (runtime.tmp / "log").read_text() == ""


def test_log_is_appended_to(runtime: Runtime) -> None:
    (runtime.tmp / "log").write_text("before\n")
    runtime.fails("--log", runtime.tmp / "log", "--log-format", "json", "state", f"{runtime.prefix}-none")
    lines = (runtime.tmp / "log").read_text().splitlines()
    assert lines[0] == "before"
    assert "does not exist" in json.loads(lines[1])["msg"]


def test_log_of_a_failure_inside_the_container(runtime: Runtime) -> None:
    """An error of init comes back as the runtime's one line."""
    bundle = runtime.bundle()
    bundle.mounts.append({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["nonesuch=1"]})
    bundle.save()
    log = runtime.tmp / "log"
    runtime.fails("--log", log, "--log-format", "json", "create", "--bundle", bundle.path, runtime.container(bundle).id)
    lines = log.read_text().splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["error"]


def test_debug_tells_the_phases_in_the_log(runtime: Runtime) -> None:
    """What engines debug with: steps in their order, in the log and not in the output of the container."""
    bundle = runtime.bundle().args("/bin/sleep", "100").hook("createRuntime", "true").save()
    container = runtime.container(bundle)
    log = runtime.tmp / "log"
    verbs = {
        "create": ["create", "--bundle", bundle.path, "--pid-file", runtime.tmp / "pid", container.id],
        "start": ["start", container.id],
        "exec": ["exec", container.id, "/bin/true"],
        "delete": ["delete", "--force", container.id],
    }
    told = {}
    for verb, words in verbs.items():
        result = runtime.ok("--debug", "--log", log, "--log-format", "json", *words)
        assert result.err == ""
        told[verb] = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
    assert {entry["level"] for entry in told["create"]} >= {"debug"}  # runc's start and delete have nothing to tell
    if runtime.kind == "pyoci":
        text = {verb: "\n".join(entry["msg"] for entry in entries) for verb, entries in told.items()}
        phases = ["checked, ", "made the state", ": cloned", "set the limits", "prepared the mounts"]
        phases += ["createRuntime hook #0", "init waits for start", "status 0"]
        places = [text["create"].find(phase) for phase in phases]
        assert -1 not in places and places == sorted(places), text["create"]
        assert "the program runs" in text["start"] and "the program runs" in text["exec"]
        assert "removed the cgroup" in text["delete"]
        times = [float(line.split(" ms: ")[0]) for line in text["create"].splitlines()]
        assert times == sorted(times) and 0 <= times[0] < times[-1]


def test_error_is_one_line(runtime: Runtime) -> None:
    error = runtime.fails("state", f"{runtime.prefix}-none")
    assert len(error.strip().splitlines()) == 1


def test_success_is_silent(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/sleep", "100").save()
    container = runtime.container(bundle)
    calls = [
        ["create", "--bundle", str(bundle.path), "--pid-file", str(runtime.tmp / "pid"), container.id],
        ["start", container.id],
        ["kill", container.id, "KILL"],
    ]
    for call in calls:
        result = runtime.ok(*call)
        assert (result.out, result.err) == ("", "")
    container.pid = int((runtime.tmp / "pid").read_text())
    container.wait()
    result = runtime.ok("delete", container.id)
    assert (result.out, result.err) == ("", "")


def test_empty_environment(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/sleep", "100").save()
    container = runtime.container(bundle)
    runtime.ok("create", "--bundle", bundle.path, "--pid-file", runtime.tmp / "pid", container.id, env={})
    container.pid = int((runtime.tmp / "pid").read_text())
    runtime.ok("start", container.id, env={})
    assert runtime.ok("exec", container.id, "/bin/echo", "hi", env={}).out == "hi\n"
    runtime.ok("kill", container.id, "KILL", env={})
    container.wait()
    assert json.loads(runtime.ok("state", container.id, env={}).out)["status"] == "stopped"
    runtime.ok("delete", container.id, env={})


def test_hostile_environment(runtime: Runtime) -> None:
    """Nothing of the caller's environment changes how the runtime itself is run."""
    bundle = runtime.bundle().args("/bin/echo", "hi")
    (runtime.tmp / "sitecustomize.py").write_text("raise SystemExit('loaded')\n")
    env = {
        "PYTHONPATH": str(runtime.tmp),
        "PYTHONHOME": "/nonesuch",
        "PYTHONSTARTUP": "/nonesuch",
        "PYTHONINSPECT": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONVERBOSE": "1",
        "LC_ALL": "xx_YY.KLINGON",
        "PATH": "",
    }
    result = runtime.run(bundle, env=env)
    assert (result.code, result.out, result.err) == (0, "hi\n", "")


def test_version(runtime: Runtime) -> None:
    """docker and podman parse these lines."""
    lines = runtime.ok("--version", bare=True).out.splitlines()
    assert lines[0].startswith(f"{runtime.kind} version ")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    assert {"commit", "spec"} <= set(fields)
    assert fields["spec"].startswith("1.")
    assert runtime.ok("-v", bare=True).out.splitlines()[0] == lines[0]


def test_features(runtime: Runtime, features_schema: jsonschema.protocols.Validator) -> None:
    """containerd's CRI asks without any global flag, and looks for rro and user namespaces."""
    document = json.loads(runtime.ok("features", bare=True).out)
    features_schema.validate(document)
    assert {"rro", "rbind", "ro"} <= set(document["mountOptions"])
    assert "user" in document["linux"]["namespaces"]
    assert document["linux"]["seccomp"]["enabled"] is True


def test_config_runs_unchanged(runtime: Runtime) -> None:
    """The bundle that `spec` writes has sh with a terminal; with another program it runs as it is."""
    bundle = runtime.bundle()
    runtime.ok("spec", cwd=bundle.path, bare=True)
    config = json.loads((bundle.path / "config.json").read_text())
    assert config["root"]["path"] == "rootfs"
    config["process"].update(args=["/bin/echo", "hi"], terminal=False)
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    config["linux"]["cgroupsPath"] = f"/{bundle.name}"
    bundle.config = config
    assert runtime.output(bundle) == "hi\n"


def test_config_does_not_overwrite(runtime: Runtime) -> None:
    bundle = runtime.bundle().save()
    before = (bundle.path / "config.json").read_text()
    runtime.fails("spec", cwd=bundle.path, bare=True)
    assert (bundle.path / "config.json").read_text() == before


def test_config_into_a_bundle(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    runtime.ok("spec", "--bundle", bundle.path, bare=True)
    assert json.loads((bundle.path / "config.json").read_text())["ociVersion"].startswith("1.")


def test_state_root_is_private(runtime: Runtime) -> None:
    """containerd CVE-2021-41103: nobody else may look into it."""
    container = runtime.create(runtime.bundle())
    for path in (runtime.root, runtime.root / container.id):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_unknown_verb_and_flag(runtime: Runtime) -> None:
    runtime.fails("nonesuch")
    runtime.fails("create", "--nonesuch", f"{runtime.prefix}-a")


def test_flag_without_its_value(runtime: Runtime) -> None:
    """podman's probe: `restore --lsm-mount-context` must say that an argument is missing."""
    assert "requires an argument" in runtime.fails("create", "--bundle").lower() or runtime.kind == "runc"


@pytest.mark.parametrize("flag", ["--no-new-keyring", "--no-pivot"])
def test_flags_of_engines(runtime: Runtime, flag: str) -> None:
    assert runtime.output(runtime.bundle().args("/bin/echo", "hi"), flag) == "hi\n"


def test_help(runtime: Runtime) -> None:
    for words in (["--help"], ["create", "--help"], ["exec", "--help"]):
        result = runtime.ok(*words, bare=True)
        assert result.out.strip()


def test_flags_after_equals(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/echo", "hi").save()
    container = runtime.container(bundle)
    assert runtime.ok("run", f"--bundle={bundle.path}", container.id).out == "hi\n"


def test_standard_output_that_is_closed(runtime: Runtime) -> None:
    """A caller without a standard output gets a container all the same."""
    bundle = runtime.bundle().args("/bin/true").save()
    container = runtime.container(bundle)
    words = f"exec {runtime.command} --root {runtime.root} run --bundle {bundle.path} {container.id} <&- >&- 2>&-"
    status = os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", words])
    assert status == 0


def test_standard_streams_that_are_closed_are_dev_null(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("ls /proc/self/fd > /work/fds; readlink /proc/self/fd/0 >> /work/fds").save()
    container = runtime.container(bundle)
    words = f"exec {runtime.command} --root {runtime.root} run --bundle {bundle.path} {container.id} <&- >&- 2>&-"
    assert os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", words]) == 0
    assert (bundle.rootfs / "work/fds").read_text().split()[-1] == "/dev/null"


def test_bundle_with_a_space_and_unicode(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/echo", "hi").save()
    other = runtime.tmp / "a bundle ü"
    bundle.path.rename(other)
    container = runtime.container(bundle)
    assert runtime.ok("run", "--bundle", other, container.id).out == "hi\n"


def test_root_that_cannot_be_made(runtime: Runtime) -> None:
    (runtime.tmp / "file").touch()
    bundle = runtime.bundle().save()
    runtime.fails("--root", runtime.tmp / "file/root", "create", "--bundle", bundle.path, bundle.name, bare=True)
    runtime.assert_clean()


def test_no_space_for_the_state(runtime: Runtime) -> None:
    """A full file system: an error, and nothing is left."""
    full = runtime.tmp / "full"
    full.mkdir()
    os.system(f"mount -t tmpfs -o size=4k,nr_inodes=6 full {full}")  # noqa: S605
    try:
        Path(full / "filler").write_bytes(b"x" * 4096)
        bundle = runtime.bundle().save()
        runtime.fails("--root", full, "create", "--bundle", bundle.path, bundle.name, bare=True)
        runtime.call("--root", full, "delete", "--force", bundle.name, bare=True)
        assert {entry.name for entry in full.iterdir() if not entry.name.startswith(".")} == {"filler"}
    finally:
        os.system(f"umount {full}")  # noqa: S605
    runtime.assert_clean()


@pytest.mark.skipif(not shutil.which("strace"), reason="the host has no strace")
@pytest.mark.parametrize("verb", ["create", "exec"])
def test_pid_file_is_whole_or_absent(runtime: Runtime, verb: str) -> None:
    """An engine that watches for it reads it at once: it is renamed to its place, and never opened there."""
    pid_file = runtime.tmp / "pid-file"
    bundle = runtime.bundle()
    if verb == "create":
        words = [
            "create",
            "--pid-file",
            str(pid_file),
            "--bundle",
            str(bundle.save().path),
            runtime.container(bundle).id,
        ]
    else:
        words = ["exec", "--detach", "--pid-file", str(pid_file), runtime.start(bundle).id, "/bin/sleep", "100"]
    log = runtime.tmp / "calls"
    argv = ["strace", "-f", "-qq", "-e", "trace=openat,open,creat,rename,renameat,renameat2", "-o", str(log)]
    script = [*argv, str(runtime.command), "--root", str(runtime.root), *words]
    child = subprocess.Popen(script, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_until(pid_file.exists, "the pid file", TIMEOUT)
    assert int(pid_file.read_text()) > 1
    runtime.ok("delete", "--force", words[-1] if verb == "create" else words[4])
    child.wait(TIMEOUT)
    lines = [line for line in log.read_text().splitlines() if f'"{pid_file}"' in line]
    assert [line for line in lines if "rename" not in line] == []
    assert len(lines) == 1, lines


@pytest.mark.parametrize("blocks", [0, 1])
def test_limit_of_file_sizes(runtime: Runtime, blocks: int) -> None:
    """The caller's ulimit -f: a write that it does not allow is an error, not the end by SIGXFSZ."""
    bundle = runtime.bundle().args("/bin/true").save()
    runtime.container(bundle)
    argv = [str(runtime.command), "--root", str(runtime.root), "run", "--bundle", str(bundle.path), bundle.name]
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f'(ulimit -f {blocks}; exec "$@") 2>&1 | cat', "bash", *argv],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert done.returncode == 1, done
    if runtime.kind == "pyoci":
        assert done.stdout.endswith("file too large; raise RLIMIT_FSIZE (ulimit -f)\n"), done
    runtime.assert_clean()
