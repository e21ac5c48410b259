"""``snapshot`` as cron calls it: a process, its exit code, its words, and what it leaves behind."""

import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from etl.db.schema import HEAD
from etl.load.lineage import TOGETHER
from etl.sandbox.rules import BALANCES, SERVER_TIME
from tests.cli.program import SHORT, Program, eventually

OUTAGE = {"status": 503}
ABSURD = {"code": 0, "timestamp": 1_000_000_000_000, "data": [{"accountType": "spot", "usdtBalance": "1.5"}]}


def test_a_key_in_the_environment_is_enough_for_rows(program: Program) -> None:
    ran = program.run("snapshot", "--json", BINGX_ETL_DATABASE_URL=None)
    assert ran.code == 0, ran.err
    assert "warning" not in ran.err, "the first run of all has nothing to warn of"
    [line] = ran.lines
    assert list(line) == ["account", "slot_at", "status", "taken_at", "total_usdt", "balances", "stored", "attempts"]
    assert (line["account"], line["status"], line["stored"], line["attempts"]) == ("main", "complete", True, 1)
    [(slot_at, taken_at, total)] = program.rows("SELECT slot_at, taken_at, total_usdt FROM snapshot")
    assert (slot_at, taken_at, total) == (line["slot_at"], line["taken_at"], line["total_usdt"])
    assert dict(program.rows("SELECT account_type, usdt_balance FROM balance")) == line["balances"]
    assert not program.spooled()


def test_both_databases_have_the_same_rows(anywhere: Program) -> None:
    [line] = anywhere.run("snapshot", "--json").lines
    exchange = anywhere.exchange
    taken = time.strptime(line["taken_at"].partition(".")[0], "%Y-%m-%dT%H:%M:%S")
    assert taken
    found = anywhere.rows("SELECT account_type, usdt_balance_exact, status, provenance FROM balance_history ORDER BY 1")
    assert {name: format_amount(amount) for name, amount, *_ in found} == line["balances"]
    assert {(status, provenance) for *_, status, provenance in found} == {("complete", "measured")}
    assert anywhere.rows("SELECT name, uid, environment FROM account") == [
        ("main", str(exchange.account("main").uid), "sandbox")
    ]


def format_amount(amount: object) -> str:
    """Text as it is, a Decimal with its digits."""
    return amount if isinstance(amount, str) else format(amount, "f")


def test_a_second_run_in_the_slot_is_a_duplicate_and_changes_nothing(anywhere: Program) -> None:
    [first] = anywhere.run("snapshot", "--json").lines
    ran = anywhere.run("snapshot", "--json")
    assert ran.code == 0
    assert ran.lines[0]["duplicate"] is True
    assert ran.lines[0]["stored"] is True
    [(total,)] = anywhere.rows("SELECT total_usdt_exact FROM equity")
    assert format_amount(total) == first["total_usdt"]


