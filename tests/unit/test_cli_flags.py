# SPDX-License-Identifier: Apache-2.0
"""pyoci.cli.flags: the dialects of runc and crun, and what is refused."""

from __future__ import annotations

import pytest

from pyoci.cli import flags
from pyoci.cli.flags import BOOL, INT, REPEAT, TEXT
from pyoci.errors import UsageError

TABLE = (
    ("bundle b", TEXT, "DIR", ""),
    ("detach d", BOOL, "", ""),
    ("tty t", BOOL, "", ""),
    ("env e", REPEAT, "E", ""),
    ("preserve-fds", INT, "N", ""),
    ("no-subreaper", BOOL, "", ""),
)


def parse(*args: str, stop_after: int = -1) -> flags.Parsed:
    return flags.parse(TABLE, list(args), "verb", stop_after)


@pytest.mark.parametrize(
    "args",
    [
        ["--bundle", "x"],
        ["--bundle=x"],
        ["-bundle", "x"],
        ["-bundle=x"],
        ["-b", "x"],
        ["-b=x"],
        ["-bx"],
        ["--b", "x"],
        ["--bundle", "y", "-b", "x"],
    ],
)
def test_text(args: list[str]) -> None:
    parsed = parse(*args, "id")
    assert parsed.text("bundle") == "x"
    assert parsed.words == ["id"]


def test_values_may_look_like_flags() -> None:
    assert parse("--bundle", "--detach").text("bundle") == "--detach"
    assert parse("--env=A=b=c", "-e", "-x").all("env") == ["A=b=c", "-x"]


@pytest.mark.parametrize("value", ["true", "yes", "1", "True", "on"])
def test_true(value: str) -> None:
    assert parse(f"--tty={value}").flag("tty") is True


@pytest.mark.parametrize("value", ["false", "no", "0", "FALSE", "off"])
def test_false(value: str) -> None:
    parsed = parse("--tty", f"--tty={value}")
    assert parsed.flag("tty") is False
    assert parsed.given("tty")


def test_absent() -> None:
    parsed = parse()
    assert (parsed.flag("tty"), parsed.text("bundle")) == (False, "")
    assert (parsed.number("preserve-fds"), parsed.all("env")) == (0, [])
    assert parsed.text("bundle", "here") == "here"
    assert not parsed.given("tty")


@pytest.mark.parametrize("args", [["-dt"], ["-td"], ["-d", "-t"], ["-dt=true"]])
def test_short_booleans_combine(args: list[str]) -> None:
    parsed = parse(*args)
    assert parsed.flag("detach") and parsed.flag("tty")


@pytest.mark.parametrize("args", [["-dtbx"], ["-dtb", "x"], ["-dtb=x"]])
def test_short_booleans_before_a_value(args: list[str]) -> None:
    parsed = parse(*args)
    assert parsed.flag("detach") and parsed.flag("tty") and parsed.text("bundle") == "x"


def test_go_style_long_flag_with_one_dash() -> None:
    assert parse("-no-subreaper", "id").flag("no-subreaper")


def test_flags_after_words_and_the_end_of_flags() -> None:
    parsed = parse("id", "--detach", "--", "--tty", "-b")
    assert parsed.words == ["id", "--tty", "-b"]
    assert parsed.flag("detach") and not parsed.flag("tty")


def test_a_single_dash_is_a_word() -> None:
    assert parse("-", "x").words == ["-", "x"]


def test_stop_after() -> None:
    parsed = parse("-d", "id", "sh", "-t", "--", "-b", stop_after=1)
    assert parsed.words == ["id", "sh", "-t", "--", "-b"]
    assert parsed.flag("detach") and not parsed.flag("tty")


@pytest.mark.parametrize("args", [["--bundle"], ["id", "-b"], ["-db"], ["--preserve-fds"]])
def test_a_missing_value(args: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^verb: flag --(bundle|preserve-fds) requires an argument$"):
        parse(*args)


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "x", " 1", "0x1", "٣", "9999999999"])
def test_numbers(value: str) -> None:
    assert parse("--preserve-fds", "007").number("preserve-fds") == 7
    with pytest.raises(UsageError, match="--preserve-fds: .* is not a decimal number"):
        parse(f"--preserve-fds={value}")


def test_a_boolean_that_is_neither() -> None:
    with pytest.raises(UsageError, match="--tty: 'maybe' is neither true nor false"):
        parse("--tty=maybe")


@pytest.mark.parametrize(
    ("arg", "words"),
    [
        ("--bundel", r"unknown flag --bundel \(did you mean --bundle\?\)"),
        ("--bundel=x", r"unknown flag --bundel \(did you mean --bundle\?\)"),
        ("-x", "unknown flag -x; try 'pyoci verb --help'"),
        ("-dx", "unknown flag -dx;"),
        ("--dt", "unknown flag --dt"),
        ("--zebra-crossing", "unknown flag --zebra-crossing;"),
    ],
)
def test_an_unknown_flag_is_named_with_what_is_near(arg: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"^verb: {words}"):
        parse(arg)


def test_help_is_known_everywhere() -> None:
    assert flags.parse((), ["--help"], "verb").flag("help")
    assert flags.parse((), ["-h"], "verb").flag("help")


def test_words() -> None:
    assert flags.words(parse("a", "b"), "verb", "ID", "SIGNAL", optional=1) == ["a", "b"]
    assert flags.words(parse("a"), "verb", "ID", "SIGNAL", optional=1) == ["a"]
    with pytest.raises(UsageError, match="^verb: ID is missing"):
        flags.words(parse(), "verb", "ID", "SIGNAL", optional=1)
    with pytest.raises(UsageError, match="^verb: unexpected argument 'c'"):
        flags.words(parse("a", "c"), "verb", "ID")
