"""``doctor``: each check, where all is well and where it is not; and that it ends, and gives nothing away."""

import os
import re
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from etl.grid import slot_of
from etl.ops.finding import Verdict
from etl.sandbox.rules import BALANCES, PERMISSIONS, RESTRICTIONS, UID
from etl.spool.spool import Spool
from tests.bingx.servers import RawServer
from tests.bingx.test_canary import BEHAVIOURS, KEY, SECRET
from tests.cli.confined import confined
from tests.cli.program import ROOT, Program, Ran
from tests.trust.crowd import inside
from tests.trust.test_secrets import echoing, leaks
from tests.values import failure, reading

FIVE = timedelta(minutes=5)
CHECKS = (
    *("settings", "keys", "state", "modes", "filesystem", "space", "spool", "quarantine", "crontab", "database"),
    *("schema", "rights", "journal", "integrity", "history", "exchange", "clock", "key", "permissions", "addresses"),
    *("identity", "cadence"),
)


@pytest.fixture(autouse=True)
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `crontab -l` says instead of whoever runs the tests, who may record, too."""
    program, lines = tmp_path / "bin" / "crontab", tmp_path / "crontab"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = -l ] && exec cat {lines}\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    lines.write_text("*/5 * * * * $HOME/.local/bin/bingx-etl snapshot 2>>$HOME/bingx-etl.log\n")
    return lines


def recorded(program: Program, slots: int = 6, *, step: timedelta = FIVE, **changes: Any) -> None:
    """Have the last slots in the history, up to the present one."""
    spool, now = Spool(program.state), slot_of(datetime.now(UTC), 300)
    spool.prepare()
    uid = str(program.exchange.account("main").uid)
    spool.put(
        [
            reading(slot_at=now - ago * step, requested_at=now - ago * step, **{"uid": uid, **changes})
            for ago in reversed(range(slots))
        ]
    )
    assert inside(program, "spool", "load").code == 0


def examined(program: Program, **environ: str | None) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The exit code, and the findings by check; in this process, for there are many."""
    ran = inside(program, "doctor", "--json", **{"BINGX_ETL_INTERVAL": "5m", **environ})
    return ran.code, found(ran)


def found(ran: Ran) -> dict[str, list[dict[str, Any]]]:
    assert ran.err == "", ran
    [whole] = ran.lines
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in whole["findings"]:
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def verdict(program: Program, check: str, **environ: str | None) -> tuple[int, str, str]:
    """The exit code, and the verdict and words of a check that has one finding."""
    code, findings = examined(program, **environ)
    [finding] = findings[check]
    return code, finding["verdict"], f"{finding['says']}: {finding['remedy']}"


def put_right(program: Program) -> None:
    """Everything that a person could do better than the sandbox does."""
    program.exchange.restrict_key("main", ip_addresses=["127.0.0.1"])


def test_a_sound_installation_has_nothing_to_complain_of_and_is_left_as_it_is(anywhere: Program) -> None:
    recorded(anywhere)
    put_right(anywhere)
    anywhere.exchange.reset()
    before = sorted(path for path in anywhere.home.rglob("*") if path.suffix != ".limit")
    ran = anywhere.run("doctor", "--json", BINGX_ETL_INTERVAL="5m")
    assert ran.code == 0
    [whole] = ran.lines
    assert set(whole) == {"verdict", "findings", "settings", "keys"}
    assert all(set(each) == {"check", "verdict", "says", "remedy", "accounts"} for each in whole["findings"])
    assert list(dict.fromkeys(each["check"] for each in whole["findings"])) == list(CHECKS)
    by_check = found(ran)
    expected = {check: {"ok"} for check in CHECKS}
    if anywhere.database_url.startswith("postgresql"):
        # The tests' role is a superuser.
        expected |= {"rights": {"warning"}, "journal": {"skipped"}, "integrity": {"skipped"}}
    assert {check: {each["verdict"] for each in findings} for check, findings in by_check.items()} == expected, by_check
    origins = {each["name"]: (each["value"], each["origin"]) for each in whole["settings"]}
    assert origins["interval"] == ("300 s", "BINGX_ETL_INTERVAL")
    assert origins["database_url"] == ("present", "BINGX_ETL_DATABASE_URL")
    assert origins["proxy"] == ("absent", "default")
    assert whole["keys"] == {"main": {"api_key": ["BINGX_API_KEY"], "api_secret": ["BINGX_API_SECRET"]}}
    asked = {path for path, _ in anywhere.exchange.counts}
    assert {UID, PERMISSIONS, RESTRICTIONS} <= asked
    assert BALANCES not in asked, "a balance that is read is recorded, or not read at all"
    assert sorted(path for path in anywhere.home.rglob("*") if path.suffix != ".limit") == before
    assert anywhere.database_url.rpartition("/")[2] in by_check["database"][0]["says"], "which it is"
    lines = anywhere.run("doctor", BINGX_ETL_INTERVAL="5m").out.splitlines()
    assert len(lines) == len(whole["findings"])
    assert all(line.split()[0] in set(Verdict) for line in lines)