def test_runs_at_the_same_time_leave_one_snapshot_and_nothing_behind(anywhere: Program) -> None:
    together = [anywhere.start("snapshot", "--json") for _ in range(4)]
    ended = [process.communicate(timeout=60) for process in together]
    assert [process.returncode for process in together] == [0] * 4, ended
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(1,)]
    assert not anywhere.spooled()
    said = [json.loads(out) for out, _ in ended]
    assert all(line["stored"] for line in said)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_with_the_database_down_the_reading_is_safe_and_the_next_run_stores_both(program: Program, kind: str) -> None:
    database = program.state / "balances.db"
    down = {"BINGX_ETL_INTERVAL": SHORT}
    if kind == "sqlite":
        program.state.mkdir(mode=0o700)
        database.mkdir()
    else:
        down["BINGX_ETL_DATABASE_URL"] = "postgresql://somebody:hunter22@127.0.0.1:1/balances"
    program.in_next_slot()
    ran = program.run("snapshot", "--json", **down)
    assert ran.lines[0]["stored"] is False
    assert len(program.spooled()) == 1
    if kind == "postgresql":
        assert ran.code == 75
        assert "hunter22" not in ran.err
        assert "safe in the spool" in ran.err
        assert "next run" in ran.err
    if kind == "sqlite":
        database.rmdir()
    program.in_next_slot()
    again = program.run("snapshot", "--json", BINGX_ETL_INTERVAL=SHORT)
    assert again.code == 0, again.err
    assert program.rows("SELECT count(*) FROM snapshot") == [(2,)]
    assert ran.lines[0]["slot_at"] in {slot for (slot,) in program.rows("SELECT slot_at FROM snapshot")}
    assert not program.spooled()


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ({"kind": "error", "code": 100413}, 77, "key_refused"),
        ({"kind": "error", "code": 100419}, 77, "ip_not_allowed"),
        ({"kind": "error", "code": 100004}, 77, "permission_missing"),
        ({"kind": "error", "code": 100414}, 77, "account_blocked"),
        ({"kind": "error", "code": 109500}, 69, "unavailable"),
        ({"kind": "status", **OUTAGE}, 69, "unavailable"),
        ({"kind": "reset"}, 69, "unreachable"),
        ({"kind": "truncate"}, 69, "unreachable"),
        ({"kind": "error", "code": 100410}, 75, "rate_limited"),
        ({"kind": "status", "status": 429}, 75, "rate_limited"),
        ({"kind": "error", "code": 100421}, 69, "clock_skew"),
        ({"kind": "error", "code": 100400}, 70, "request_refused"),
        ({"kind": "html"}, 65, "malformed"),
        ({"kind": "raw", "body": '{"code":0,"data":[{"accountType":"spot","usdtBalance":"NaN"}]}'}, 65, "malformed"),
        ({"kind": "raw", "body": '{"code":0,"data":{"no":"result"}}'}, 65, "malformed"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else str(value),
)
def test_what_goes_wrong_at_bingx_is_an_exit_code_and_a_failure_with_its_reason(
    program: Program, fault: dict[str, object], code: int, reason: str
) -> None:
    what = {name: value for name, value in fault.items() if name != "kind"}
    program.exchange.faults.add(str(fault["kind"]), path=BALANCES, **what)
    ran = program.run("snapshot", "--json")
    assert ran.code == code, ran.err
    [line] = ran.lines
    assert (line["status"], line["reason"], line["stored"]) == ("failed", reason, True)
    assert "balances" not in line
    assert program.rows("SELECT reason FROM failure") == [(reason,)]
    assert program.rows("SELECT count(*) FROM snapshot") == [(0,)]
    quarantined = list((program.state / "quarantine").glob("*.outcome"))
    assert len(quarantined) == (1 if reason == "malformed" else 0)
    assert "Traceback" not in ran.err


def test_an_unreachable_host_is_said_so(program: Program) -> None:
    ran = program.run("snapshot", BINGX_ETL_BASE_URL="http://127.0.0.1:1")
    assert ran.code == 69
    assert "connection refused" in ran.err


def test_another_uid_under_the_name_is_refused_and_quarantined(anywhere: Program) -> None:
    assert anywhere.run("snapshot").code == 0
    other = anywhere.exchange.account("account-2")
    ran = anywhere.run(
        "snapshot",
        "--json",
        BINGX_API_KEY=other.api_key,
        BINGX_API_SECRET=other.api_secret,
        BINGX_ETL_INTERVAL="1d",
    )
    assert ran.code == 78, ran.err
    assert ran.lines[0]["reason"] == "identity_mismatch"
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(1,)]
    assert len(list((anywhere.state / "quarantine").glob("*.outcome"))) == 1


def test_a_rotated_key_continues_the_history(anywhere: Program) -> None:
    anywhere.in_next_slot()
    assert anywhere.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    rotated = anywhere.exchange.rotate_key("main")
    anywhere.in_next_slot()
    ran = anywhere.run(
        "snapshot", BINGX_API_KEY=rotated.api_key, BINGX_API_SECRET=rotated.api_secret, BINGX_ETL_INTERVAL=SHORT
    )
    assert ran.code == 0, ran.err
    assert anywhere.rows("SELECT count(*) FROM account") == [(1,)]
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(2,)]


def test_several_accounts_are_recorded_and_the_worst_wins(anywhere: Program) -> None:
    config = accounts_config(anywhere)
    anywhere.exchange.faults.add("error", account="account-2", code=100413)
    anywhere.exchange.faults.add("status", account="account-3", status=500)
    ran = anywhere.run("snapshot", "--json", "--config", str(config), BINGX_API_KEY=None, BINGX_API_SECRET=None)
    assert ran.code == 77
    assert [(line["account"], line["status"]) for line in ran.lines] == [
        ("account-2", "failed"),
        ("account-3", "failed"),
        ("main", "complete"),
    ]
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(1,)]
    only = anywhere.run(
        "--config", str(config), "snapshot", "--account", "main", "--json", BINGX_API_KEY=None, BINGX_API_SECRET=None
    )
    assert (only.code, len(only.lines)) == (0, 1)


