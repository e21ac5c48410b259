"""The order of system calls of real runs. A kill leaves the system's memory alive, so no crash test can see an fsync:
what would be left after a power cut follows from what was asked of the disk before what."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from etl.sandbox.faults import parse_fault
from etl.sandbox.server import SandboxServer
from tests.cli.program import Program, Ran
from tests.postgres import PostgresServer
from tests.trust.tracing import Call, Traced, need_strace, run_traced, wait_for_new_slot
from tests.trust.witness import Left, Witness

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
LETTERS = 200
# A busy machine takes a second to start a program; a slot that is over by then is another outcome.
SLOT_SECONDS = 2


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program with a database of either kind, in short slots."""
    need_strace()
    home = tmp_path_factory.mktemp("order")
    with ExitStack() as stack:
        url = f"sqlite:///{home / 'state' / 'balances.db'}"
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(server.database(request.getfixturevalue("postgres_template")))
        program = Program(home, stack.enter_context(SandboxServer(Witness(1, 7))), url)
        program.environ["BINGX_ETL_INTERVAL"] = f"{SLOT_SECONDS}s"
        yield program


@pytest.fixture(scope="module")
def run(house: Program) -> Traced:
    """A run that keeps a reading, finds two others that wait, stores two and sets one aside that makes no sense."""
    assert in_new_slot(house, "snapshot").code == 0
    assert in_new_slot(house, "snapshot", BINGX_ETL_DATABASE_URL=NOWHERE).code == 75
    nonsense = {"kind": "raw", "body": '{"code":0,"data":7}', "times": 1}
    house.exchange.faults.put(parse_fault(nonsense))
    assert in_new_slot(house, "snapshot", BINGX_ETL_DATABASE_URL=NOWHERE).code in (65, 75)
    return traced(house, "snapshot", "--json")


def in_new_slot(program: Program, *arguments: str, **environ: str | None) -> Ran:
    """A run, not in the slot of another: the duplicate of a slot changes nothing, and so commits nothing."""
    wait_for_new_slot(SLOT_SECONDS)
    return program.run(*arguments, **environ)


def traced(program: Program, *arguments: str) -> Traced:
    """A run that shall succeed as far as the disk and the database are concerned."""
    wait_for_new_slot(SLOT_SECONDS)
    done = run_traced(program, *arguments, letters=LETTERS)
    assert done.ran.code in (0, 65), done.ran
    assert not done.hit
    assert not Left(program.state, program.database_url).spool
    return done


def before(first: Call, second: Call) -> bool:
    """Whether the first was over when the second began."""
    return first.succeeded and first.ended is not None and first.ended < second.began


def the(calls: list[Call], which: Callable[[Call], bool]) -> Call:
    """The only one."""
    [call] = [call for call in calls if which(call)]
    return call


def commits(house: Program, run: Traced) -> list[Call]:
    """What ends each COMMIT: PostgreSQL's word for it; SQLite's flush of the directory that has lost its journal."""
    if house.database_url.startswith("postgresql"):
        return [call for call in run.named("recvfrom", "recvmsg") if r"COMMIT\0" in call.arguments]
    removed = [call for call in run.named("unlink", "unlinkat") if call.path == f"{house.state}/balances.db-journal"]
    flushes = [call for call in run.named("fdatasync", "fsync") if call.path == str(house.state)]
    ends = [next((flush for flush in flushes if before(call, flush)), None) for call in removed]
    assert None not in ends, "SQLite does not wait until its journal is gone for good"
    return [end for end in ends if end is not None]


def kept_names(run: Traced) -> list[Call]:
    """Each time that an outcome gets its final name in the spool."""
    return [
        call
        for call in run.named("rename", "renameat", "renameat2")
        if call.path.endswith(".unfinished") and call.target.endswith(".outcome")
    ]


def test_an_outcome_is_flushed_before_it_gets_its_name(run: Traced) -> None:
    [rename] = kept_names(run)
    flush = the(run.named("fsync"), lambda call: call.path == rename.path)
    writes = [call for call in run.named("write", "writev", "pwrite64") if call.path == rename.path]
    assert writes
    assert all(before(write, flush) for write in writes)
    assert before(flush, rename)