def test_the_readme_names_every_check() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.split("\n## Is it well?\n", 1)[1].split("\n## ", 1)[0]
    assert tuple(re.findall(r"^\| `([a-z]+)` \|", section, re.MULTILINE)) == CHECKS


def test_before_the_first_snapshot_nothing_is_wrong_and_nothing_is_made(program: Program) -> None:
    put_right(program)
    code, findings = examined(program, BINGX_ETL_DATABASE_URL=None)
    assert code == 0
    assert {each["verdict"] for each in findings["database"] + findings["identity"] + findings["state"]} == {"ok"}
    assert {each["verdict"] for each in findings["schema"] + findings["cadence"]} == {"skipped"}
    assert not program.state.exists()


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_that_bingx_refuses_is_a_problem_and_is_asked_about_once(program: Program) -> None:
    code, says, words = verdict(program, "key", BINGX_API_SECRET="x" * 40)
    assert (code, says) == (1, "problem")
    assert "100001" in words
    assert sum(program.exchange.counts.values()) == 2, "the time, and one question"
    program.exchange.restrict_key("main", ip_addresses=["203.0.113.9"])
    assert verdict(program, "key")[:2] == (1, "problem")
    program.exchange.restrict_key("main", permissions=[1])
    code, says, words = verdict(program, "key")
    assert (code, says) == (1, "problem")
    assert "Read" in words
    code, findings = examined(program)
    assert [findings[check][0]["verdict"] for check in ("permissions", "addresses", "identity")] == ["unknown"] * 3


def test_a_key_that_can_do_more_than_read_is_a_warning(program: Program) -> None:
    program.exchange.restrict_key("main", permissions=[2, 3, 5, 9])
    code, findings = examined(program)
    assert code == 0
    [permissions], [addresses] = findings["permissions"], findings["addresses"]
    assert permissions["verdict"] == addresses["verdict"] == "warning"
    assert "an unknown permission (9), futures trading, withdrawal" in permissions["says"]
    assert "14 days" in addresses["says"]


HOSTILE = [
    "",
    "<html>",
    "[]",
    '{"permissions":[true]}',
    '{"permissions":[2],"permissions":[2]}',
    '{"permissions":"2","ipAddresses":"203.0.113.9"}',
    '{"enableReading":true,"ipRestrict":"yes"}',
    '{"permissions":' + "[" * 50_000,
    '{"code":100500,"msg":"system busy"}',
    '{"code":100400,"msg":"this api is not exist"}',
    '{"code":0,"data":{}}',
]


def test_what_bingx_does_not_say_clearly_is_unknown_and_never_safe(program: Program) -> None:
    for body in HOSTILE:
        program.exchange.faults.clear()
        for path in (PERMISSIONS, RESTRICTIONS):
            program.exchange.faults.add("raw", path=path, body=body)
        ran = inside(program, "doctor", "--json")
        findings = found(ran)
        assert (ran.code, findings["key"][0]["verdict"]) == (0, "ok"), body
        assert findings["permissions"][0]["verdict"] == findings["addresses"][0]["verdict"] == "unknown", body