def accounts_config(program: Program) -> Path:
    """A config file with the keys of all three accounts."""
    text = ""
    for account in program.exchange.accounts:
        text += f'[accounts.{account.name}]\napi_key = "{account.api_key}"\napi_secret = "{account.api_secret}"\n'
    path = program.home / "accounts.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_an_account_whose_key_cannot_be_read_does_not_stop_the_others(program: Program) -> None:
    config = accounts_config(program)
    config.write_text(
        config.read_text() + '[accounts.broken]\napi_key_file = "/nowhere"\napi_secret_file = "/nowhere"\n'
    )
    ran = program.run("snapshot", "--json", "--config", str(config), BINGX_API_KEY=None, BINGX_API_SECRET=None)
    assert ran.code == 78
    assert {line["account"]: line.get("reason", "") for line in ran.lines}["broken"] == "key_missing"
    assert program.rows("SELECT count(*) FROM snapshot") == [(3,)]


def key_files(program: Program) -> dict[str, str | None]:
    """The settings that have the only key come from files, and the files."""
    [first, *_] = program.exchange.accounts
    for name, text in (("api.key", first.api_key), ("api.secret", first.api_secret)):
        (program.home / name).write_text(text)
        (program.home / name).chmod(0o600)
    return {
        "BINGX_API_KEY": None,
        "BINGX_API_SECRET": None,
        "BINGX_API_KEY_FILE": str(program.home / "api.key"),
        "BINGX_API_SECRET_FILE": str(program.home / "api.secret"),
        "BINGX_ETL_INTERVAL": "1s",
    }


@pytest.mark.parametrize("arguments", [(), ("--account", "main")], ids=["all", "named"])
def test_a_slot_whose_only_key_has_gone_has_that_for_its_reason(program: Program, arguments: tuple[str, ...]) -> None:
    environ = key_files(program)
    assert program.run("snapshot", *arguments, **environ).code == 0
    (program.home / "api.secret").rename(program.home / "gone")
    time.sleep(1)
    ran = program.run("snapshot", "--json", *arguments, **environ)
    assert ran.code == 78
    [line] = ran.lines
    assert (line["status"], line["reason"], line["stored"], line["attempts"]) == ("failed", "key_missing", True, 0)
    assert str(program.home / "api.secret") in line["detail"]
    assert program.rows("SELECT reason, attempts FROM failure") == [("key_missing", 0)]
    (program.home / "gone").rename(program.home / "api.secret")
    time.sleep(1)
    assert program.run("snapshot", *arguments, **environ).code == 0
    assert program.rows("SELECT count(*) FROM snapshot") == [(2,)]


@pytest.mark.parametrize("key", ["named by nothing", "of an account never heard of"])
def test_settings_without_a_key_that_was_ever_used_are_mended_first_and_no_slot_is_said_to_have_failed(
    program: Program, key: str
) -> None:
    environ = key_files(program)
    assert program.run("snapshot", **environ).code == 0
    if key == "named by nothing":  # as where systemd hands the keys to the service, and to nobody else
        config = program.home / "named.toml"
        config.write_text("[accounts.main]\n")
        environ |= {"BINGX_ETL_CONFIG": str(config), "BINGX_API_KEY_FILE": None, "BINGX_API_SECRET_FILE": None}
    else:
        (program.home / "api.key").unlink()
        environ |= {"BINGX_ETL_ACCOUNT": "new"}
    time.sleep(1)
    ran = program.run("snapshot", "--json", **environ)
    assert (ran.code, ran.out) == (78, "")
    assert len(ran.err.splitlines()) == 1
    assert program.rows("SELECT count(*) FROM failure") == [(0,)]


def test_a_partial_snapshot_is_stored_with_a_warning_and_without_a_total(anywhere: Program) -> None:
    anywhere.exchange.faults.add("balances", null=["grid"])
    ran = anywhere.run("snapshot", "--json")
    assert ran.code == 0
    [line] = ran.lines
    assert (line["status"], line["total_usdt"], line["balances"]["grid"]) == ("partial", None, None)
    assert "warning" in ran.err
    assert anywhere.rows("SELECT status, total_usdt FROM equity") == [("partial", None)]


