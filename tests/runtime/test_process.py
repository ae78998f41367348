# SPDX-License-Identifier: Apache-2.0
"""The process object: what the program is given, and as whom it runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness import host, inspection
from harness.runtime import Runtime

needs_sys_resource = pytest.mark.skipif(
    not host.has_capability(host.CAP_SYS_RESOURCE), reason="the host's bounding set lacks CAP_SYS_RESOURCE"
)


def status_of(runtime: Runtime, **process: Any) -> dict[str, str]:
    """/proc/self/status of a program with these properties."""
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/status")
    bundle.process.update(process)
    return inspection.parse_status(runtime.output(bundle))


def test_args_exactly(runtime: Runtime) -> None:
    args = ["/bin/printf", "%s|", "", "a b", "-x", "--", "ä", "'\"\\", "*", "a\nb"]
    assert runtime.output(runtime.bundle().args(*args)) == "".join(f"{arg}|" for arg in args[2:])


def test_argv0_is_kept(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("tr '\\0' '|' < /proc/self/cmdline; tr '\\0' '|' < /proc/1/cmdline")
    bundle.process["args"][0] = "sh"
    assert "sh|-c|" in runtime.output(bundle)


def test_env_exactly(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/env")
    bundle.process["env"] = ["PATH=/bin", "HOME=/x", "EMPTY=", "TWO=a=b", "SPACE=a b", "UMLAUT=ä"]
    lines = runtime.output(bundle, env={"PATH": "/usr/bin:/bin", "SECRET": "1"}).splitlines()
    assert lines == bundle.process["env"]


def test_env_of_a_later_duplicate_counts(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/sh", "-c", "echo $A")
    bundle.process["env"] = ["PATH=/bin", "A=1", "A=2"]
    assert runtime.output(bundle) == "2\n"


@pytest.mark.parametrize("by_exec", [False, True])
def test_each_variable_once(runtime: Runtime, by_exec: bool) -> None:
    """getenv(3) takes the first of a name, some programs the last: only the last one given is there."""
    bundle = runtime.bundle()
    env = ["A=1", "PATH=/bin", "HOME=/x", "A=2", "B=", "A=3=4", "B=5"]
    if by_exec:
        (runtime.tmp / "process.json").write_text(json.dumps({**bundle.process, "args": ["/bin/env"], "env": env}))
        container = runtime.start(bundle)
        out = runtime.ok("exec", "--process", runtime.tmp / "process.json", container.id).out
    else:
        bundle.args("/bin/env").process["env"] = env
        out = runtime.output(bundle)
    assert sorted(out.splitlines()) == ["A=3=4", "B=5", "HOME=/x", "PATH=/bin"]


def test_flag_of_exec_replaces_a_variable(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["env"] = ["PATH=/bin", "HOME=/x", "A=1"]
    container = runtime.start(bundle)
    out = runtime.ok("exec", "-e", "A=2", "-e", "A=3", "-e", "B=4", container.id, "/bin/env").out
    assert sorted(out.splitlines()) == ["A=3", "B=4", "HOME=/x", "PATH=/bin"]


def test_no_env_at_all(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo ok")
    del bundle.process["env"]
    assert runtime.output(bundle) == "ok\n"


def test_cwd(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/pwd")
    bundle.process["cwd"] = "/work"
    assert runtime.output(bundle) == "/work\n"


def test_missing_cwd_is_made(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/pwd")
    bundle.process["cwd"] = "/made/for/it"
    assert runtime.output(bundle) == "/made/for/it\n"


def test_cwd_of_the_user_alone(runtime: Runtime) -> None:
    """A directory that only the user may enter: without CAP_DAC_OVERRIDE root could not."""
    bundle = runtime.bundle().args("/bin/pwd")
    (bundle.rootfs / "home").mkdir(mode=0o700)
    os.chown(bundle.rootfs / "home", 1000, 1000)
    bundle.process["cwd"] = "/home"
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert runtime.output(bundle) == "/home\n"


def test_cwd_that_is_a_file(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["cwd"] = "/etc/passwd"
    assert "/etc/passwd" in runtime.refuses(bundle)


def test_relative_cwd_is_refused(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["cwd"] = "work"
    assert "cwd" in runtime.refuses(bundle).lower()


def test_user_and_groups(runtime: Runtime) -> None:
    user = {"uid": 1234, "gid": 2345, "additionalGids": [10, 20]}
    status = status_of(runtime, user=user)
    assert status["Uid"].split() == ["1234"] * 4
    assert status["Gid"].split() == ["2345"] * 4
    assert {"10", "20"} <= set(status["Groups"].split()) <= {"10", "20", "2345"}


def test_no_group_of_the_caller(runtime: Runtime) -> None:
    """Groups of the caller, and of the container's /etc/group, are not taken over."""
    groups = os.getgroups()
    os.setgroups([4, 24])
    try:
        status = status_of(runtime, user={"uid": 1000, "gid": 1000})
    finally:
        os.setgroups(groups)
    assert set(status["Groups"].split()) <= {"1000"}


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o027])
def test_umask(runtime: Runtime, umask: int) -> None:
    status = status_of(runtime, user={"uid": 0, "gid": 0, "umask": umask})
    assert int(status["Umask"], 8) == umask


