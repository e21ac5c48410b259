"""A history that vanishes: told once, shown until it is over, and ended by the one before or by a person."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl.grid import slot_of
from etl.load.lineage import TOGETHER
from etl.spool.spool import Spool
from tests.cli.program import Program, eventually
from tests.cli.test_doctor import found, put_right
from tests.cli.test_watching_changes import Listener
from tests.trust.crowd import inside
from tests.values import reading

BEGINS, ENDS = (("history_begun_anew", word, "") for word in ("begins", "ends"))
SLOTS = "SELECT slot_at, status, provenance FROM snapshot ORDER BY 1"


class Installation:
    """One whose database can be lost, and put back."""

    def __init__(self, program: Program, another: str) -> None:
        self.program = program
        self.listener = Listener(program)
        self._another = another
        program.environ["BINGX_ETL_ON_CHANGE"] = str(self.listener.script)
        self._textfile = program.home / "metrics.prom"
        program.environ["BINGX_ETL_METRICS_TEXTFILE"] = str(self._textfile)
        put_right(program)

    def record(self, *days_ago: int) -> None:
        """Slots of days that are over."""
        spool, today = Spool(self.program.state), slot_of(datetime.now(UTC), 86_400)
        spool.prepare()
        days = [today - timedelta(days=ago) for ago in days_ago]
        uid = str(self.program.exchange.account("main").uid)
        spool.put([reading(slot_at=day, requested_at=day, interval_seconds=86_400, uid=uid) for day in days])
        ran = inside(self.program, "spool", "load")
        assert ran.code == 0, ran

    def lose(self) -> None:
        """The file is gone; or the setting names another PostgreSQL."""
        time.sleep(TOGETHER.total_seconds() + 0.1)
        self._switch()
        if self._file is not None:
            self._file.rename(self._file.with_suffix(".lost"))

    def put_back(self) -> None:
        """The one before."""
        if self._file is not None:
            self._file.rename(self._file.with_suffix(".other"))
            self._file.with_suffix(".lost").rename(self._file)
        self._switch()

    def doctor(self) -> tuple[int, str, str]:
        """Its exit code; verdict and words of the history."""
        ran = inside(self.program, "doctor", "--json")
        [finding] = found(ran)["history"]
        return ran.code, finding["verdict"], f"{finding['says']}: {finding['remedy']}"

    @property
    def gauge(self) -> str:
        """What the metrics of the last slot say of the history."""
        return self._textfile.read_text().partition("\nbingx_etl_history_begun_anew ")[2].partition("\n")[0]

    @property
    def _file(self) -> Path | None:
        url = self.program.database_url
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else None

    def _switch(self) -> None:
        if self._file is None:
            self.program.database_url, self._another = self._another, self.program.database_url
            self.program.environ["BINGX_ETL_DATABASE_URL"] = self.program.database_url


@pytest.fixture
def place(anywhere: Program, new_database: Callable[..., str], dialect: str) -> Installation:
    """With a database of either kind."""
    return Installation(anywhere, new_database(dialect, migrated=dialect == "postgresql", name="other.db"))


def test_a_new_history_in_the_place_of_the_one_before_is_told_until_a_person_lets_it_go_on(
    place: Installation,
) -> None:
    program, listener = place.program, place.listener
    place.record(3, 2)
    assert place.doctor()[:2] == (0, "ok")
    place.lose()
    code, verdict, words = place.doctor()
    assert (code, verdict) == (1, "problem"), "before anything is recorded into another one, too"
    assert "it is not in the database, though accounts were recorded" in words
    place.record(1)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: program.run("snapshot"), range(2)))
    assert [ran.code for ran in [*runs, inside(program, "snapshot")]] == [0] * 3, "recording goes on"
    assert listener.changes == [BEGINS]
    assert place.gauge == "1.0"
    assert "and not the one before, of 20" in listener.told[0]["environ"]["BINGX_STATE_TEXT"]
    code, verdict, words = place.doctor()
    assert (code, verdict) == (1, "problem")
    assert "is in the place of that begun at 20" in words
    assert "mount its disk" in words
    assert "bingx-etl db adopt" in words
    status = inside(program, "status")
    assert "another history is recorded into than before" in status.err
    assert inside(program, "status", "--json").lines[0]["history_begun_anew_at"][:11] in status.err
    assert len(program.rows(SLOTS)) == 2
    for ran in (program.run("db", "adopt"), inside(program, "db", "adopt")):
        assert (ran.code, ran.out) == (0, ""), ran
        assert "2 kept outcomes of other histories are in this one: from 20" in ran.err
    assert [row[1:] for row in program.rows(SLOTS)] == [("complete", "measured")] * 4
    assert inside(program, "gaps").code == 0
    assert place.doctor()[:2] == (0, "ok")
    status = inside(program, "status", "--json")
    assert (status.err, status.lines[0]["history_begun_anew_at"]) == ("", None)
    assert program.run("snapshot").code == inside(program, "snapshot").code == 0
    assert listener.changes == [BEGINS, ENDS]
    assert place.gauge == "0.0"


def test_the_state_ends_by_itself_when_the_history_before_is_back_and_what_came_meanwhile_can_be_had(
    place: Installation,
) -> None:
    program = place.program
    place.record(3)
    place.lose()
    place.record(2, 1)
    assert inside(program, "snapshot").code == 0
    place.put_back()
    assert place.doctor()[:2] == (0, "ok"), "who has put it back need not wait for a slot to know"
    ran = program.run("snapshot")
    assert ran.code == 0
    assert "is in the database again" in ran.err
    assert "db adopt" in ran.err
    assert place.listener.changes == [BEGINS, ENDS]
    assert inside(program, "gaps").code == 1
    ran = inside(program, "db", "adopt")
    assert (ran.code, ran.err.partition(" ")[0]) == (0, "3"), ran
    assert inside(program, "gaps").code == 0
    assert [row[1:] for row in program.rows(SLOTS)] == [("complete", "measured")] * 4
    assert inside(program, "snapshot").code == 0
    assert place.listener.changes == [BEGINS, ENDS]


def test_the_daemon_tells_it_and_a_person_may_let_it_go_on_while_that_records(place: Installation) -> None:
    program, listener = place.program, place.listener
    program.environ |= {"BINGX_ETL_INTERVAL": "1s", "BINGX_ETL_MISSED_IN_A_ROW": "99"}
    with program.daemon() as daemon:
        before = eventually(program.recorded)
        if program.database_url.startswith("postgresql"):
            assert daemon.stop() == 143
        place.lose()
        with program.daemon() as another:
            eventually(lambda: listener.told)
            assert program.run("db", "adopt").code == 0
            eventually(lambda: len(listener.told) > 1)
            assert another.stop() == 143
    assert listener.changes == [BEGINS, ENDS]
    assert set(before) <= set(program.recorded()), "what went into the one before is in this one"
    assert "a new history begins" in another.said + daemon.said


def test_a_database_that_is_down_is_no_history_that_is_gone(program: Program) -> None:
    listener = Listener(program)
    program.environ["BINGX_ETL_ON_CHANGE"] = str(listener.script)
    assert inside(program, "snapshot").code == 0
    down = {"BINGX_ETL_DATABASE_URL": "postgresql://me@127.0.0.1:1/none", "BINGX_ETL_INTERVAL": "12h"}
    assert inside(program, "snapshot", **down).code == 75
    [finding] = found(inside(program, "doctor", "--json", **down))["history"]
    assert finding["verdict"] == "skipped"
    assert inside(program, "db", "adopt", **down).code == 75
    assert inside(program, "snapshot").code == 0
    assert listener.changes == []


def test_what_cannot_be_remembered_is_not_called_done(program: Program) -> None:
    assert inside(program, "snapshot").code == 0
    file = program.state / "remembered" / "history.json"
    file.unlink()
    file.mkdir()
    ran = inside(program, "db", "adopt")
    assert ran.code == 74
    assert "history.json cannot be written" in ran.err
    assert inside(program, "snapshot").code == 0, "recording goes on"