def test_a_key_that_may_not_read_is_a_problem_whatever_else_it_may(program: Program) -> None:
    for path in (PERMISSIONS, RESTRICTIONS):
        program.exchange.faults.add("raw", path=path, body='{"permissions":[1]}')
    code, says, words = verdict(program, "permissions")
    assert (code, says) == (1, "problem")
    assert "lacks the permission Read, and has others: spot trading" in words


def test_one_of_the_two_endpoints_is_enough_where_it_says_everything(program: Program) -> None:
    program.exchange.restrict_key("main", ip_addresses=["127.0.0.1"])
    program.exchange.faults.add("status", path=RESTRICTIONS, status=404)
    code, findings = examined(program)
    assert (code, findings["permissions"][0]["verdict"], findings["addresses"][0]["verdict"]) == (0, "ok", "ok")
    program.exchange.faults.clear()
    program.exchange.faults.add("status", path=PERMISSIONS, status=404)
    code, findings = examined(program)
    assert findings["permissions"][0]["verdict"] == "unknown", "the flags do not speak of withdrawal"
    assert findings["addresses"][0]["verdict"] == "ok"


def test_a_fleet_is_told_of_in_few_lines_and_one_account_is_not_hidden_by_the_others(program: Program) -> None:
    accounts = program.exchange.accounts
    config = program.home / "fleet.toml"
    config.write_text(
        "".join(f'[accounts.{a.name}]\napi_key = "{a.api_key}"\napi_secret = "{a.api_secret}"\n' for a in accounts)
    )
    config.chmod(0o600)
    program.exchange.restrict_key("account-3", permissions=[2, 1])
    code, findings = examined(
        program, BINGX_API_KEY=None, BINGX_API_SECRET=None, BINGX_ETL_ACCOUNT=None, BINGX_ETL_CONFIG=str(config)
    )
    assert code == 0
    by_verdict = {each["verdict"]: each["accounts"] for each in findings["permissions"]}
    assert by_verdict == {"ok": ["main", "account-2"], "warning": ["account-3"]}
    assert [each["accounts"] for each in findings["key"]] == [["main", "account-2", "account-3"]]


def test_an_account_without_a_key_or_no_account_at_all_is_a_problem(program: Program) -> None:
    config = program.home / "c.toml"
    config.write_text('[accounts.second]\napi_key_file = "/nowhere"\n')
    code, findings = examined(program, BINGX_ETL_CONFIG=str(config))
    assert code == 1
    by_verdict = {each["verdict"]: each for each in findings["keys"]}
    assert by_verdict["ok"]["accounts"] == ["main"]
    assert by_verdict["problem"]["accounts"] == ["second"]
    none = {"BINGX_API_KEY": None, "BINGX_API_SECRET": None, "BINGX_ETL_ACCOUNT": None}
    assert verdict(program, "keys", **none)[:2] == (1, "problem")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "No such file"),
        ("", 0o600, "is empty"),
        ("a key", 0o600, "more than one secret"),
        ("key", 0o644, "chmod 600"),
    ],
)
def test_the_only_account_without_a_usable_key_is_a_problem_too(
    program: Program, content: str | None, mode: int, said: str
) -> None:
    config, key = program.home / "c.toml", program.home / "main.key"
    config.write_text(f'[accounts.main]\napi_key_file = "{key}"\napi_secret_file = "{key}"\n')
    if content is not None:
        key.write_text(content)
        key.chmod(mode)
    only = {"BINGX_API_KEY": None, "BINGX_API_SECRET": None, "BINGX_ETL_CONFIG": str(config)}
    code, findings = examined(program, **only)
    assert (code, [each["verdict"] for each in findings["keys"]]) == (1, ["problem"])
    assert said in findings["keys"][0]["says"]


