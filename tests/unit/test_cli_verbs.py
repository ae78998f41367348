# SPDX-License-Identifier: Apache-2.0
"""The verbs as far as they go without root: documents, lists, ids, patterns. Containers are in tests/runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyoci.cli import list as list_verb
from pyoci.cli import main, shared
from pyoci.container.paths import Root
from pyoci.errors import PyociError, UsageError

BAD_IDS = ["", ".", "..", "a/b", "../x", "a\nb", "x" * 5000, "a b", "ü"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def run(root: Path, *args: str) -> int:
    return main.main(["--root", str(root), *args])


@pytest.mark.parametrize("verb", ["create", "run", "start", "state", "kill", "delete", "delete --force", "exec"])
@pytest.mark.parametrize("container_id", BAD_IDS)
def test_ids_that_are_refused(
    verb: str, container_id: str, root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["spec", "-b", str(tmp_path)]) == 0
    extra = {"create": ["-b", str(tmp_path)], "run": ["-b", str(tmp_path)]}.get(verb, [])
    last = ["true"] if verb == "exec" else []
    assert run(root, *verb.split(), *extra, container_id, *last) == 1
    error = capfd.readouterr().err
    assert error.startswith("pyoci: container ID ")
    assert error.count("\n") == 1
    assert not root.exists()


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete", "exec"])
def test_a_container_that_does_not_exist(verb: str, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(root, verb, "nobody", *(["true"] if verb == "exec" else [])) == 1
    assert capfd.readouterr().err == "pyoci: container nobody: container does not exist\n"


def test_forced_delete_of_nobody_is_success(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(root, "delete", "--force", "nobody") == 0
    assert capfd.readouterr() == ("", "")


def test_a_signal_that_is_none(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(root, "kill", "nobody", "NOSUCH") == 1
    assert "signal 'NOSUCH': unknown" in capfd.readouterr().err


def test_list_of_nothing(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(root, "list", "--format=json") == 0
    assert json.loads(capfd.readouterr().out) == []
    assert run(root, "list") == 0
    assert capfd.readouterr().out == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert run(root, "list", "-q") == 0
    assert capfd.readouterr() == ("", "")
    assert run(root, "list", "-f", "yaml") == 1
    assert "flag --format: 'yaml' is neither table nor json" in capfd.readouterr().err


@pytest.mark.parametrize("content", ["", "null", "[]", '{"format": 2}', "{", '{"format": 2, "id": 5}'])
def test_list_warns_of_a_damaged_state(content: str, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / "broken").mkdir(parents=True)
    (root / "broken/state.json").write_text(content)
    assert run(root, "list", "-f", "json") == 0
    seen = capfd.readouterr()
    assert json.loads(seen.out) == []
    assert seen.err.startswith("pyoci: warning: state of broken: ")
    assert seen.err.count("\n") == 1


def test_table_has_wide_columns_for_wide_cells() -> None:
    assert list_verb._table([["ID", "PID", "X"], ["a" * 12, "7", "owner"]]) == (
        "ID             PID         X\naaaaaaaaaaaa   7           owner\n"
    )


def test_config_writes_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["spec", "--bundle", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "config.json").read_text())
    assert document["ociVersion"].startswith("1.")
    assert main.main(["spec", "-b", str(tmp_path)]) == 1
    assert f"{tmp_path}/config.json exists" in capfd.readouterr().err
    assert main.main(["spec", "-b", str(tmp_path), "--rootless", "-f", "other.json"]) == 0
    assert json.loads((tmp_path / "other.json").read_text())["linux"]["uidMappings"]
    assert capfd.readouterr() == ("", "")


def test_plan_prints_an_operation_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rootfs").mkdir()
    flags = ["--console-socket", str(tmp_path / "socket")]
    assert main.main(["spec", "-b", str(tmp_path)]) == 0
    assert main.main(["plan", *flags, str(tmp_path)]) == 0
    by_word = capfd.readouterr().out
    lines = by_word.splitlines()
    assert any(line.startswith("init     clone3 ") and "pid" in line for line in lines)
    assert lines[-1].startswith("init     execve")
    assert f"init     rootfs {tmp_path}/rootfs  # /root/path" in lines
    assert main.main(["plan", *flags, "--bundle", str(tmp_path)]) == 0
    assert capfd.readouterr().out == by_word
    assert main.main(["plan", *flags, "--no-pivot", "-b", str(tmp_path)]) == 0
    assert capfd.readouterr().out != by_word


def test_plan_of_a_bundle_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", str(tmp_path)]) == 1
    error = capfd.readouterr().err
    assert "config.json" in error
    assert "no such file" not in error.lower()


def test_features_is_a_document(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["features"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["ociVersionMin"]
    assert "user" in document["linux"]["namespaces"]


def test_each_match(tmp_path: Path) -> None:
    for name in ("web-1", "web-2", "db-1"):
        (tmp_path / name).mkdir()
    root = Root(str(tmp_path))
    seen: list[str] = []
    shared.each_match(root, "^web", seen.append)
    assert seen == ["web-1", "web-2"]

    def fail_first(name: str) -> None:
        seen.append(name)
        if name != "web-1":
            raise PyociError(f"no {name}")

    seen.clear()
    with pytest.raises(PyociError, match=r"^no db-1; no web-2$"):
        shared.each_match(root, "", fail_first)
    assert seen == ["db-1", "web-1", "web-2"]
    shared.each_match(root, "nothing", fail_first)
    with pytest.raises(UsageError, match=r"^'\(' is no regular expression: "):
        shared.each_match(root, "(", seen.append)
