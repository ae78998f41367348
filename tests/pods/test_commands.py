# SPDX-License-Identifier: Apache-2.0
"""The commands around a pod: refusals, ps, logs, inspect, stop, rm, and what remains after a crash."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import time
from pathlib import Path

import pytest
from harness import inspection
from harness.pods import WAITS, Pod, Pods
from harness.runtime import wait_until


def test_unknown_field_is_named_and_nothing_is_made(pods: Pods) -> None:
    path = pods.manifest(pods.container("a", livenessProbe={}))
    for flags in ((), ("-d",)):
        error = pods.runtime.fails("pod", "run", *flags, path)
        assert error == f"pyoci: {path.name}: spec.containers[0].livenessProbe: not supported\n"
    pods.assert_nothing_left()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "line 2 column 1: key 'a' is given twice"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n", "spec.containers: a pod needs at least one"),
        ("kind: Service\napiVersion: v1\n", "kind: must be one of 'Pod', it is 'Service'"),
        ("apiVersion: v1\n---\napiVersion: v1\n", "2 documents"),
        ("{", "line 1 column 2"),
    ],
)
def test_malformed_manifest(pods: Pods, text: str, words: str) -> None:
    path = pods.runtime.tmp / "bad.yaml"
    path.write_text(text)
    error = pods.runtime.fails("pod", "run", path)
    assert words in error
    assert error.count("\n") == 1
    pods.assert_nothing_left()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "a command is missing"),
        (("fly",), "unknown command 'fly'"),
        (("run",), "MANIFEST is missing"),
        (("run", "--restart-backoff", "-1", "x"), "is not a number of seconds"),
        (("run", "/nowhere/pod.yaml"), "read /nowhere/pod.yaml"),
        (("ps", "-f", "yaml"), "neither table nor json"),
        (("ps", "x"), "unexpected argument"),
        (("inspect", "nobody"), "pod nobody: pod does not exist"),
        (("logs", "nobody"), "pod nobody: pod does not exist"),
        (("stop", "nobody"), "pod nobody: pod does not exist"),
        (("rm", "nobody"), "pod nobody: pod does not exist"),
        (("rm", "-f", "../x"), "not a name"),
        (("stop", "-t", "soon", "x"), "is not a decimal number"),
    ],
)
def test_misuse(pods: Pods, args: tuple[str, ...], words: str) -> None:
    error = pods.runtime.fails("pod", *args)
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "ps", "inspect", "logs", "stop", "rm"])
def test_help(pods: Pods, command: str) -> None:
    assert f"  {command} " in pods.runtime.ok("pod", "--help").out
    assert f"pod {command}" in pods.runtime.ok("pod", command, "--help").out


def test_all_faults_are_told_at_once(pods: Pods) -> None:
    """On the terminal a line each, in the log file one line."""
    log = pods.runtime.tmp / "log"
    path = pods.manifest(pods.container("a", livenessProbe={}), hostNetwork=True, volumes=[{"name": "v", "secret": {}}])
    error = pods.runtime.fails("--log", log, "pod", "run", path)
    assert error.splitlines() == [
        f"pyoci: {path.name}: 3 faults:", "  spec.volumes[0].secret: not supported",
        "  spec.containers[0].livenessProbe: not supported", "  spec.hostNetwork: not supported, but as false",
    ]  # fmt: skip
    (line,) = log.read_text().splitlines()
    assert f"{path.name}: 3 faults: spec.volumes[0].secret: not supported; spec.cont" in line
    pods.assert_nothing_left()


def test_what_a_cluster_adds_is_ignored_with_a_warning(pods: Pods) -> None:
    path = pods.manifest(pods.container("a", "echo ran", imagePullPolicy="Always"), nodeName="n", tolerations=[{}])
    document = json.loads(path.read_text())
    document["metadata"] |= {"uid": "1", "resourceVersion": "2"}
    path.write_text(json.dumps(document | {"status": {"phase": "Running"}}))
    result = pods.runtime.ok("pod", "run", "-q", path)
    assert result.out == "a            | ran\n"
    (line,) = result.err.splitlines()
    assert line.startswith(f"pyoci: warning: {path}: no effect on one machine, so ignored: ")
    assert sorted(line.rpartition(": ")[2].split(", ")) == [
        "metadata.resourceVersion", "metadata.uid", "spec.containers[0].imagePullPolicy", "spec.nodeName",
        "spec.tolerations", "status",
    ]  # fmt: skip


MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 41))


@pytest.mark.parametrize(
    "text",
    [MERGES, "[" + "a," * ((1 << 19) - 2) + "]", "[" * (1 << 20), "a: 1" + ":1" * 500000, "- a\n" * (1 << 18)],
    ids=["nested merges", "flow list", "deep list", "number", "block list"],
)
def test_no_manifest_takes_long(pods: Pods, text: str) -> None:
    path = pods.runtime.tmp / "big.yaml"
    path.write_text(text)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, time.monotonic()
    error = pods.runtime.fails("pod", "run", path, timeout=5)
    assert time.monotonic() - begin < 4
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < max(before, 200 * 1024)  # KiB
    assert error.startswith("pyoci: ")
    assert len(error) < 400


def test_manifest_from_a_pipe(pods: Pods) -> None:
    text = pods.manifest(pods.container("a", "echo from a pipe", image=f"dir:{pods.image}")).read_bytes()
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    name = pods.runtime.ok("pod", "run", "-d", "/dev/stdin", stdin=reader).out.strip()
    os.close(reader)
    with Pod(pods, name) as pod:
        pod.wait_for_log("a", "from a pipe")
        assert (pod.path / "manifest.yaml").read_bytes() == text


def test_one_name_one_pod(pods: Pods) -> None:
    path = pods.manifest(pods.container("a"))
    pods.runtime.ok("pod", "run", "-d", path)
    with Pod(pods, path.stem) as pod:
        assert "exists already" in pods.runtime.fails("pod", "run", "-d", path)
        assert "exists already" in pods.runtime.fails("pod", "run", path)
        assert pod.inspect()["phase"] == "Running"


def test_another_name(pods: Pods) -> None:
    path = pods.manifest(pods.container("a"))
    name = f"{path.stem}-other"
    assert pods.runtime.ok("pod", "run", "-d", "--name", name, path).out == f"{name}\n"
    with Pod(pods, name) as pod:
        assert pod.sh("a", "hostname") == f"{name}\n"


def test_ps(pods: Pods) -> None:
    assert pods.runtime.ok("pod", "ps").out.split() == ["NAME", "STATUS", "READY", "RESTARTS", "AGE", "MANIFEST"]
    assert json.loads(pods.runtime.ok("pod", "ps", "-f", "json").out) == []
    with pods.start(pods.container("a"), pods.container("b", "exit 0")) as pod:
        wait_until(lambda: pod.member("b")["status"] == "terminated", "the end of b")
        (line,) = pods.runtime.ok("pod", "ps").out.splitlines()[1:]
        assert re.fullmatch(rf"{pod.name} +Running +1/2 +0 +\d+s +/.*/{pod.name}\.yaml", line)
        pod.stop()
        (state,) = json.loads(pods.runtime.ok("pod", "ps", "-f", "json").out)
        assert (state["name"], state["phase"]) == (pod.name, "Succeeded")


def test_inspect_shows_the_network(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        found = pod.inspect()
        assert found["networkError"] == ""
        (loopback,) = [link for link in found["network"] if link["name"] == "lo"]
        assert loopback["up"] is True
        assert "127.0.0.1/8" in loopback["addresses"]
        assert "127.0.0.1/8" in pods.runtime.ok("pod", "inspect", pod.name).out
        assert pod.stop()["network"] is None


def test_inspect_of_an_ended_pod(pods: Pods) -> None:
    with pods.start(pods.container("a", "exit 7")) as pod:
        pod.wait_for_end()
        text = pods.runtime.ok("pod", "inspect", pod.name).out
        assert "NAMESPACES  none: nothing runs" in text
        assert re.search(r"^a +container +terminated \(Error\) +- +7 +0 ", text, re.MULTILINE)


def test_logs(pods: Pods) -> None:
    script = "echo one; usleep 50000; echo two >&2; usleep 50000; printf three; "
    script += WAITS.replace("echo up", "echo; echo up")
    with pods.start(pods.container("a", script), pods.container("b", "usleep 300000; echo later")) as pod:
        pod.wait_for_log("a", "up")
        pod.wait_for_log("b", "later")
        assert pod.logs("a") == "one\ntwo\nthree\nup\n"
        lines = pod.logs().splitlines()
        assert lines[0] == "a            | one"
        assert "b            | later" in lines
        stamped = pod.logs("-t", "a").splitlines()
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", line) for line in stamped)
        raw = (pod.path / "logs/a.log").read_text()
        assert re.fullmatch(r"(\S+Z std(out|err) F \w+\n)+", raw)
        error = pods.runtime.fails("pod", "logs", pod.name, "c")
        assert "has no container 'c', only a, b" in error


def test_logs_are_followed_to_the_end(pods: Pods) -> None:
    script = "i=0; while [ $i -lt 20 ]; do echo line $i; usleep 20000; i=$((i+1)); done; printf end"
    with pods.start(pods.container("a", script)) as pod:
        out = pod.runtime.ok("pod", "logs", "-f", pod.name, "a").out
        assert out == "".join(f"line {number}\n" for number in range(20)) + "end\n"


def test_followers_see_lines_at_once(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        pod.wait_for_log("a", "up")
        child, result = pods.runtime.popen("pod", "logs", "-f", pod.name, "a")
        wait_until(lambda: result.out == "up\n", "the first line")
        pod.sh("a", "echo again >/proc/1/fd/1")
        wait_until(lambda: result.out == "up\nagain\n", "the second line")
        pod.stop()
        assert pods.runtime.finish(child, result).code == 0


def test_much_output_is_kept_whole(pods: Pods) -> None:
    script = "seq 1 50000; head -c 100000 /dev/zero | tr '\\0' x; echo; echo end"
    with pods.start(pods.container("a", script)) as pod:
        pod.wait_for_end()
        lines = pod.logs("a").splitlines()
        assert lines[:50000] == [str(number) for number in range(1, 50001)]
        assert lines[50000:] == ["x" * 100000, "end"]


def test_binary_output(pods: Pods) -> None:
    with pods.start(pods.container("a", r"printf '\377\000\n'")) as pod:
        pod.wait_for_end()
        child = pods.runtime.ok("pod", "logs", pod.name, "a")
        assert child.out_path.read_bytes() == b"\xff\x00\n"


def on_terminal(pods: Pods, *args: str | Path) -> bytes:
    """What a call writes to a terminal."""
    master, slave = pty.openpty()
    argv = [str(pods.runtime.command), "--root", str(pods.runtime.root), *map(str, args)]
    child = os.fork()
    if child == 0:
        os.dup2(slave, 1)
        os.dup2(slave, 2)
        os.closerange(3, 256)
        os.execv(argv[0], argv)
    os.close(slave)
    seen = b""
    while True:
        try:
            seen += os.read(master, 65536)
        except OSError:  # EIO: nobody has it open any more
            break
    os.close(master)
    os.waitpid(child, 0)
    return seen.replace(b"\r\n", b"\n")


HOSTILE = r"printf 'a\033[2J\033]0;title\007\tb\rc\302\233 d\377\n'"
SHOWN = rb"a\x1b[2J\x1b]0;title\x07" + b"\tb" + rb"\rc\x9b d\udcff" + b"\n"


def test_terminal_does_not_obey_containers(pods: Pods) -> None:
    path = pods.manifest(pods.container("a", HOSTILE), pods.container("b", f"{HOSTILE} >&2"))
    seen = on_terminal(pods, "pod", "run", path)
    assert b"a            | " + SHOWN in seen
    assert b"b            | " + SHOWN in seen
    assert not set(seen.decode()) & {*map(chr, range(9)), *map(chr, range(11, 32)), *map(chr, range(127, 160))}
    with pods.start(pods.container("a", HOSTILE)) as pod:
        pod.wait_for_end()
        assert on_terminal(pods, "pod", "logs", pod.name, "a") == SHOWN
        plain = pods.runtime.ok("pod", "logs", pod.name, "a").out_path.read_bytes()
        assert plain == b"a\x1b[2J\x1b]0;title\x07\tb\rc\xc2\x9b d\xff\n"


def test_events_and_tables_hold_no_control_characters(pods: Pods) -> None:
    """A program's name in an error, and what a manifest says."""
    path = pods.manifest(pods.container("a"), pods.container("b", command=["/no\x1b[31m\x07such" + "x" * 3000]))
    document = json.loads(path.read_text())
    document["metadata"]["labels"] = {"x": "\x1b[31mred"}
    path.write_text(json.dumps(document))
    error = pods.runtime.fails("pod", "run", "-d", path)
    with Pod(pods, path.stem) as pod:
        texts = [error, pods.runtime.ok("pod", "inspect", pod.name).out, pods.runtime.ok("pod", "ps").out]
        assert "[31m" in texts[1]
        assert max(len(event["detail"]) for event in pod.inspect()["events"]) <= 1000
        assert r"x=\x1b[31mred" in texts[1]
        assert all(text.replace("\n", "").isprintable() for text in texts), texts