def test_a_key_of_another_user_than_the_history_is_a_problem_that_names_no_uid(anywhere: Program) -> None:
    recorded(anywhere)
    assert verdict(anywhere, "identity")[1] == "ok"
    other = str(anywhere.exchange.account("account-2").uid)
    anywhere.exchange.faults.add("uid", uid=other)
    ran = anywhere.run("doctor", BINGX_ETL_INTERVAL="5m")
    assert ran.code == 1
    assert "its key is of another user than its history" in ran.out
    assert other not in ran.out
    anywhere.exchange.faults.clear()
    code, says, words = verdict(anywhere, "identity", BINGX_ETL_ACCOUNT="renamed")
    assert (code, says) == (1, "problem")
    assert "bingx-etl account rename main renamed" in words
    anywhere.rows("UPDATE account SET environment = 'live'")
    assert verdict(anywhere, "identity")[:2] == (1, "problem")


# --- the exchange ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset_ms", "says"), [(-400, "ok"), (5_000, "warning"), (-120_000, "problem")])
def test_the_offset_of_the_clock_is_told(program: Program, offset_ms: int, says: str) -> None:
    put_right(program)
    program.exchange.faults.add("clock", offset_ms=offset_ms)
    code, findings = examined(program)
    assert (code, findings["clock"][0]["verdict"]) == (says == "problem", says)
    assert findings["key"][0]["verdict"] == "ok", "requests are signed with BingX's time"


def test_an_exchange_that_cannot_be_reached_is_a_problem_and_what_it_would_say_is_unknown(program: Program) -> None:
    code, findings = examined(program, BINGX_ETL_BASE_URL="http://127.0.0.1:1")
    assert code == 1
    assert findings["exchange"][0]["verdict"] == "problem"
    unknown = ("clock", "key", "permissions", "addresses", "identity")
    assert {findings[check][0]["verdict"] for check in unknown} == {"unknown"}


def test_a_host_that_bingx_limits_asks_nothing(program: Program) -> None:
    program.exchange.faults.add("status", status=429)
    assert program.run("snapshot").code == 75
    program.exchange.reset()
    code, findings = examined(program)
    assert (code, findings["exchange"][0]["verdict"], findings["key"][0]["verdict"]) == (0, "unknown", "unknown")
    assert "limits until" in findings["key"][0]["says"]
    assert not program.exchange.counts


# --- the database ---------------------------------------------------------------------------------------------------


@contextmanager
def role(url: str, *grants: str) -> Iterator[str]:
    """The URL for a role of its own, with these grants and no others."""
    name = f"doctor_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hunter22{name}'".encode())
        try:
            for grant in grants:
                admin.execute(f"GRANT {grant} TO {name}".encode())
            yield make_url(url).set(username=name, password=f"hunter22{name}").render_as_string(hide_password=False)
        finally:
            admin.execute(f"DROP OWNED BY {name}".encode())
            admin.execute(f"DROP ROLE {name}".encode())


README = (
    "SELECT, INSERT ON ALL TABLES IN SCHEMA public",
    "UPDATE ON account, schedule",
    "DELETE ON schedule, snapshot",
)


@pytest.mark.parametrize(
    ("grants", "says", "words"),
    [
        (README, "ok", "cannot change the schema"),
        (README[:2], "problem", "DELETE ON schedule, DELETE ON snapshot"),
        (README[1:], "problem", "SELECT ON account"),
        ((*README, "CREATE ON SCHEMA public"), "warning", "may create tables"),
    ],
    ids=["as in the README", "no DELETE", "no SELECT", "and DDL"],
)
def test_the_rights_of_the_role_are_enough_and_not_too_many(
    program: Program, new_database: Callable[..., str], grants: tuple[str, ...], says: str, words: str
) -> None:
    url = new_database("postgresql")
    with role(url, *grants) as limited:
        code, findings = examined(program, BINGX_ETL_DATABASE_URL=limited)
    [rights] = findings["rights"]
    assert (code, rights["verdict"]) == (says == "problem", says)
    assert words in rights["says"]