def test_the_clock_of_the_machine_may_be_wrong(anywhere: Program) -> None:
    anywhere.exchange.faults.add("clock", offset_ms=30_000)
    ran = anywhere.run("snapshot", "--json", BINGX_ETL_RETRY_FOR="20s")
    assert ran.code == 0, ran.err
    assert ran.lines[0]["attempts"] == 2
    again = anywhere.run("snapshot", "--json", BINGX_ETL_RETRY_FOR="20s")
    assert again.lines[0]["attempts"] == 1, "the offset is remembered"


def test_a_refused_key_is_asked_less_often(program: Program) -> None:
    program.exchange.faults.add("error", path=BALANCES, code=100413)
    asked = []
    for _ in range(3):
        before = program.exchange.counts.total()
        assert program.run("snapshot", BINGX_ETL_INTERVAL="1h").code == 77
        asked.append(program.exchange.counts.total() - before)
    assert asked == [1, 0, 0]
    assert program.run("snapshot", "--force", BINGX_ETL_INTERVAL="1h").code == 77
    assert program.exchange.counts.total() == 2


def test_another_program_that_writes_costs_no_reading(program: Program) -> None:
    program.in_next_slot()
    assert program.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    program.in_next_slot()
    with closing(sqlite3.connect(program.state / "balances.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ran = program.run("snapshot", "--json", BINGX_ETL_INTERVAL=SHORT)
        assert ran.code == 75
        assert ran.lines[0]["stored"] is False
        assert "another program" in ran.err
        other.execute("ROLLBACK")
    program.in_next_slot()
    assert program.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    assert program.rows("SELECT count(*) FROM snapshot") == [(3,)]


@pytest.mark.parametrize(("revision", "word"), [("0000", "older"), ("9999", "newer")])
def test_a_schema_of_another_release_costs_no_reading(anywhere: Program, revision: str, word: str) -> None:
    anywhere.rows(f"UPDATE alembic_version SET version_num = '{revision}'")
    ran = anywhere.run("snapshot", "--json")
    is_sqlite = anywhere.database_url.startswith("sqlite")
    if not (is_sqlite and word == "older"):  # which is upgraded by itself, and cannot be from a revision nobody knows
        assert ran.code == 75, ran.err
        assert word in ran.err
    assert ran.lines[0]["stored"] is False
    assert len(anywhere.spooled()) == 1
    anywhere.rows(f"UPDATE alembic_version SET version_num = '{HEAD}'")
    assert anywhere.run("spool", "load").code == 0
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(1,)]


def test_postgresql_is_never_changed_by_recording(program: Program, postgres_server: object) -> None:
    with postgres_server.database() as url:  # type: ignore[attr-defined] # the fixture's class is not importable here
        program.environ["BINGX_ETL_DATABASE_URL"] = program.database_url = url
        ran = program.run("snapshot")
        assert ran.code == 75
        assert "bingx-etl db upgrade" in ran.err
        assert program.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
        assert program.run("db", "upgrade").code == 0
        assert program.run("spool", "load").code == 0
        assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]


def test_a_disk_that_refuses_while_the_database_works_costs_no_reading(anywhere: Program) -> None:
    anywhere.in_next_slot()
    assert anywhere.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    spool = anywhere.state / "spool"
    spool.rmdir()
    spool.write_text("in the way")
    anywhere.in_next_slot()
    ran = anywhere.run("snapshot", "--json", BINGX_ETL_INTERVAL=SHORT)
    assert ran.lines[0]["stored"] is True, ran.err
    assert ran.code in {73, 74}
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(2,)]


def test_terminated_while_waiting_it_keeps_the_outcome_and_says_so(program: Program) -> None:
    program.exchange.faults.add("hang", path=BALANCES)
    with program.start("snapshot", "--json", BINGX_ETL_RETRY_FOR="120s") as process:
        deadline = time.monotonic() + 20
        while not program.exchange.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert time.monotonic() - began < 8
    assert json.loads(out)["reason"] == "stopped"
    program.exchange.faults.clear()
    assert program.run("spool", "load").code == 0
    assert program.rows("SELECT reason FROM failure") == [("stopped",)]