def test_reader_that_goes_away(pods: Pods) -> None:
    """A foreground pod whose output nobody reads any more goes on, and ends in peace."""
    reader, writer = os.pipe()
    path = pods.manifest(pods.container("a", "while :; do echo x; usleep 10000; done & " + WAITS))
    argv = [str(pods.runtime.command), "--root", str(pods.runtime.root), "pod", "run", str(path)]
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.closerange(3, 256)
        os.execv(argv[0], argv)
    os.close(writer)
    assert os.read(reader, 1)
    wait_until(lambda: Pod(pods, path.stem).path.joinpath("logs/a.log").exists(), "the log")
    os.close(reader)
    pod = Pod(pods, path.stem)
    wait_until(lambda: pod.logs("a").count("x") > 20, "lines after the reader's end")
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    pods.assert_nothing_left()


def test_stop_tells_what_happens(pods: Pods) -> None:
    with pods.start(pods.container("a"), pods.container("b")) as pod:
        pod.wait_for_log("a", "up")
        pod.wait_for_log("b", "up")
        out = pods.runtime.ok("pod", "stop", pod.name).out
        assert [line.split(None, 1)[1].strip() for line in out.splitlines()] == [
            "pod           stopping: asked to stop", "b             TERM sent", "b             ended: exit status 0",
            "a             TERM sent", "a             ended: exit status 0", "pause         TERM sent",
            "pause         ended: exit status 0", "pod           ended: Succeeded",
        ]  # fmt: skip
        assert pods.runtime.ok("pod", "stop", pod.name).out == ""  # an ended pod is fine