def test_a_schema_that_is_not_the_one_needed_is_told(anywhere: Program) -> None:
    recorded(anywhere)
    anywhere.rows("UPDATE alembic_version SET version_num = '9999'")
    code, says, words = verdict(anywhere, "schema")
    assert (code, says) == (1, "problem")
    assert "newer" in words
    anywhere.rows("UPDATE alembic_version SET version_num = '0000'")
    older = "problem" if anywhere.database_url.startswith("postgresql") else "warning"
    assert verdict(anywhere, "schema")[:2] == (older == "problem", older)


def test_a_database_that_is_not_there_or_not_ours_is_a_problem_without_its_password(program: Program) -> None:
    url = "postgresql://somebody:hunter22@127.0.0.1:1/balances"
    for form in (("doctor",), ("doctor", "--json")):
        ran = program.run(*form, BINGX_ETL_DATABASE_URL=url)
        assert (ran.code, ran.err) == (1, "")
        assert "cannot be reached" in ran.out
        assert "hunter22" not in ran.out
    program.state.mkdir()
    (program.state / "balances.db").write_bytes(b"not a database, and longer than its header would be" * 100)
    code, findings = examined(program)
    assert (code, findings["database"][0]["verdict"], findings["schema"][0]["verdict"]) == (1, "problem", "skipped")


def test_a_database_that_the_next_run_would_not_take_is_a_problem(program: Program, tmp_path: Path) -> None:
    foreign = tmp_path / "other.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE account (id, name)")
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "not mounted" / "balances.db")
    for path, why in (
        (foreign, "another program"),
        (link, "a link to what is not there"),
        (tmp_path / "not mounted" / "balances.db", "does not exist"),
    ):
        code, findings = examined(program, BINGX_ETL_DATABASE_URL=f"sqlite:///{path}")
        assert (code, findings["database"][0]["verdict"]) == (1, "problem")
        assert why in findings["database"][0]["says"]


def test_a_journal_that_can_lose_commits_is_a_problem(program: Program) -> None:
    recorded(program)
    file = program.state / "balances.db"
    with closing(sqlite3.connect(file)) as there:
        there.execute("PRAGMA journal_mode = WAL")
    code, says, words = verdict(program, "journal")
    assert "journal_mode wal" in words
    unsafe = (3, 7, 0) <= sqlite3.sqlite_version_info < (3, 51, 3)
    if unsafe and sqlite3.sqlite_version_info[:2] not in {(3, 50), (3, 44)}:
        assert (code, says) == (1, "problem")


def test_damage_that_nothing_else_would_come_across_is_a_problem(program: Program) -> None:
    recorded(program)
    file = program.state / "balances.db"
    with closing(sqlite3.connect(file)) as there:
        [(page,)] = there.execute("SELECT rootpage FROM sqlite_master WHERE name = 'payload'")
        [(size,)] = there.execute("PRAGMA page_size")
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\xff" * size)
    assert verdict(program, "database")[1] == "ok"
    code, says, words = verdict(program, "integrity")
    assert (code, says) == (1, "problem")
    assert f"pages of {file} are damaged" in words


def test_a_crontab_that_leaves_slots_out_is_a_problem_before_anything_is_recorded(
    program: Program, crontab: Path
) -> None:
    assert verdict(program, "crontab")[:2] == (0, "ok")
    code, says, words = verdict(program, "crontab", BINGX_ETL_INTERVAL="1m")
    assert (code, says) == (1, "problem")
    assert "288 of the 1440 slots" in words
    crontab.unlink()
    assert verdict(program, "crontab")[:2] == (0, "skipped")


def test_a_crontab_that_hangs_is_unknown_and_is_given_no_key(program: Program, tmp_path: Path) -> None:
    (tmp_path / "bin" / "crontab").write_text(f"#!/bin/sh\nenv > {tmp_path / 'given'}\nexec sleep 60\n")
    assert verdict(program, "crontab")[:2] == (0, "unknown")
    assert "BINGX" not in (tmp_path / "given").read_text()


# --- cadence --------------------------------------------------------------------------------------------------------


