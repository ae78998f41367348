# SPDX-License-Identifier: Apache-2.0
"""The order of a pod's end, and the delays between restarts."""

from __future__ import annotations

import pytest

from pyoci.pod.member import make, reason_of
from pyoci.pod.termination import KILL, TERM, Backoff, Termination


def test_reverse_order_one_after_the_other() -> None:
    end = Termination(["a", "b", "c"], 30.0, now=100.0)
    assert end.due({"a", "b", "c"}, 100.0) == [(TERM, "c")]
    assert end.due({"a", "b", "c"}, 101.0) == []
    assert end.due({"a", "b"}, 101.0) == [(TERM, "b")]
    assert end.due({"a"}, 102.0) == [(TERM, "a")]
    assert end.due(set(), 103.0) == []


def test_who_does_not_run_gets_nothing() -> None:
    end = Termination(["a", "b", "c"], 30.0, now=0.0)
    assert end.due({"a"}, 0.0) == [(TERM, "a")]
    assert end.next() == 30.0


def test_a_deaf_container_takes_no_more_than_its_share() -> None:
    end = Termination(["a", "b", "c"], 30.0, now=0.0)
    everyone = {"a", "b", "c"}
    assert end.due(everyone, 0.0) == [(TERM, "c")]
    assert end.next() == 10.0
    assert end.due(everyone, 10.0) == [(TERM, "b")]
    assert end.next() == 20.0
    assert end.due(everyone, 20.0) == [(TERM, "a")]
    assert end.next() == 30.0
    assert end.due(everyone, 29.9) == []
    assert sorted(end.due(everyone, 30.0)) == [(KILL, "a"), (KILL, "b"), (KILL, "c")]
    assert end.due(everyone, 31.0) == []
    assert end.next() is None


def test_who_has_just_been_started_is_next() -> None:
    end = Termination(["a", "b", "c"], 30.0, now=0.0)
    assert end.due({"a", "b"}, 0.0) == [(TERM, "b")]
    end.add("c")
    end.add("c")
    assert end.due({"a", "b", "c"}, 1.0) == []
    assert end.due({"a", "c"}, 2.0) == [(TERM, "c")]
    assert end.due({"a"}, 3.0) == [(TERM, "a")]


def test_time_that_is_saved_goes_to_the_others() -> None:
    end = Termination(["a", "b"], 30.0, now=0.0)
    assert end.due({"a", "b"}, 0.0) == [(TERM, "b")]
    assert end.due({"a"}, 1.0) == [(TERM, "a")]
    assert end.next() == 30.0


def test_no_grace_is_kill_at_once() -> None:
    assert Termination(["a"], 0.0, now=5.0).due({"a"}, 5.0) == [(KILL, "a")]


def test_hasten_shortens_and_never_lengthens() -> None:
    end = Termination(["a"], 30.0, now=0.0)
    end.due({"a"}, 0.0)
    end.hasten(60.0, 1.0)
    assert end.end == 30.0
    end.hasten(2.0, 1.0)
    assert end.end == 3.0
    assert end.due({"a"}, 3.0) == [(KILL, "a")]


def test_backoff_is_that_of_kubelet() -> None:
    backoff = Backoff(10.0)
    assert [backoff.delay(1.0) for _ in range(9)] == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]


def test_a_long_run_forgets_the_past() -> None:
    backoff = Backoff(1.0)
    for _ in range(5):
        backoff.delay(0.0)
    assert backoff.delay(59.9) > 0
    assert backoff.delay(60.0) == 0.0
    assert backoff.delay(0.0) == 1.0


def test_what_counts_as_a_good_end() -> None:
    one = make("p", "container", None, 1.0)
    cases = [(0, 0, True), (143, TERM, True), (143, 0, False), (137, KILL, False), (1, TERM, False)]
    for code, signalled, peaceful in cases:
        one.code, one.signalled = code, signalled
        assert one.peaceful is peaceful, (code, signalled)


@pytest.mark.parametrize(
    ("code", "signalled", "killed", "reason", "words"),
    [
        (0, 0, 0, "Completed", "exit status 0"),
        (3, 0, 0, "Error", "exit status 3"),
        (137, 0, 0, "Error", "exit status 137: signal 9"),
        (137, 0, 1, "OOMKilled", "exit status 137: out of memory"),
        (137, TERM, 1, "OOMKilled", "exit status 137: out of memory"),
        (137, KILL, 0, "Error", "exit status 137: killed at the end of the grace period"),
        (137, KILL, 2, "Error", "exit status 137; the kernel killed 2 of its processes before, out of memory"),
        (143, TERM, 0, "Error", "exit status 143: ended by TERM"),
        (143, 0, 0, "Error", "exit status 143: signal 15"),
        (1, 0, 1, "Error", "exit status 1; the kernel killed 1 of its processes before, out of memory"),
    ],
)
def test_words_of_an_end(code: int, signalled: int, killed: int, reason: str, words: str) -> None:
    one = make("p", "container", None, 1.0)
    one.begin(1, -1)
    one.signalled = signalled
    one.end(code, reason_of(code, one.signalled, killed))
    assert (one.reason, one.describe_end(killed)) == (reason, words)