def test_stop_leaves_logs_and_volumes_only(pods: Pods) -> None:
    with pods.start(pods.container("a"), volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}]) as pod:
        supervisor = pod.inspect()["supervisor"]
        pod.stop()
        assert not inspection.alive(supervisor)
        assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if pod.name in line]
        assert sorted(entry.name for entry in pods.runtime.root.iterdir() if not entry.name.startswith(".")) == []
        assert pod.logs("a") == "up\n"
        pods.runtime.ok("pod", "rm", pod.name)
        assert not pod.path.exists()


def test_rm_of_a_running_pod(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        assert "it runs; stop it first" in pods.runtime.fails("pod", "rm", pod.name)
        assert pod.inspect()["phase"] == "Running"
        pods.runtime.ok("pod", "rm", "--force", pod.name)
        pods.assert_nothing_left()


def test_killed_supervisor(pods: Pods) -> None:
    with pods.start(
        pods.container("a"), pods.container("b", shared_pid := WAITS), shareProcessNamespace=bool(shared_pid),
        volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}],
    ) as pod:  # fmt: skip
        pids = [pod.pid(name) for name in ("pause", "a", "b")]
        os.kill(pod.inspect()["supervisor"], signal.SIGKILL)
        wait_until(lambda: pod.inspect()["phase"] == "Unknown", "the end of the supervisor")
        assert all(inspection.alive(pid) for pid in pids)
        assert "Unknown" in pods.runtime.ok("pod", "ps").out
        for command in ("stop", "rm"):
            assert "its supervisor is gone" in pods.runtime.fails("pod", command, pod.name)
        pods.runtime.ok("pod", "rm", "--force", pod.name)
        assert not any(inspection.alive(pid) for pid in pids)
        pods.assert_nothing_left()


