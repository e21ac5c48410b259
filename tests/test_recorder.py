"""One slot, from the source into the history, whichever part refuses."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.bingx.answers import parse_overview
from etl.errors import CannotCreate, DatabaseUnavailable, Unavailable
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import Plan
from etl.load.load import Loader
from etl.model import Environment, Fetched, Reason, Status
from etl.recorder import Recorder, Slot, Stored
from etl.remembered import Remembered
from etl.spool.spool import Draft, Entry, Spool
from tests.fakes import FakeStore
from tests.values import body

DAY = 86_400
DOWN = DatabaseUnavailable("the database is down")


class Source:
    """An exchange that answers, or raises what a test has told it to."""

    environment = Environment.SANDBOX

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.raises: Exception | None = None
        self.uid_raises: Exception | None = None
        self.answer = body

    def balances(self, account: str, clock_offset_ms: int) -> Fetched:
        self.asked.append(account)
        if self.raises is not None:
            raise self.raises
        now = datetime.now(UTC)
        return Fetched(now, 0, self.answer(at=now), now)

    def uid(self, account: str, clock_offset_ms: int) -> str:
        if self.uid_raises is not None:
            raise self.uid_raises
        return f"uid-{account}"

    def clock_offset_ms(self) -> int:
        return 0

    def key_fingerprint(self, account: str) -> str:
        return f"key-{account}"


class World:
    """A recorder and what it is made of."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.source, self.store, self.remembered = Source(), FakeStore(), Remembered(state)
        self.loader = Loader(
            spool=Spool(state),
            store=self.store,
            parse=parse_overview,
            remembered=self.remembered,
            prepare=lambda: None,
        )
        self.stop = threading.Event()

    def record(
        self,
        *accounts: str,
        keyless: dict[str, str] | None = None,
        interval: int = DAY,
        progress: Callable[[int], None] = lambda _: None,
    ) -> tuple[Slot, Stored]:
        return self.recorder(interval).record(accounts or ("main",), keyless or {}, self.stop, progress)

    def recorder(self, interval: int = DAY, requests_left: Callable[[], int | None] = lambda: None) -> Recorder:
        """The real thing, over this world."""
        plan = Plan(interval, 0.0, 10.0, SlidingWindow(300, 10), SlidingWindow(300, 10))
        return Recorder(self.source, self.remembered, self.loader, plan, requests_left=requests_left)

    @property
    def waiting(self) -> int:
        return self.loader.spool.depth()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """In which everything works."""
    return World(tmp_path / "state")


def test_it_says_what_is_in_the_history_how_long_that_took_and_how_many_requests_are_left(world: World) -> None:
    world.store.error = DOWN
    _, stored = world.record("main", "other")
    assert (stored.newest, stored.seconds is not None) == ({}, True)
    world.store.error = None
    world.source.raises = Unavailable(Reason.UNAVAILABLE, "HTTP 503")
    recorder = world.recorder(requests_left=lambda: 17)
    slot = recorder.read(["main"], {}, world.stop)
    stored = recorder.store([slot])
    assert slot.requests_left == 17
    assert set(stored.newest) == {"main", "other"}, "what waited"
    assert all(taken_at <= datetime.now(UTC) for taken_at in stored.newest.values())
    assert stored.seconds is not None
    assert 0 <= stored.seconds < 10


def test_a_reading_is_stored_and_leaves_nothing_behind(world: World) -> None:
    counted: list[int] = []
    slot, stored = world.record("main", "other", keyless={"broken": "no such file"}, progress=counted.append)
    told = {recorded.outcome.account: recorded for recorded in slot.recorded}
    assert {name: each.stored for name, each in told.items()} == {"main": True, "other": True, "broken": True}
    assert told["main"].snapshot is not None
    assert told["main"].snapshot.status is Status.COMPLETE
    assert told["main"].failure is None
    broken = told["broken"].failure
    assert broken is not None
    assert (broken.reason, broken.detail, broken.attempts) == (Reason.KEY_MISSING, "no such file", 0)
    assert len(world.store.history.snapshots) == 2
    assert len(world.store.history.failures) == 1
    assert sum(counted) == 3
    assert world.waiting == 0
    assert (stored.trouble, stored.earlier, stored.lost, slot.disk) == (None, 0, [], None)


def test_while_the_database_is_down_it_waits_and_what_waited_is_stored_with_the_next(world: World) -> None:
    world.store.error = DOWN
    slot, stored = world.record("main")
    [recorded] = slot.recorded
    assert (recorded.stored, stored.trouble, world.waiting) == (False, DOWN, 1)
    assert recorded.snapshot is not None, "what it says is known all the same"
    assert not world.store.history.snapshots
    world.store.error = None
    _, stored = world.record("other")
    assert (stored.earlier, stored.trouble, world.waiting) == (1, None, 0)
    assert len(world.store.history.snapshots) == 2


def test_what_the_disk_refuses_goes_straight_to_the_database(world: World) -> None:
    world.state.mkdir()
    (world.state / "spool").write_text("in the way")
    slot, stored = world.record()
    assert isinstance(slot.disk, CannotCreate)
    assert [recorded.stored for recorded in slot.recorded] == [True]
    assert stored.lost == []
    assert len(world.store.history.snapshots) == 1


def test_where_neither_can_take_it_nothing_is_asked_for(world: World) -> None:
    world.state.mkdir()
    (world.state / "spool").write_text("in the way")
    world.store.error = DOWN
    with pytest.raises(CannotCreate, match="nothing was asked for"):
        world.record()
    assert world.source.asked == []


