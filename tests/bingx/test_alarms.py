"""One thread for any number of alarms."""

import gc
import threading
import time
import weakref

import pytest

from etl.bingx.alarms import Alarms
from tests.fakes import no_thread


def test_alarms_ring_in_order_of_time_whichever_was_set_first() -> None:
    rung: list[str] = []
    alarms, over = Alarms(), threading.Event()
    alarms.set(0.3, over.set)
    alarms.set(0.2, lambda: rung.append("second"))
    alarms.set(0.1, lambda: rung.append("first"))
    began = time.monotonic()
    assert over.wait(10)
    assert time.monotonic() - began >= 0.28
    assert rung == ["first", "second"]


def test_what_is_cancelled_does_not_ring_and_is_let_go_of_at_once() -> None:
    class Call:
        def __call__(self) -> None:
            rung.append("cancelled")

    rung: list[str] = []
    alarms, over, call = Alarms(), threading.Event(), Call()
    alarm, gone = alarms.set(0.05, call), weakref.ref(call)
    alarm.cancel()
    del call
    gc.collect()
    assert gone() is None, "its deadline may be far off"
    alarms.set(0.1, over.set)
    assert over.wait(10)
    assert rung == []


def test_one_thread_waits_for_all_of_them() -> None:
    alarms, before = Alarms(), threading.active_count()
    rung = [threading.Event() for _ in range(200)]
    for number, event in enumerate(rung):
        alarms.set(0.2 + number % 7 / 100, event.set)
    assert threading.active_count() == before + 1
    assert all(event.wait(10) for event in rung)


def test_an_alarm_is_heard_that_is_set_when_all_others_are_over() -> None:
    alarms = Alarms()
    for _ in range(3):
        over = threading.Event()
        alarms.set(0.01, over.set)
        assert over.wait(10)
        time.sleep(0.05)


def test_where_there_is_no_thread_for_it_the_next_one_tries_again_and_rings_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarms, rung, over = Alarms(), list[str](), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        alarms.set(0.01, lambda: rung.append("first"))
    alarms.set(0.05, over.set)
    assert over.wait(10)
    assert rung == ["first"]


def test_the_thread_ends_when_nothing_is_left_and_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.bingx.alarms.IDLE_SECONDS", 0.01)
    alarms, before = Alarms(), threading.active_count()
    for _ in range(3):
        over = threading.Event()
        alarms.set(0.01, over.set)
        assert over.wait(10)
        deadline = time.monotonic() + 10
        while threading.active_count() > before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