def test_stopped_supervisor_is_ended_by_force(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        supervisor = pod.inspect()["supervisor"]
        os.kill(supervisor, signal.SIGSTOP)
        pods.runtime.ok("pod", "rm", "--force", pod.name, timeout=60)
        assert not inspection.alive(supervisor)
        pods.assert_nothing_left()


@pytest.mark.parametrize("delay", range(0, 100, 5))
def test_supervisor_killed_at_any_moment(pods: Pods, delay: int) -> None:
    """SIGKILL some milliseconds after the beginning; then rm --force leaves nothing."""
    path = pods.manifest(pods.container("a"), pods.container("b"), initContainers=[pods.container("i", "true")])
    front = pods.front(path)
    try:
        front.child.wait(delay / 1000)
    except Exception:
        front.child.kill()
    pods.runtime.finish(front.child, front.result)
    pod = Pod(pods, path.stem)
    if pod.path.exists():
        pods.runtime.ok("pod", "rm", "--force", path.stem)
    for early in pods.directory.glob(".*") if pods.directory.exists() else ():
        assert early.name.startswith(f".{path.stem}.")
        pods.runtime.ok("pod", "ps")
    pods.runtime.ok("pod", "run", "-d", path)
    with pod:
        assert pod.inspect()["phase"] == "Running"


def test_damaged_state(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        pid = pod.pid("a")
        os.kill(pod.inspect()["supervisor"], signal.SIGKILL)
        wait_until(lambda: pod.inspect()["phase"] == "Unknown", "the end of the supervisor")
        for damage in ("", "null", '{"containers": 3}'):
            (pod.path / "pod.json").write_text(damage)
            assert f"{pod.name}  Unknown" in pods.runtime.ok("pod", "ps").out
            assert f"pod {pod.name}: read" in pods.runtime.fails("pod", "inspect", pod.name)
        pods.runtime.ok("pod", "rm", "--force", pod.name)
        assert not inspection.alive(pid)
        pods.assert_nothing_left()


def test_pods_directory_is_closed(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        for path in (pods.directory, pod.path, pod.path / "logs", pod.path / "volumes"):
            assert path.stat().st_mode & 0o777 == 0o700


def test_detached_supervisor_lets_go_of_its_caller(pods: Pods) -> None:
    with pods.start(pods.container("a")) as pod:
        supervisor = pod.inspect()["supervisor"]
        found = inspection.descriptors(supervisor)
        assert found[0] == found[1] == "/dev/null"
        assert found[2] == f"{pod.path}/supervisor.log"
        assert not [name for name in found.values() if "call-" in name]
        assert os.getsid(supervisor) != os.getsid(0)
        assert os.readlink(f"/proc/{supervisor}/cwd") == "/"
        assert (pod.path / "supervisor.log").read_text() == ""


def test_wait_is_bounded(pods: Pods) -> None:
    path = pods.manifest(pods.container("a"), initContainers=[pods.container("slow")])
    result = pods.runtime.ok("pod", "run", "-d", "--wait", "0", path)
    with Pod(pods, path.stem) as pod:
        assert result.out == f"{path.stem}\n"
        assert "not all of its containers have started yet" in result.err
        assert pod.inspect()["phase"] == "Pending"


def test_an_idle_supervisor_sleeps(pods: Pods) -> None:
    """No polling: a pod in which nothing happens costs no processor time and no wake-up."""
    with pods.start(pods.container("a")) as pod:
        pod.wait_for_log("a", "up")
        supervisor = pod.inspect()["supervisor"]

        def switches() -> int:
            return int(inspection.status(supervisor)["voluntary_ctxt_switches"])

        wait_until(lambda: inspection.status(supervisor)["State"].startswith("S"), "a sleeping supervisor")
        before = switches()
        with pytest.raises(AssertionError):
            wait_until(lambda: switches() != before, "a wake-up", 1.0)
