"""The file that a one-shot leaves for node_exporter."""

import os
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etl.sandbox.rules import BALANCES
from tests.cli.program import Program
from tests.ops.promtool import promtool
from tests.ops.scraper import node_exporting
from tests.ops.test_exposition import of, samples
from tests.trust.crowd import crowd


@pytest.fixture
def textfile(tmp_path: Path) -> Path:
    """In a directory of its own, as node_exporter has one."""
    directory = tmp_path / "collector"
    directory.mkdir()
    return directory / "bingx-etl.prom"


def test_a_one_shot_leaves_a_file_that_promtool_takes_and_that_has_no_secret(program: Program, textfile: Path) -> None:
    ran = program.run("snapshot", "--json", BINGX_ETL_METRICS_TEXTFILE=str(textfile))
    assert (ran.code, len(ran.lines)) == (0, 1)
    told = textfile.read_bytes()
    assert promtool("check", "metrics", given=told) == ""
    assert [path.name for path in textfile.parent.iterdir()] == [textfile.name]
    assert textfile.stat().st_mode & 0o777 == 0o644
    assert of(told, "slots_total", outcome="complete") == {"": 1}
    assert of(told, "last_success_timestamp_seconds").keys() == {"main"}
    assert of(told, "schema_at_head") == {"": 1}
    account = program.exchange.account("main")
    [uid] = program.rows("SELECT uid FROM account")[0]
    secrets = (account.api_key, account.api_secret, uid, ran.lines[0]["total_usdt"])
    assert [secret for secret in secrets if secret.encode() in told] == []


def test_node_exporter_passes_it_on(program: Program, textfile: Path) -> None:
    assert program.run("snapshot", BINGX_ETL_METRICS_TEXTFILE=str(textfile)).code == 0
    (textfile.parent / f".{textfile.name}.abcd.unfinished").write_bytes(b"half of a l")
    with node_exporting(textfile.parent) as url, urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
        passed_on = samples(answer.read().replace(b'.0"}', b'"}'))  # bounds of buckets: 5 and 5.0
    ours = samples(textfile.read_bytes().replace(b'.0"}', b'"}'))
    assert passed_on[("node_textfile_scrape_error", ())] == 0
    assert {key: passed_on.get(key) for key in ours} == ours


def test_a_file_that_cannot_be_written_is_a_warning_and_changes_no_exit_code(program: Program) -> None:
    ran = program.run("snapshot", "--json", BINGX_ETL_METRICS_TEXTFILE=str(program.home / "nowhere" / "x.prom"))
    assert (ran.code, ran.lines[0]["stored"]) == (0, True)
    assert "metrics_textfile" in ran.err
    assert "recording goes on" in ran.err
    assert "Traceback" not in ran.err


def test_with_the_database_down_the_file_says_that_it_was_read_and_is_not_stored(
    program: Program, textfile: Path
) -> None:
    down = {"BINGX_ETL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    ran = program.run("snapshot", "--json", BINGX_ETL_METRICS_TEXTFILE=str(textfile), **down)
    assert ran.code == 75
    told = textfile.read_bytes()
    assert of(told, "last_reading_timestamp_seconds").keys() == {"main"}
    assert of(told, "last_success_timestamp_seconds") == {}
    assert of(told, "spool_outcomes") == {"": 1}
    assert of(told, "missed_slots") == {"main": 0}


def test_some_accounts_of_a_fleet_leave_what_is_known_of_the_others(tmp_path: Path, textfile: Path) -> None:
    with crowd(tmp_path / "home", 3) as people:
        first, second, third = people.names
        people.misbehave(second, "error", code=100419)
        said = {"BINGX_ETL_METRICS_TEXTFILE": str(textfile)}
        assert people.run("snapshot", **said).code == 77
        assert people.run("snapshot", "--account", third, **said).code == 0
        told = textfile.read_bytes()
    assert of(told, "accounts_expected") == {"": 3}
    assert of(told, "last_success_timestamp_seconds").keys() == {first, third}
    assert of(told, "failing") == {f"{second},ip_not_allowed": 1}
    assert of(told, "slots_total", outcome="duplicate") == {"": 1}


def test_several_at_once_lose_no_count(program: Program, textfile: Path) -> None:
    said = {"BINGX_ETL_METRICS_TEXTFILE": str(textfile)}
    assert program.run("snapshot", **said).code == 0
    with ThreadPoolExecutor(4) as pool:
        codes = [ran.code for ran in pool.map(lambda _: program.run("snapshot", **said), range(3))]
    assert codes == [0] * 3
    told = textfile.read_bytes()
    assert of(told, "slots_total", outcome="complete") == {"": 1}
    assert of(told, "slots_total", outcome="duplicate") == {"": 3}
    assert [path.name for path in textfile.parent.iterdir()] == [textfile.name]


def test_quarantine_and_doubt_are_told(program: Program, textfile: Path) -> None:
    program.exchange.faults.add("raw", path=BALANCES, body='{"code":0,"data":"nonsense"}')
    assert program.run("snapshot", BINGX_ETL_METRICS_TEXTFILE=str(textfile)).code == 65
    told = textfile.read_bytes()
    assert of(told, "failing") == {"main,malformed": 1}
    assert of(told, "quarantine_outcomes") == {"": 1}
    assert of(told, "quarantine_oldest_timestamp_seconds").keys() == {""}


@pytest.mark.parametrize("wanted", [False, True])
def test_the_library_is_loaded_only_where_metrics_are_wanted(program: Program, textfile: Path, wanted: bool) -> None:
    code = (
        "import sys\nfrom etl.cli import invoke\ncode = invoke(['snapshot'])\n"
        "loaded = {'prometheus_client', 'etl.ops.metrics', 'http.server'} & set(sys.modules)\n"
        "print(*sorted(loaded))\nsys.exit(code)"
    )
    environ = {**program.environ, **({"BINGX_ETL_METRICS_TEXTFILE": str(textfile)} if wanted else {})}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("prometheus_client" in done.stdout) is wanted
    assert ("etl.ops.metrics" in done.stdout) is wanted
    if not wanted:
        assert done.stdout.strip() == ""
        assert not (program.state / "remembered" / "metrics.json").exists()
