"""What is wrong with what the program is given: one line with the remedy and its code, nothing asked, nothing lost."""

from pathlib import Path

import pytest

from tests.cli.confined import confined
from tests.cli.program import Program, Ran

PASSWORD = "hunter22"


def says(ran: Ran, code: int, *words: str) -> None:
    """One line on stderr with all of these words, and nothing else."""
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1), ran
    for word in words:
        assert word in ran.err
    assert "Traceback" not in ran.err
    assert PASSWORD not in ran.err


def config(program: Program, text: str, mode: int = 0o600) -> str:
    """The path of a config file."""
    path = program.home / "mine.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"BINGX_API_KEY": None, "BINGX_API_SECRET": None}, ("no account", "BINGX_API_KEY", "init")),
        ({"BINGX_API_SECRET": None}, ("api_secret", "BINGX_API_SECRET_FILE")),
        ({"BINGX_API_SECRET": ""}, ("BINGX_API_SECRET is empty",)),
        ({"BINGX_API_KEY_FILE": "/nowhere/key"}, ("BINGX_API_KEY and BINGX_API_KEY_FILE", "keep one")),
        ({"BINGX_ETL_INTERVAL": "7m"}, ("'7m'", "BINGX_ETL_INTERVAL", "divides a day")),
        ({"BINGX_ETL_INTERVAL": "five minutes"}, ("BINGX_ETL_INTERVAL", "30s, 5m, 1h, 1d")),
        ({"BINGX_ETL_BASE_URL": "http://open-api.bingx.com"}, ("in the clear", "https://")),
        ({"BINGX_ETL_BASE_URL": f"https://me:{PASSWORD}@open-api.bingx.com"}, ("scheme and host only",)),
        (
            {"BINGX_ETL_INTERVALL": "5m"},
            ("unknown setting BINGX_ETL_INTERVALL", "mean BINGX_ETL_INTERVAL?", "unset it"),
        ),
        ({"BINGX_API_KEYS": PASSWORD}, ("unknown setting BINGX_API_KEYS",)),
        (
            {"BINGX_ETL_DATABASE_URL": f"mysql://me:{PASSWORD}@host/balances"},
            ("database_url", "sqlite:////", "postgresql://"),
        ),
        ({"BINGX_ETL_DATABASE_URL": PASSWORD}, ("database_url", "sqlite:////", "postgresql://")),
        ({"BINGX_ETL_DATABASE_URL": "sqlite://"}, ("in memory", "sqlite:////")),
        ({"BINGX_ETL_CONFIG": "/nowhere/bingx-etl.toml"}, ("/nowhere/bingx-etl.toml", "bingx-etl init")),
        ({"BINGX_ETL_ACCOUNT": "../../x"}, ("account name",)),
        ({"BINGX_ETL_LOG_FORMAT": "yaml"}, ("log_format", "text or json")),
        ({"BINGX_ETL_CA_BUNDLE": "/nowhere/ca.pem"}, ("ca_bundle", "/nowhere/ca.pem")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_setting_that_is_wrong_is_named_with_its_remedy(
    program: Program, environ: dict[str, str | None], words: tuple[str, ...]
) -> None:
    says(program.run("snapshot", "--json", **environ), 78, *words)
    assert not program.exchange.counts
    assert not program.state.exists()


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ('intervall = "5m"\n', 0o600, ("unknown setting 'intervall'", "mine.toml", "mean interval?")),
        ("[account.main]\n", 0o600, ("unknown setting 'account'", "mean accounts?")),
        ('[accounts.main]\ninterval = "5m"\n', 0o600, ("'interval'", "[accounts.main]", "above the first [accounts.")),
        ('[accounts.main]\napi_keys = "x"\n', 0o600, ("unknown setting 'api_keys'", "[accounts.main]", "api_key_file")),
        (f'[accounts.main]\napi_key = "k"\napi_secret = "{PASSWORD}"\n', 0o640, ("others can read", "chmod 600")),
        (f'database_url = "postgresql://me:{PASSWORD}@host/b"\n', 0o604, ("others can read", "chmod 600")),
        (f"interval = {PASSWORD}\n", 0o600, ("not TOML", "line 1", "in quotes")),
        ("interval = 300\n", 0o600, ("is a string", "write interval = ", "5m")),
        ('interval = "7m"\n', 0o600, ("'7m'", "mine.toml", "divides a day")),
    ],
    ids=[
        "unknown",
        "a table",
        "not of an account",
        "unknown of an account",
        "secret",
        "password",
        "no TOML",
        "no string",
        "interval",
    ],
)
def test_a_config_file_that_is_wrong_is_named_with_its_remedy(
    program: Program, text: str, mode: int, words: tuple[str, ...]
) -> None:
    program.environ.pop("BINGX_ETL_INTERVAL")
    program.environ.pop("BINGX_ETL_DATABASE_URL")
    says(program.run("--config", config(program, text, mode), "snapshot"), 78, *words)
    assert not program.exchange.counts
    assert not program.state.exists()


def test_a_secret_file_that_others_can_read_is_not_used(program: Program) -> None:
    key = program.home / "key"
    key.write_text(PASSWORD)
    key.chmod(0o644)
    ran = program.run("snapshot", BINGX_API_KEY=None, BINGX_API_KEY_FILE=str(key))
    says(ran, 78, f"chmod 600 {key}")
    assert not program.exchange.counts


