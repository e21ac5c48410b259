"""What the disk refuses after the bytes were written: nothing whole is thrown away, nothing overtakes."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.trust.house import House
from tests.trust.invariants import check
from tests.trust.test_crashes import RECORD, settle
from tests.trust.test_order import before
from tests.trust.tracing import need_strace, run_traced, wait_for_new_slot

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[House]:
    need_strace()
    with ExitStack() as stack:
        house = settle(stack, tmp_path / "home", database_url)
        house.recover()
        wait_for_new_slot()
        yield house


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_draft_that_is_whole_is_not_thrown_away_because_its_flush_or_its_name_was_refused(
    house: House, call: str
) -> None:
    run = run_traced(house.program, *RECORD, fault=f"{call}:error=EIO:when=1", BINGX_ETL_DATABASE_URL=NOWHERE)
    assert run.hit
    check(house.witness, house.left)
    assert house.program.run("snapshot").code == 0
    check(house.witness, house.left)


def test_what_the_disk_refuses_does_not_overtake_what_waits_for_the_same_slot(house: House) -> None:
    house.program.environ["BINGX_ETL_INTERVAL"] = "1d"
    assert house.program.run("snapshot", BINGX_ETL_DATABASE_URL=NOWHERE).code == 75
    assert run_traced(house.program, *RECORD, fault="write:error=EIO:when=1").hit
    check(house.witness, house.left)


def test_a_draft_of_a_dead_writer_is_flushed_before_it_is_adopted(house: House) -> None:
    assert run_traced(house.program, *RECORD, fault="fsync:signal=KILL:when=1").killed
    [draft] = [path for path in (house.program.state / "spool").iterdir() if path.name.endswith(".unfinished")]
    run = run_traced(house.program, "spool", "load", letters=200, BINGX_ETL_DATABASE_URL=NOWHERE)
    [rename] = [call for call in run.named("rename", "renameat", "renameat2") if call.path == str(draft)]
    assert any(before(call, rename) for call in run.named("fsync") if call.path == str(draft))
