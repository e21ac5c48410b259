"""``demo``: the whole thing without a key, and without a trace outside a directory of its own."""

import csv
import io
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.confined import confined
from tests.cli.program import Program

README = Path(__file__).parents[2] / "README.md"
# A real set-up, some of it wrong: nothing of it is the demo's business.
OF_THE_USER = {
    "BINGX_ETL_INTERVAL": "7m",
    "BINGX_ETL_DATABASE_URL": "postgresql://somebody:hunter22@127.0.0.1:1/balances",
    "BINGX_ETL_CONFIG": "/nowhere/bingx-etl.toml",
    "BINGX_ETL_LOG_FORMAT": "json",
    "BINGX_ETL_NO_SUCH_SETTING": "1",
    "BINGX_API_KEY_FILE": "/nowhere/key",
    "CREDENTIALS_DIRECTORY": "/nowhere",
    "STATE_DIRECTORY": "/nowhere",
}


def everything(directory: Path) -> dict[str, tuple[int, bytes]]:
    """All files below a directory: modification time and content."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.rglob("*") if path.is_file()}


def test_it_records_through_two_outages_and_loses_only_what_bingx_did_not_answer(
    program: Program, tmp_path: Path
) -> None:
    assert program.run("init", BINGX_ETL_STATE_DIR=None, BINGX_ETL_DATABASE_URL=None).code == 0
    assert program.run("snapshot", BINGX_ETL_STATE_DIR=None, BINGX_ETL_DATABASE_URL=None).code == 0
    before, asked = everything(program.home), program.exchange.counts.total()
    aside = tmp_path / "aside"
    aside.mkdir()

    ran = program.run("demo", TMPDIR=str(aside), **OF_THE_USER)

    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert everything(program.home) == before
    assert program.exchange.counts.total() == asked, "it has a BingX of its own"
    [directory] = aside.iterdir()
    files = [path for path in directory.rglob("*") if path.is_file()]
    page = directory / "report.html"
    assert {path.stat().st_mode & 0o777 for path in files if path != page} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    database, spool, config = (
        Path(re.findall(rf"^  ({re.escape(str(directory))}\S+)   +{what}", ran.out, re.MULTILINE)[0])
        for what in ("the history", "what waits", "the settings")
    )
    assert list(spool.iterdir()) == []
    with closing(sqlite3.connect(database)) as history:
        recorded = history.execute("SELECT account, count(*), min(slot_at), max(slot_at) FROM equity GROUP BY account")
        (first, *of_first), (second, *of_second) = recorded.fetchall()
        assert (first, second) == ("account-2", "main")
        assert of_first == of_second
        number, begin, end = of_first
        assert number == 10
        gaps = history.execute(f"SELECT account, missed, reason FROM slot_gap WHERE gap_from < '{end}' ORDER BY 1")
        assert gaps.fetchall() == [("account-2", 2, "unavailable"), ("main", 2, "unavailable")]
        late = history.execute(
            "SELECT count(*) FROM snapshot WHERE strftime('%s', taken_at) - strftime('%s', slot_at) > 1"
        )
        assert late.fetchone() == (0,), "what waited is under its own slot"
    assert begin in ran.out
    assert end in ran.out
    assert ran.out.count("USDT, in the spool") == 6
    assert "(+ 6 that waited)" in ran.out
    assert "unavailable" in ran.out
    assert "unset" in ran.out, "the environment of the user wins over a config file"

    assert re.search(rf"^  {re.escape(str(page))} +that year", ran.out, re.MULTILINE)
    with closing(sqlite3.connect(directory / "year" / "balances.db")) as year:
        there = year.execute("SELECT account, count(*) > 3000, count(DISTINCT status) FROM equity GROUP BY account")
        assert there.fetchall() == [("account-2", 1, 1), ("main", 1, 1)]
        missing = year.execute("SELECT DISTINCT reason FROM slot_gap WHERE account = 'main'").fetchall()
        assert sorted(missing, key=str) == [("unavailable",), (None,)]
        [(close,)] = year.execute(
            "SELECT total_usdt_exact FROM equity WHERE account = 'main' ORDER BY slot_at DESC LIMIT 1"
        )
    assert f'title="{close}"' in page.read_text()

    [said] = re.findall(r"^  .+ -m etl (report --config .+)$", ran.out, re.MULTILINE)
    program.environ = {name: value for name, value in program.environ.items() if not name.startswith("BINGX_")}
    report = program.run(*said.split(), "--format", "csv")
    assert report.code == 0, report.err
    days = list(csv.DictReader(io.StringIO(report.out)))
    assert sum(int(day["snapshots"]) for day in days if day["account"] == "main") == 10
    assert str(config) in said
    assert "   bingx-etl" not in ran.out
    what_the_readme_asks(directory)


def what_the_readme_asks(directory: Path) -> None:
    """The README's first queries, as they are typed, answered by the demo's history."""
    section = (
        README.read_text(encoding="utf-8").split("\n### From the demo to a query of your own\n")[1].split("```")[1]
    )
    queries = re.findall(r'^sqlite3 -box \.demo/(\S+) "(.+)"$', section, re.MULTILINE)
    answers = []
    for database, sql in queries:
        with closing(sqlite3.connect(f"file:{directory / database}?mode=ro", uri=True)) as history:
            answers.append(history.execute(sql).fetchall())
    totals, gaps = answers
    assert [(account, total > 0) for account, _, total in totals] == [("account-2", True)] * 10 + [("main", True)] * 10
    assert {("account-2", 2, "unavailable"), ("main", 2, "unavailable")} <= {(*gap[:1], *gap[2:]) for gap in gaps}
    assert "--dir .demo" in section
    [shown] = re.findall(r"datasette serve \.demo/(\S+) --metadata (\S+)$", section, re.MULTILINE)
    assert (directory / shown[0]).is_file()
    assert (README.parent / shown[1]).is_file()


@pytest.mark.parametrize("place", ["not empty", "a file", "locked", "in a file"])
def test_it_writes_over_nothing_and_says_where_it_cannot_write(program: Program, place: str) -> None:
    directory = program.home / "mine"
    if place == "a file":
        directory.write_text("mine")
    else:
        directory.mkdir()
        (directory / "bingx-etl.toml").write_text("mine")
    if place == "locked":
        directory.chmod(0o500)
    where = {"locked": directory / "demo", "in a file": directory / "bingx-etl.toml" / "demo"}.get(place, directory)
    before = everything(program.home)
    ran = confined(program, "demo", "--dir", str(where))
    assert ran.code == (2 if place == "a file" else 73)
    assert ran.out == ""
    assert str(where) in ran.err
    assert "Traceback" not in ran.err
    if place != "a file":
        assert "--dir names another place" in ran.err
        assert len(ran.err.splitlines()) == 1
    assert everything(program.home) == before