def test_the_directory_is_flushed_before_an_outcome_counts_as_kept(house: Program, run: Traced) -> None:
    """Kept is what the database is told of, what a person is told of, and what the next question comes after."""
    [rename] = kept_names(run)
    flush = next(
        call for call in run.named("fsync") if call.path == str(house.state / "spool") and before(rename, call)
    )
    told = [call for call in run.named("write") if call.arguments.startswith(("1<", "2<"))]
    asked = [call for call in run.named("sendto", "sendmsg") if call.thread == rename.thread]
    stored = [call for call in run.calls if "/balances.db" in call.path and call.name != "fdatasync"]
    assert told
    assert asked or [call for call in stored if call.name == "pwrite64"]
    for call in [*told, *asked, *stored]:
        assert before(flush, call), f"{call.name} comes before what it is about is kept"


def test_an_outcome_leaves_the_spool_only_after_commit(house: Program, run: Traced) -> None:
    ends = commits(house, run)
    assert ends
    gone = [call for call in run.named("unlink", "unlinkat") if call.path.endswith(".outcome")]
    assert len(gone) == 2
    for call in gone:
        assert before(ends[-1], call), "a file goes before the database has what was in it"


def test_sqlite_flushes_its_journal_before_the_database_and_the_database_before_the_journal_goes(
    house: Program, run: Traced
) -> None:
    if not house.database_url.startswith("sqlite"):
        assert not run.named("fdatasync"), "nothing but SQLite flushes in this way"
        return
    database, journal = f"{house.state}/balances.db", f"{house.state}/balances.db-journal"
    flushes = [call for call in run.named("fdatasync", "fsync") if call.succeeded]
    changes = [call for call in run.named("pwrite64") if call.path == database]
    noted = [call for call in run.named("pwrite64") if call.path == journal]
    gone = the(run.named("unlink", "unlinkat"), lambda call: call.path == journal)
    assert changes
    assert noted
    assert any(f.path == journal and before(noted[-1], f) and before(f, changes[0]) for f in flushes)
    assert any(f.path == database and before(changes[-1], f) and before(f, gone) for f in flushes)


def test_what_is_set_aside_has_its_reason_and_its_failure_on_the_disk_first(house: Program, run: Traced) -> None:
    aside = str(house.state / "quarantine")
    move = the(run.named("rename", "renameat", "renameat2"), lambda call: call.target.startswith(aside))
    note = the(run.named("fsync"), lambda call: call.path == f"{move.target}.reason")
    assert before(note, move)
    assert before(commits(house, run)[-1], move), "it is out of the spool before the database has its failure"
    assert any(before(move, call) for call in run.named("fsync") if call.path == aside)


def test_what_waits_is_loaded_in_the_same_order(house: Program) -> None:
    assert in_new_slot(house, "snapshot").code == 0
    assert in_new_slot(house, "snapshot", BINGX_ETL_DATABASE_URL=NOWHERE).code == 75
    run = traced(house, "spool", "load")
    gone = the(run.named("unlink", "unlinkat"), lambda call: call.path.endswith(".outcome"))
    assert before(commits(house, run)[-1], gone)


@pytest.mark.usefixtures("run")  # which has made the directory of the database
def test_directories_are_on_the_disk_before_what_is_kept_in_them(house: Program) -> None:
    """Every directory that a first run makes, also those above its own, up to the first that was there."""
    run = run_traced(house, "snapshot", letters=LETTERS, BINGX_ETL_STATE_DIR=str(house.home / "a" / "b" / "own"))
    assert run.ran.code == 0, run.ran
    [rename] = kept_names(run)
    made = [
        call for call in run.named("mkdir", "mkdirat") if call.succeeded and rename.path.startswith(call.path + "/")
    ]
    assert [Path(call.path).name for call in made] == ["a", "b", "own", "spool"]
    for call in made:
        parent = str(Path(call.path).parent)
        flushed = [c for c in run.named("fsync") if c.path == parent and before(call, c) and before(c, rename)]
        assert flushed, f"{call.path} could be lost with everything in it"


def test_an_outcome_is_kept_after_commit_and_before_it_leaves_the_spool(house: Program, run: Traced) -> None:
    """What an older backup is to get back must have been stored, and is never without a copy in between."""
    kept = [call for call in run.named("write") if call.path.startswith(f"{house.state}/stored/")]
    gone = [call for call in run.named("unlink", "unlinkat") if call.path.endswith(".outcome")]
    assert kept
    for call in kept:
        assert before(commits(house, run)[-1], call), "it is kept though the database may not have it"
    for call in gone:
        assert before(kept[-1], call)
    assert not [call for call in run.named("fsync") if "/stored/" in call.path], "nobody waits for the disk"