def test_what_both_refuse_after_it_was_read_is_told_as_lost(world: World) -> None:
    world.state.mkdir()
    (world.state / "spool").write_text("in the way")

    def goes_down(_: int) -> None:
        world.store.error = DOWN

    slot, stored = world.record(progress=goes_down)
    assert [outcome.account for outcome in stored.lost] == ["main"]
    assert [recorded.stored for recorded in slot.recorded] == [False]
    assert stored.trouble is DOWN


def test_what_both_refused_goes_to_the_disk_as_soon_as_that_has_room(world: World) -> None:
    world.state.mkdir()
    (world.state / "spool").write_text("in the way")

    def goes_down(_: int) -> None:
        world.store.error = DOWN

    slot, stored = world.record(progress=goes_down)
    assert stored.lost
    (world.state / "spool").unlink()
    (world.state / "spool").mkdir()
    stored = world.recorder().store([slot])
    assert (stored.trouble, stored.lost, world.waiting) == (DOWN, [], 1)
    assert [recorded.stored for recorded in slot.recorded] == [False]
    world.store.error = None
    stored = world.recorder().store([slot])
    assert (stored.trouble, stored.lost, world.waiting) == (None, [], 0)
    assert [recorded.stored for recorded in slot.recorded] == [True]
    assert len(world.store.history.snapshots) == 1


def test_told_to_stop_it_keeps_what_it_has_and_stores_nothing(world: World) -> None:
    world.stop.set()
    slot, stored = world.record("main", "other")
    assert {recorded.failure.reason for recorded in slot.recorded if recorded.failure} == {Reason.STOPPED}
    assert [recorded.stored for recorded in slot.recorded] == [False, False]
    assert world.waiting == 2
    assert not world.store.history.failures
    assert stored == Stored()


def test_what_another_process_has_stored_meanwhile_is_stored(world: World) -> None:
    slot, stored = world.record(progress=lambda _: world.loader.load())
    [recorded] = slot.recorded
    assert recorded.stored
    assert recorded.snapshot is not None
    assert stored.earlier == 0
    assert len(world.store.history.snapshots) == 1


def test_what_another_process_has_made_of_it_meanwhile_is_told_as_that(world: World) -> None:
    """A duplicate, and what must not be mixed in."""
    world.record()
    slot, _ = world.record(progress=lambda _: world.loader.load())
    assert [(each.duplicate, each.stored) for each in slot.recorded] == [(True, True)]
    world.source.environment = Environment.VST
    slot, _ = world.record(progress=lambda _: world.loader.load())
    [recorded] = slot.recorded
    assert recorded.failure is not None
    assert recorded.failure.reason is Reason.IDENTITY_MISMATCH
    [item] = world.loader.spool.quarantined()
    assert item.reason == Reason.IDENTITY_MISMATCH


def test_what_was_taken_for_torn_while_its_writer_was_halted_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in quarantine then, whole, and out of the way of its writer."""
    spool = world.loader.spool

    def halted(drafts: Sequence[Draft]) -> tuple[list[Entry], OSError | None]:
        for draft in drafts:
            spool.quarantine(draft.file, "unreadable", "torn: its writer died while writing it")
        return keep(drafts)

    keep = spool.keep
    monkeypatch.setattr(spool, "keep", halted)
    slot, _ = world.record()
    assert [recorded.stored for recorded in slot.recorded] == [True]
    assert len(world.store.history.snapshots) == 1


def test_the_second_reading_of_a_slot_is_told_to_be_a_duplicate(world: World) -> None:
    world.record()
    slot, stored = world.record()
    [recorded] = slot.recorded
    assert (recorded.duplicate, recorded.stored) == (True, True)
    assert len(world.store.history.snapshots) == 1
    assert stored.newest == {"main": recorded.outcome.slot_at}, "its own time is not in the history"


def test_a_reading_whose_owner_is_not_known_yet_waits_and_says_why(world: World) -> None:
    world.record()
    world.source.key_fingerprint = lambda account: "rotated"  # type: ignore[method-assign]
    world.source.uid_raises = Unavailable("unavailable", "HTTP 503")
    slot, _ = world.record()
    [recorded] = slot.recorded
    assert not recorded.stored
    assert recorded.waits is not None
    assert "UID" in recorded.waits
    assert world.waiting == 1
    world.source.uid_raises = None
    _, stored = world.record()
    assert (stored.earlier, world.waiting) == (1, 0)


def test_whose_key_a_history_was_begun_with_outlasts_the_run_in_which_it_was_stored(world: World) -> None:
    """The run has looked before at what is remembered of the account, and writes it once its question is answered."""
    world.source.uid_raises = Unavailable(Reason.UNAVAILABLE, "HTTP 503")
    world.recorder().read(["main"], {}, world.stop, lambda _: world.loader.load())
    assert world.remembered.account("main").uid_refusal is not None
    world.source.key_fingerprint = lambda account: "another"  # type: ignore[method-assign]
    world.source.uid_raises = None
    slot, _ = world.record()
    assert [recorded.stored for recorded in slot.recorded] == [False], "it may be another user's"


def test_a_body_that_cannot_be_understood_is_told_as_malformed_even_before_it_is_loaded(world: World) -> None:
    world.source.answer = lambda at: b"<html>"  # type: ignore[assignment, misc]
    world.store.error = DOWN
    slot, _ = world.record()
    [recorded] = slot.recorded
    assert recorded.failure is not None
    assert (recorded.failure.reason, recorded.stored) == (Reason.MALFORMED, False)
    world.store.error, world.source.answer = None, body
    _, stored = world.record("other")
    assert [loaded.failure.reason for loaded in stored.quarantined if loaded.failure] == [Reason.MALFORMED]
    assert len(world.loader.spool.quarantined()) == 1