def test_killed_at_any_moment_it_loses_nothing_that_the_spool_had_and_doubles_nothing(program: Program) -> None:
    program.in_next_slot()
    assert program.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    took = time.monotonic()
    program.in_next_slot()
    assert program.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    took = time.monotonic() - took
    for part in range(12):
        with program.start("snapshot", BINGX_ETL_INTERVAL=SHORT) as process:
            time.sleep(took * part / 12)
            process.kill()
    program.in_next_slot()
    assert program.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    assert not program.spooled()
    assert program.rows(
        "SELECT count(*) FROM (SELECT 1 FROM snapshot GROUP BY account_id, slot_at HAVING count(*) > 1)"
    ) == [(0,)]
    assert program.rows(
        "SELECT count(*) FROM snapshot s WHERE NOT EXISTS (SELECT 1 FROM balance b WHERE b.snapshot_id = s.id)"
    ) == [(0,)]
    assert program.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_written_or_said_anywhere(program: Program, log_format: str) -> None:
    account = program.exchange.account("main")
    faults = program.exchange.faults
    said = ""
    for kind, what in (
        ("error", {"code": 100413, "msg": f"Incorrect apiKey {account.api_key} {account.api_secret}"}),
        ("raw", {"body": f"<html>{account.api_key} {account.api_secret}</html>"}),
        (
            "raw",
            {
                "body": json.dumps(
                    {"code": 0, "echo": account.api_key, "data": [{"accountType": "a", "usdtBalance": "x"}]}
                )
            },
        ),
        ("status", {"status": 500, "body": account.api_secret}),
        ("reset", {}),
    ):
        faults.clear()
        faults.add(kind, path=BALANCES, **what)
        ran = program.run("snapshot", "--json", "--force", BINGX_ETL_INTERVAL=SHORT, BINGX_ETL_LOG_FORMAT=log_format)
        said += ran.out + ran.err
        program.in_next_slot()
    faults.clear()
    program.run("snapshot", BINGX_ETL_INTERVAL=SHORT)
    written = program.everything_written().decode(errors="replace") + said
    for secret in (account.api_key, account.api_secret, account.api_key[:24], account.api_secret[:24], "signature="):
        assert secret not in written


def test_in_ordinary_work_nothing_is_imported_that_draws_or_migrates(program: Program) -> None:
    program.in_next_slot()
    assert program.run("snapshot", BINGX_ETL_INTERVAL=SHORT).code == 0
    code = (
        "import sys\nfrom etl.cli import invoke\n"
        "code = invoke(['snapshot'])\n"
        "heavy = {'alembic', 'rich', 'apscheduler', 'psycopg', 'mako', 'etl.sandbox'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy or code else 0)"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code], env=program.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_log_is_made_of_lines_with_stable_keys(program: Program) -> None:
    ran = program.run("snapshot", BINGX_ETL_LOG_FORMAT="json")
    assert ran.out == ""
    events = [json.loads(line) for line in ran.err.splitlines()]
    [event] = [event for event in events if event["event"] == "slot recorded"]
    assert {"account", "slot_at", "outcome", "attempts", "latency_ms", "stored"} <= set(event)
    assert "\x1b" not in ran.err


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_the_locale_of_a_cron_does_not_matter(program: Program, locale: str) -> None:
    ran = program.run("snapshot", LC_ALL=locale, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert ran.code == 0, ran.err
    assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]


def test_terminated_while_the_exchanges_clock_is_asked_for_the_answer_is_safe(program: Program) -> None:
    program.exchange.faults.add("raw", path=BALANCES, body=json.dumps(ABSURD))
    program.exchange.faults.add("hang", path=SERVER_TIME)
    with program.start("snapshot", "--json") as process:
        eventually(lambda: any(request.path == SERVER_TIME for request in program.exchange.requests))
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert json.loads(out)["status"] == "complete"
    assert len(program.spooled()) == 1
    assert program.run("spool", "load").code == 0
    [(total, reason)] = program.rows("SELECT total_usdt, reason FROM snapshot")
    assert total == "1.5"
    assert "absurd" in reason


def test_an_empty_database_where_there_was_a_history_is_warned_of(program: Program) -> None:
    assert program.run("snapshot").code == 0
    (program.state / "balances.db").unlink()
    time.sleep(2 * TOGETHER.total_seconds())
    ran = program.run("snapshot")
    assert ran.code == 0
    assert "a new history begins" in ran.err


def test_a_damaged_file_in_the_spool_needs_a_person_and_the_slot_is_recorded_all_the_same(program: Program) -> None:
    assert program.run("snapshot").code == 0
    (program.state / "spool" / "damaged.outcome").write_bytes(b"not what it should be")
    ran = program.run("snapshot", BINGX_ETL_INTERVAL="1m")
    assert ran.code == 65
    assert "set aside" in ran.err
    assert program.rows("SELECT count(*) FROM snapshot") == [(2,)]
    assert program.run("snapshot").code == 0, "it was said once"