def test_every_command_that_needs_settings_says_the_same(program: Program) -> None:
    for command in ("status", "report", "gaps", "account list", "spool list", "spool load", "db current"):
        says(program.run(*command.split(), BINGX_ETL_INTERVAL="7m"), 78, "'7m'", "divides a day")
    nowhere = str(program.home / "no" / "such.toml")
    for command in ("status", "account list", "db current"):
        says(program.run(*command.split(), "--config", nowhere), 78, nowhere, "bingx-etl init")
    assert program.run("init", BINGX_ETL_INTERVAL="7m").code == 78


def test_a_config_file_that_may_not_be_looked_at_is_a_setting_to_mend(program: Program) -> None:
    path = Path(config(program, 'interval = "1d"\n'))
    path.chmod(0)
    says(confined(program, "snapshot", "--config", str(path)), 78, str(path))
    default = program.home / ".config"
    default.mkdir(mode=0)
    says(confined(program, "snapshot"), 78, str(default), "--config")
    default.chmod(0o700)
    assert not program.exchange.counts


def test_an_account_that_nobody_knows_is_told_with_those_there_are(program: Program) -> None:
    says(program.run("snapshot", "--account", "nobody", "--account", "main"), 78, "'nobody'", "there are: main")
    assert not program.exchange.counts


def test_a_host_that_does_not_exist_is_a_failure_with_its_reason(program: Program) -> None:
    ran = program.run("snapshot", BINGX_ETL_BASE_URL="https://open-api.bingx.invalid")
    says(ran, 69, "open-api.bingx.invalid", "unreachable")
    assert program.rows("SELECT reason FROM failure") == [("unreachable",)]


def test_a_refused_key_is_told_without_being_shown(program: Program) -> None:
    ran = program.run("snapshot", BINGX_API_SECRET=PASSWORD)
    says(ran, 77, "account=main", "reason=key_refused")
    says(program.run("snapshot", BINGX_API_KEY=PASSWORD), 77, "reason=key_refused")
    assert program.exchange.counts.total() == 2, "a refused key is asked once"


@pytest.mark.parametrize("what", ["a file in the way", "a locked directory", "a locked state"])
def test_where_nothing_can_be_written_nothing_is_asked(program: Program, what: str) -> None:
    state = program.state
    if what == "a file in the way":
        state.write_text("mine")
    elif what == "a locked directory":
        state = program.home / "locked" / "state"
        state.parent.mkdir(mode=0o500)
    else:
        state.mkdir(mode=0o500)
    where = {"BINGX_ETL_STATE_DIR": str(state), "BINGX_ETL_DATABASE_URL": None}
    for command in ("snapshot", "status", "init"):
        ran = confined(program, command, **where)
        is_read = command == "status" and what == "a file in the way"
        assert (ran.code, ran.out) == (74 if is_read else 73, "")
        assert f"cannot {'read' if is_read else 'create the directory'} {state}" in ran.err
        assert "Traceback" not in ran.err
        if command != "init":
            assert len(ran.err.splitlines()) == 1
    assert not program.exchange.counts


def test_a_spool_that_cannot_be_written_costs_no_reading_while_the_database_works(anywhere: Program) -> None:
    spool = anywhere.state / "spool"
    spool.mkdir(mode=0o500, parents=True)
    ran = confined(anywhere, "snapshot", "--json", BINGX_ETL_STATE_DIR=str(anywhere.state))
    assert ran.code == 74, ran.err
    assert (ran.lines[0]["status"], ran.lines[0]["stored"]) == ("complete", True)
    assert "straight to the database" in ran.err
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(1,)]


def test_a_database_that_cannot_be_written_costs_no_reading(program: Program) -> None:
    database = program.state / "balances.db"
    assert program.run("init").code == 0
    database.chmod(0o400)
    ran = confined(program, "snapshot", "--json")
    assert ran.code == 75
    assert ran.lines[0]["stored"] is False
    assert "read-only" in ran.err
    assert "safe in the spool" in ran.err
    assert len(program.spooled()) == 1
    database.chmod(0o600)
    assert confined(program, "spool", "load").code == 0
    assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]


READERS = ["status", "report", "gaps", "export", "account list", "spool list", "db check"]


def test_a_history_on_a_disk_that_has_become_read_only_can_still_be_read(program: Program) -> None:
    assert program.run("snapshot").code == 0
    for path in (program.state / "spool", program.state, program.state / "balances.db"):
        path.chmod(path.stat().st_mode & 0o500)
    said = {command: confined(program, *command.split()) for command in READERS}
    assert {command: ran.err for command, ran in said.items() if ran.code not in (0, 1)} == {}
    assert "main" in said["export"].out


@pytest.mark.parametrize("arguments", [("snapshot", "--nope"), ("nope",), ("report", "--format", "xml"), ("account",)])
def test_usage_is_told_with_the_way_to_help(program: Program, arguments: tuple[str, ...]) -> None:
    ran = program.run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "--help" in ran.err
    assert "Traceback" not in ran.err
    assert not program.state.exists()