def test_a_cadence_that_does_not_fit_the_interval_is_a_problem(anywhere: Program) -> None:
    recorded(anywhere, step=3 * FIVE)
    code, says, words = verdict(anywhere, "cadence")
    assert (code, says) == (1, "problem")
    assert "recorded every 15m, and interval is 5m" in words
    code, says, words = verdict(anywhere, "cadence", BINGX_ETL_INTERVAL="15m")
    assert (code, says) == (0, "warning")
    assert "recorded every 5m, and interval is 15m" in words


def test_a_failure_is_somebody_who_came_and_a_gap_told_afterwards_is_not(program: Program) -> None:
    recorded(program, 1)
    spool, now = Spool(program.state), slot_of(datetime.now(UTC), 300)
    spool.put([failure(slot_at=now - ago * FIVE) for ago in range(1, 6)])
    assert inside(program, "spool", "load").code == 0
    assert verdict(program, "cadence")[1] == "ok"
    program.rows("UPDATE failure SET reason = 'crashed'")
    assert verdict(program, "cadence")[1] == "unknown"


def test_recording_that_has_stopped_is_a_warning(program: Program) -> None:
    at = slot_of(datetime.now(UTC), 300) - timedelta(hours=2)
    spool = Spool(program.state)
    spool.prepare()
    uid = str(program.exchange.account("main").uid)
    spool.put([reading(slot_at=at - ago * FIVE, requested_at=at - ago * FIVE, uid=uid) for ago in range(6)])
    assert inside(program, "spool", "load").code == 0
    code, says, words = verdict(program, "cadence")
    assert (code, says, "nobody has come" in words) == (0, "warning", True)


# --- disk -----------------------------------------------------------------------------------------------------------


def test_what_waits_for_long_and_what_was_set_aside_are_problems(program: Program) -> None:
    recorded(program)
    spool = Spool(program.state)
    spool.put([reading(slot_at=slot_of(datetime.now(UTC), 300), requested_at=datetime.now(UTC))])
    code, says, words = verdict(program, "spool")
    assert (code, says) == (0, "ok")
    old = datetime.now(UTC) - timedelta(hours=5)
    [entry], _ = spool.put([reading(slot_at=slot_of(old, 300), requested_at=old)])
    code, says, words = verdict(program, "spool")
    assert (code, says) == (1, "problem")
    assert "2 outcomes wait, the oldest for 5 h" in words
    spool.quarantine(entry.name, "malformed", "for a test")
    assert verdict(program, "quarantine")[:2] == (1, "problem")


def test_files_that_others_can_read_are_a_warning(program: Program) -> None:
    recorded(program)
    (program.state / "balances.db").chmod(0o644)
    code, says, words = verdict(program, "modes")
    assert (code, says) == (0, "warning")
    assert f"chmod 600 {program.state / 'balances.db'}" in words


def test_a_state_directory_that_cannot_be_written_is_a_problem(program: Program) -> None:
    recorded(program)
    program.state.chmod(0o500)
    ran = confined(program, "doctor", "--json", BINGX_ETL_INTERVAL="5m")
    program.state.chmod(0o700)
    by_check = found(ran)
    assert ran.code == 1
    assert by_check["state"][0]["verdict"] == by_check["rights"][0]["verdict"] == "problem"
    assert by_check["key"][0]["verdict"] == "ok", "and all the rest is looked at"
    for name in ("spool", "quarantine"):
        (program.state / name).chmod(0)
    by_check = found(confined(program, "doctor", "--json", BINGX_ETL_INTERVAL="5m"))
    for name in ("spool", "quarantine"):
        (program.state / name).chmod(0o700)
        assert by_check[name][0]["verdict"] == "problem"


# --- whatever happens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:9477", "[::1]:9477"])
def test_an_address_is_shown_as_it_is_written(program: Program, address: str) -> None:
    _, findings = examined(program, BINGX_ETL_METRICS_LISTEN=address)
    assert f"metrics_listen {address} (" in findings["settings"][0]["says"]


