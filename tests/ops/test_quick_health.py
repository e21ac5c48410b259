"""The quick way to the health reads settings by itself: where it believes to understand them, it must be right."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from etl.config.keys import account_names
from etl.config.settings import SETTINGS, read_settings
from etl.db.last_snapshots import sqlite_file
from etl.db.url import parse
from etl.errors import SettingsError
from etl.grid import parse_interval
from etl.ops import quick_health

HOME = {"HOME": "/home/somebody"}
KEY = {"BINGX_API_KEY": "k", "BINGX_API_SECRET": "s"}
FILE = 'interval = " 1h "\nstate_dir = "/of/the/file"\n[accounts.second]\napi_key_file = "/k"\napi_secret_file = "/s"\n'


def quick(environ: Mapping[str, str], config: Path | None) -> tuple[str, str, set[str]] | None:
    """Interval, file and accounts as the quick way has them; None where it leaves that to the command."""
    try:
        settings, names = quick_health._settings(str(config or ""), environ)
    except (quick_health._Unusual, OSError, ValueError):
        return None
    path = sqlite_file(settings["database_url"])
    return None if path is None else (settings["interval"], path, set(names))


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, None),
        (KEY, None),
        ({"BINGX_API_KEY_FILE": "/k", "BINGX_API_SECRET_FILE": "/s", "BINGX_ETL_ACCOUNT": "fund.1_a-b"}, None),
        ({"BINGX_ETL_STATE_DIR": "relative/../state"}, None),
        ({"BINGX_ETL_STATE_DIR": " /padded "}, None),
        ({"BINGX_ETL_STATE_DIR": "/with space #and:ä"}, None),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite:////some/where/x y#.db"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite:///relative.db", "BINGX_ETL_INTERVAL": "1d"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite+pysqlite:////x.db", "BINGX_ETL_LOG_FORMAT": "json"}, None),
        (KEY, FILE),
        ({"BINGX_ETL_INTERVAL": "30s", "BINGX_ETL_STATE_DIR": "/of/the/environment"}, FILE),
        ({}, "\ufeffretry_for = '0s'\ndatabase_url = 'sqlite:////b.db'\n[accounts]\n"),
    ],
)
def test_what_it_understands_is_what_the_settings_are(
    tmp_path: Path, environ: dict[str, str], text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", HOME["HOME"])
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    config = None if text is None else tmp_path / "c.toml"
    if config is not None and text is not None:
        config.write_text(text, "utf-8")
    found = quick({**HOME, **environ}, config)
    assert found is not None, "it could be quick"
    settings = read_settings(config, environ)
    interval, path, names = found
    assert parse_interval(interval) == settings.interval_seconds
    assert Path(path) == parse(settings.database_url).path
    assert names == set(account_names(settings, environ))


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"BINGX_ETL_INTERVALL": "5m"}, None),
        ({"BINGX_API_KEYS": "x"}, None),
        ({"BINGX_ETL_DATABASE_URL_FILE": "/url"}, None),
        ({"BINGX_ETL_DATABASE_URL": "postgresql://x/y"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite:///"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite:////x.db?mode=ro"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite:////x%20y.db"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite:///file:x"}, None),
        ({"BINGX_ETL_DATABASE_URL": "sqlite:///:memory:"}, None),
        ({"BINGX_ETL_STATE_DIR": "~/x"}, None),
        ({"BINGX_ETL_STATE_DIR": "/100%20"}, None),
        ({"BINGX_ETL_STATE_DIR": "/x?y=z"}, None),
        ({"BINGX_ETL_STATE_DIR": ""}, None),
        ({"CREDENTIALS_DIRECTORY": "/c"}, None),
        ({"XDG_DATA_HOME": "/x"}, None),
        ({**KEY, "BINGX_ETL_ACCOUNT": "\x1b[2J"}, None),
        ({}, "not toml"),
        ({}, "intervall = '5m'"),
        ({}, "interval = 5"),
        ({}, "accounts = 5"),
        ({}, "[accounts]\nmain = 5"),
        ({}, "[accounts.main]\napi_keys = 'x'"),
        ({}, "[accounts.'../x']\n"),
        ({}, "x = " + "[" * 5000),
    ],
)
def test_what_is_unusual_it_leaves_to_the_command(tmp_path: Path, environ: dict[str, str], text: str | None) -> None:
    config = tmp_path / "c.toml" if text else None
    if config is not None and text is not None:
        config.write_text(text)
    assert quick_health.quick_health(["--config", str(config)] if config else [], {**HOME, **environ}) is None


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--max-age"], ["--max-age", "x"], ["--max-age", "0s"], ["--json=1"], ["more"], ["--config", "/nope"]],
)
def test_arguments_that_are_unusual_as_well(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert quick_health.quick_health(arguments, {**HOME, **KEY}) is None
    assert capfd.readouterr() == ("", "")


def test_a_config_file_that_is_none_is_not_waited_for(tmp_path: Path) -> None:
    assert quick_health.quick_health(["--config", str(tmp_path)], HOME) is None
    with pytest.raises(SettingsError, match="not a regular file"):
        read_settings(tmp_path, HOME)


def test_no_setting_makes_it_slow() -> None:
    unknown = {setting.name for setting in SETTINGS} - {*quick_health.USED, *quick_health.UNUSED}
    assert not unknown, f"health takes five times as long where {unknown} is set: name it in etl/ops/quick_health.py"
