# SPDX-License-Identifier: Apache-2.0
"""Fixtures and hooks of the black-box tests. A conftest.py imports them by name."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import jsonschema
import pytest

from harness import differences, host
from harness.jsonfiles import schema
from harness.runtime import COMMAND, Runtime, kind_of

KINDS: list[str] = []  # the kind of the runtime under test, once it is known


def kind() -> str:
    """`pyoci`, `runc` or `crun`."""
    if not KINDS:
        if not os.access(COMMAND, os.X_OK):
            pytest.exit(f"no runtime at {COMMAND}: run make, or name one by RUNTIME=", returncode=3)
        host.become_subreaper()
        KINDS.append(kind_of(COMMAND))
        if KINDS[0] == "crun":
            host.give_crun_hugetlb()
    return KINDS[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A named difference turns a test into one that must fail. What mounts the hugetlb hierarchy comes last: the kernel
    may keep it for a while after its last mount, and podman does not run beside it."""
    items.sort(key=_mounts_hugetlb)
    if os.geteuid() != 0:
        return  # tests/conftest.py skips them all
    for item in items:
        if not {"runtime", "podman", "ctr", "cri"} & set(getattr(item, "fixturenames", ())):
            continue
        found = differences.find(item.nodeid, kind())
        if found and not item.get_closest_marker("xfail"):  # each conftest.py registers this hook
            item.add_marker(pytest.mark.xfail(reason=f"{kind()}: {found.reason}", strict=not found.race))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses the fixture ``cgroups`` runs with those of the host, and once more with v2 alone."""
    if "cgroups" in metafunc.fixturenames and not host.unified() and kind() == "pyoci":
        metafunc.parametrize("cgroups", ["v1", "v2"], indirect=True)


def _mounts_hugetlb(item: pytest.Item) -> bool:
    names = {"cri", "hugetlb"} & set(getattr(item, "fixturenames", ()))
    return bool(names) or item.path.name == "test_bench_smoke.py"


@pytest.fixture
def cgroups(request: pytest.FixtureRequest) -> Iterator[None]:
    """The control groups of the host, or v2 alone (see pytest_generate_tests)."""
    with host.cgroup_v2() if getattr(request, "param", "") == "v2" else contextlib.nullcontext():
        yield


@pytest.fixture
def cgroup_v2() -> Iterator[None]:
    """v2 alone, whatever the host has."""
    if kind() == "crun" and not host.has_capability(host.CAP_SYS_RESOURCE):
        pytest.skip("the host's bounding set lacks CAP_SYS_RESOURCE: crun raises RLIMIT_MEMLOCK for its device filter")
    with contextlib.nullcontext() if host.unified() else host.cgroup_v2():
        yield


@pytest.fixture(scope="session")
def busybox() -> Iterator[Path]:
    """Returns one copy of busybox that the root file systems hard-link, so that no test can reach the host's."""
    directory = Path(tempfile.mkdtemp(prefix="pyoci-tests-"))
    shutil.copy2("/bin/busybox", directory / "busybox")
    (directory / "busybox").chmod(0o755)
    yield directory / "busybox"
    shutil.rmtree(directory)


@pytest.fixture
def runtime(busybox: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """The runtime under test with a state root of its own."""
    prefix = f"pt{os.getpid()}x{next(_numbers)}"
    made = Runtime(COMMAND, kind(), prefix, busybox)
    yield made
    if made.tmp.exists():  # the hook below did not run: the test was skipped, or a fixture failed
        left = made.close()
        assert not left, f"left behind: {left}"


def _count() -> Generator[int, None, None]:
    number = 0
    while True:
        number += 1
        yield number


_numbers = _count()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After each test: delete its containers by force; what is left then makes the test fail."""
    made = getattr(item, "funcargs", {}).get("runtime")
    if not isinstance(made, Runtime):
        return (yield)
    passed = False
    try:
        result = yield
        passed = True
    finally:
        left = made.close()
        if passed:
            assert not left, f"left behind: {left}"
    return result


@pytest.fixture(scope="session")
def state_schema() -> jsonschema.protocols.Validator:
    """Returns a validator of the state document."""
    return schema("state.json")


@pytest.fixture(scope="session")
def features_schema() -> jsonschema.protocols.Validator:
    """Returns a validator of the features document."""
    return schema("features.json")