def test_a_command_on_a_change_that_cannot_be_run_is_a_problem(program: Program) -> None:
    command = program.home / "tell-me"

    def told() -> list[tuple[str, str]]:
        _, findings = examined(program, BINGX_ETL_ON_CHANGE=f"{command} --token hunter22")
        assert "hunter22" not in str(findings)
        return [(each["verdict"], each["says"]) for each in findings["settings"][1:]]

    cannot = "the command of on_change cannot be run: "
    assert told() == [("problem", cannot + "there is no such file")]
    command.write_text("#!/bin/sh\n")
    command.chmod(0o600)
    assert told() == [("problem", cannot + "this user may not execute it")]
    command.chmod(0o700)
    assert told() == []


@pytest.mark.parametrize(
    ("setting", "relative"),
    [
        ('state_dir = "data"', True),
        ('state_dir = "data/mine"', True),
        ('state_dir = "~/data"', False),
        ('database_url = "sqlite:///balances.db"', True),
        ('database_url = "sqlite:////nowhere/balances.db"', False),
        ('database_url = "postgresql://me@127.0.0.1:1/balances"', False),
        ('metrics_textfile = "bingx-etl.prom"', True),
    ],
)
def test_a_relative_path_in_the_config_file_is_a_warning(program: Program, setting: str, *, relative: bool) -> None:
    config = program.home / "c.toml"
    config.write_text(setting + "\n")
    ran = program.run(
        "doctor", "--json", "--config", str(config), BINGX_ETL_STATE_DIR=None, BINGX_ETL_DATABASE_URL=None
    )
    says = [each["says"] for each in found(ran)["settings"] if each["verdict"] == "warning"]
    assert len(says) == relative
    assert all("is a relative path" in each for each in says)


def test_wrong_settings_are_found_like_anything_else(program: Program) -> None:
    ran = program.run("doctor", BINGX_ETL_INTERVAL="7m")
    assert (ran.code, ran.err, len(ran.out.splitlines())) == (1, "", 1)
    assert ran.out.startswith("problem  settings")
    ran = program.run("doctor", "--json", BINGX_ETL_INTERVALL="5m")
    assert (ran.code, ran.lines[0]["verdict"], ran.lines[0]["settings"]) == (1, "problem", None)
    code, findings = examined(program, BINGX_ETL_CA_BUNDLE=__file__)
    assert code == 1
    assert findings["exchange"][0]["verdict"] == "problem"
    assert findings["database"][0]["verdict"] == "ok"


def test_it_ends_in_half_a_minute_when_everybody_is_silent(program: Program) -> None:
    def silent(server: RawServer, connection: socket.socket) -> None:
        server.stopping.wait(60)

    with RawServer(silent) as exchange, RawServer(silent) as database:
        began = time.monotonic()
        ran = program.run(
            "doctor",
            "--json",
            BINGX_ETL_BASE_URL=exchange.url,
            BINGX_ETL_DATABASE_URL=f"postgresql://somebody:hunter22@127.0.0.1:{database.port}/balances",
            BINGX_ETL_REQUEST_TIMEOUT="300s",
        )
        assert time.monotonic() - began < 30
    findings = found(ran)
    assert ran.code == 1
    assert findings["exchange"][0]["verdict"] == findings["database"][0]["verdict"] == "problem"
    assert findings["state"][0]["verdict"] == findings["space"][0]["verdict"] == "ok"


def test_nothing_secret_is_in_what_it_says_whatever_comes_back(program: Program) -> None:
    recorded(program, uid="7654321")
    for name in BEHAVIOURS:
        with echoing(name) as (server, signatures):
            environ = {
                "BINGX_API_KEY": KEY,
                "BINGX_API_SECRET": SECRET,
                "BINGX_ETL_BASE_URL": server.url,
                "BINGX_ETL_PROXY": "",
                "BINGX_ETL_REQUEST_TIMEOUT": "500ms",
            }
            runs = [inside(program, *command, **environ) for command in (("doctor",), ("doctor", "--json"))]
            said = "".join(run.out + run.err for run in runs)
            assert all(run.code in {0, 1} and "Traceback" not in run.err for run in runs), (name, runs)
            assert leaks(said.encode(), [KEY, SECRET, "7654321", *signatures]) == [], name