def test_default_umask(runtime: Runtime) -> None:
    before = os.umask(0o077)
    try:
        status = status_of(runtime)
    finally:
        os.umask(before)
    assert int(status["Umask"], 8) == 0o022


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/work"), (4242, "/")])
def test_home_from_passwd(runtime: Runtime, uid: int, home: str) -> None:
    bundle = runtime.bundle().sh("echo $HOME")
    bundle.process["user"] = {"uid": uid, "gid": 0}
    assert runtime.output(bundle).strip() == home


def test_home_of_the_config_counts(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo $HOME")
    bundle.process["env"].append("HOME=/mine")
    assert runtime.output(bundle) == "/mine\n"


@pytest.mark.parametrize("env", [["HOME="], ["HOME=/mine", "HOME="]])
def test_empty_home_is_looked_up(runtime: Runtime, env: list[str]) -> None:
    bundle = runtime.bundle().sh("echo $HOME")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["env"] += env
    assert runtime.output(bundle) == "/work\n"


def test_more_groups_than_the_kernel_takes(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["user"]["additionalGids"] = [7] * 100000
    error = runtime.refuses(bundle)
    if runtime.kind == "pyoci":
        assert "/process/user/additionalGids: has 100000 entries; the kernel takes 65536 groups" in error


def test_home_without_passwd(runtime: Runtime) -> None:
    bundle = runtime.bundle().sh("echo $HOME")
    (bundle.rootfs / "etc/passwd").unlink()
    assert runtime.output(bundle).strip() in ("/", "/root")


@pytest.mark.parametrize(
    ("kind", "line", "value"),
    [
        ("RLIMIT_NOFILE", "Max open files", 512),
        ("RLIMIT_CORE", "Max core file size", 0),
        ("RLIMIT_AS", "Max address space", 1 << 30),
        ("RLIMIT_NPROC", "Max processes", 1000),
        ("RLIMIT_FSIZE", "Max file size", 1 << 20),
        ("RLIMIT_STACK", "Max stack size", 1 << 22),
    ],
)
def test_rlimit(runtime: Runtime, kind: str, line: str, value: int) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/limits")
    bundle.process["rlimits"] = [{"type": kind, "soft": value // 2, "hard": value}]
    limits = {row[:26].strip(): row[26:].split()[:2] for row in runtime.output(bundle).splitlines()}
    assert limits[line] == [str(value // 2), str(value)]


@pytest.mark.parametrize(("kind", "value"), [("RLIMIT_NOFILE", 3), ("RLIMIT_NPROC", 1)])
def test_rlimit_that_init_could_not_live_with(runtime: Runtime, kind: str, value: int) -> None:
    """It is for the program, and in force from its first instruction on."""
    bundle = runtime.bundle().sh("ulimit -n; ulimit -u")
    bundle.process["user"] = {"uid": 4711, "gid": 4711}
    bundle.process["rlimits"] = [{"type": kind, "soft": value, "hard": value}]
    container = runtime.create(bundle)
    container.start()
    assert container.wait() == 0
    assert str(value) in container.output.split()


def test_rlimit_of_exec(runtime: Runtime) -> None:
    """A limit of one process for the user holds for the process itself, not for those that bring it there."""
    container = runtime.start(runtime.bundle())
    document = container.bundle.process | {
        "args": ["/bin/sh", "-c", "ulimit -n; ulimit -u"],
        "user": {"uid": 4711, "gid": 4711},
        "rlimits": [{"type": kind, "soft": 1, "hard": 1} for kind in ("RLIMIT_NPROC",)]
        + [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
    }
    (runtime.tmp / "process.json").write_text(json.dumps(document))
    result = container.exec(flags=["--process", runtime.tmp / "process.json"])
    assert (result.code, result.out.split()) == (0, ["50", "1"]), result


@needs_sys_resource
def test_rlimit_can_be_raised_in_a_user_namespace(runtime: Runtime) -> None:
    """As podman asks for with --userns auto: it takes a capability of the host's user namespace."""
    bundle = runtime.bundle().map_users().args("/bin/cat", "/proc/self/limits")
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 1 << 30, "hard": 1 << 30}]
    assert str(1 << 30) in runtime.output(bundle)


@needs_sys_resource
def test_rlimit_can_be_raised(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/limits")
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 1 << 30, "hard": 1 << 30}]
    assert str(1 << 30) in runtime.output(bundle)


def test_rlimit_unknown(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["rlimits"] = [{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]
    assert "RLIMIT_NONE" in runtime.refuses(bundle)


def test_rlimit_twice(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 64}] * 2
    assert "rlimit" in runtime.refuses(bundle).lower()


@pytest.mark.parametrize("on", [True, False])
def test_no_new_privileges(runtime: Runtime, on: bool) -> None:
    assert status_of(runtime, noNewPrivileges=on)["NoNewPrivs"] == str(int(on))


def test_oom_score_can_be_raised(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/oom_score_adj")
    bundle.process["oomScoreAdj"] = 500
    assert runtime.output(bundle) == "500\n"


@needs_sys_resource
def test_oom_score_can_be_lowered(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/cat", "/proc/self/oom_score_adj")
    bundle.process["oomScoreAdj"] = -500
    assert runtime.output(bundle) == "-500\n"


def test_oom_score_is_inherited_if_absent(runtime: Runtime) -> None:
    mine = Path("/proc/self/oom_score_adj").read_text()
    assert runtime.output(runtime.bundle().args("/bin/cat", "/proc/self/oom_score_adj")) == mine


def test_program_in_path(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("sh", "-c", "echo found")
    (bundle.rootfs / "opt").mkdir()
    (bundle.rootfs / "opt/sh").symlink_to("/bin/busybox")
    bundle.process["env"] = ["PATH=/none:/opt"]
    assert runtime.output(bundle) == "found\n"


def test_program_without_path_variable(runtime: Runtime) -> None:
    """The runtime's own PATH is of no matter for the container."""
    bundle = runtime.bundle().args("echo")
    bundle.process["env"] = []
    assert "not found in $PATH" in runtime.refuses(bundle)


def test_program_relative_to_cwd(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("./sh", "-c", "echo found")
    (bundle.rootfs / "work/sh").symlink_to("/bin/busybox")
    bundle.process["cwd"] = "/work"
    assert runtime.output(bundle) == "found\n"


def test_missing_program_is_told_at_create(runtime: Runtime) -> None:
    """The text that podman and docker match for exit code 127."""
    error = runtime.refuses(runtime.bundle().args("nonesuch"))
    assert "executable file" in error
    assert "nonesuch" in error
    assert "not found in $PATH" in error


def test_missing_program_with_a_path(runtime: Runtime) -> None:
    error = runtime.refuses(runtime.bundle().args("/bin/nonesuch"))
    assert "/bin/nonesuch" in error
    assert "no such file or directory" in error.lower()


def test_program_without_execute_permission(runtime: Runtime) -> None:
    """The text that podman and docker match for exit code 126."""
    bundle = runtime.bundle().args("/etc/passwd")
    assert "permission denied" in runtime.refuses(bundle).lower()


def test_program_is_a_directory(runtime: Runtime) -> None:
    error = runtime.refuses(runtime.bundle().args("/etc")).lower()
    assert "is a directory" in error or "permission denied" in error


def test_program_below_a_file(runtime: Runtime) -> None:
    assert "not a directory" in runtime.refuses(runtime.bundle().args("/etc/passwd/x")).lower()


def test_program_text_is_exact(runtime: Runtime) -> None:
    """docs/engines.md promises this text, which is crun's but for one letter: docker compares letter by letter."""
    error = runtime.refuses(runtime.bundle().args("nonesuch"))
    assert "executable file `nonesuch` not found in $PATH: no such file or directory" in error


@pytest.mark.parametrize("program", ["nonesuch", "/nonesuch", "/work/script"])
def test_missing_program_is_in_the_letters_that_docker_looks_for(runtime: Runtime, program: str) -> None:
    """docker run then ends with 127: its client looks for the words in lower case (moby, daemon/start.go)."""
    bundle = runtime.bundle().args(program)
    (bundle.rootfs / "work/script").write_text("#!/none\n")
    (bundle.rootfs / "work/script").chmod(0o755)
    bundle.save()
    error = runtime.fails("run", "--bundle", bundle.path, runtime.container(bundle).id)
    assert "no such file or directory" in error or "executable file not found" in error


def test_script_with_a_missing_interpreter(runtime: Runtime) -> None:
    """It can be found and executed, but the kernel refuses it: start says so, and exits with an error."""
    bundle = runtime.bundle().args("/work/script")
    (bundle.rootfs / "work/script").write_text("#!/none\n")
    (bundle.rootfs / "work/script").chmod(0o755)
    container = runtime.create(bundle)
    assert "no such file or directory" in runtime.fails("start", container.id).lower()
    container.wait()
    assert container.state()["status"] == "stopped"


def test_file_that_is_no_program(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/work/script")
    (bundle.rootfs / "work/script").write_text("\x7f no format\n")
    (bundle.rootfs / "work/script").chmod(0o755)
    container = runtime.create(bundle)
    assert "exec format error" in runtime.fails("start", container.id).lower()
    container.wait()


def test_empty_args(runtime: Runtime) -> None:
    assert "args" in runtime.refuses(runtime.bundle().args())


needs_32_bits = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the host's architecture has no 32 bit personality to look at"
)


@needs_32_bits
def test_personality(runtime: Runtime) -> None:
    bundle = runtime.bundle().args("/bin/uname", "-m")
    bundle.linux["personality"] = {"domain": "LINUX32"}
    assert runtime.output(bundle) == "i686\n"


@needs_32_bits
def test_personality_of_exec(runtime: Runtime) -> None:
    """It is the container's, so exec has it too."""
    bundle = runtime.bundle()
    bundle.linux["personality"] = {"domain": "LINUX32"}
    assert runtime.start(bundle).sh("uname -m") == "i686\n"
