"""Settings: where they come from, what is refused, and what no message says."""

import os
from decimal import Decimal
from pathlib import Path

import pytest

from etl.cli.init import config_text
from etl.config.keys import read_keys
from etl.config.settings import SETTINGS, default_config_file, harmless_environment, read_settings
from etl.db.url import parse
from etl.errors import SettingsError

SECRET = "s3cr3tpassw0rd"


def config(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    """A config file."""
    path = tmp_path / "bingx-etl.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def secret_file(tmp_path: Path, text: str | bytes, mode: int = 0o600) -> str:
    """A secret file."""
    path = tmp_path / "secret"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any settings."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def test_without_any_the_defaults_of_the_contract_hold(home: Path) -> None:
    settings = read_settings(environ={})
    assert settings.state_dir.is_relative_to(home)
    assert settings.state_dir.is_absolute()
    assert settings.database_url == f"sqlite:///{settings.state_dir}/balances.db"
    assert (settings.interval_seconds, settings.base_url) == (300, "https://open-api.bingx.com")
    assert (settings.request_timeout_seconds, settings.retry_for_seconds, settings.recv_window_ms) == (10, 120, 5000)
    assert (settings.ip_limit, settings.doubt_above) == ((300, 10.0), Decimal(1))
    assert not any((settings.fallback_base_url, settings.proxy, settings.ca_bundle))


def test_environment_wins_over_file_and_file_over_default(tmp_path: Path) -> None:
    path = config(tmp_path, 'interval = "1h"\nretry_for = "0s"\n')
    settings = read_settings(path, {"BINGX_ETL_INTERVAL": "30s"})
    assert (settings.interval_seconds, settings.retry_for_seconds) == (30, 0)
    assert settings.origins["interval"] == "BINGX_ETL_INTERVAL"
    assert settings.origins["retry_for"] == str(path)
    assert settings.origins["base_url"] == "default"


def test_the_config_file_is_found_by_variable_or_in_the_config_directory(tmp_path: Path, home: Path) -> None:
    path = config(tmp_path, 'interval = "1h"\n')
    assert read_settings(environ={"BINGX_ETL_CONFIG": str(path)}).interval_seconds == 3600
    default = default_config_file()
    assert default.is_relative_to(home)
    default.parent.mkdir(parents=True)
    default.write_text('interval = "2h"\n')
    assert read_settings(environ={}).interval_seconds == 7200


def test_the_database_is_in_the_state_directory_whatever_that_is_called() -> None:
    for name in ("/a b", "/100%", "/a%20b", "/a?b=c", "/a#b", "/ä:@+"):
        settings = read_settings(environ={"BINGX_ETL_STATE_DIR": name})
        assert parse(settings.database_url).path == Path(name) / "balances.db"


def test_who_has_no_home_needs_no_more_than_a_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is run under any number."""

    def nobody(_: int) -> None:
        raise KeyError

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    settings = read_settings(environ={"BINGX_ETL_STATE_DIR": str(tmp_path)})
    assert (settings.state_dir, settings.config_file) == (tmp_path, None)
    with pytest.raises(SettingsError, match="set state_dir"):
        read_settings(environ={})
    with pytest.raises(SettingsError, match="--config"):
        default_config_file()


def test_the_state_directory_of_systemd_is_used(tmp_path: Path) -> None:
    assert read_settings(environ={"STATE_DIRECTORY": f"{tmp_path}/one:{tmp_path}/two"}).state_dir == tmp_path / "one"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BINGX_ETL_INTERVAL", "7m"),
        ("BINGX_ETL_INTERVAL", ""),
        ("BINGX_ETL_BASE_URL", "http://open-api.bingx.com"),
        ("BINGX_ETL_BASE_URL", "http://127.0.0.1.evil.example"),
        ("BINGX_ETL_BASE_URL", "http://localhost.evil.example"),
        ("BINGX_ETL_BASE_URL", "ftp://open-api.bingx.com"),
        ("BINGX_ETL_BASE_URL", f"https://user:{SECRET}@open-api.bingx.com"),
        ("BINGX_ETL_BASE_URL", "https://open-api.bingx.com/?x=1"),
        ("BINGX_ETL_BASE_URL", "https://open-api.bingx.com:99999"),
        ("BINGX_ETL_FALLBACK_BASE_URL", "http://open-api.bingx.pro"),
        ("BINGX_ETL_DATABASE_URL", f"mysql://user:{SECRET}@host/db"),
        ("BINGX_ETL_DATABASE_URL", f"postgresql+psycopg2://user:{SECRET}@host/db"),
        ("BINGX_ETL_DATABASE_URL", "sqlite://"),
        ("BINGX_ETL_DATABASE_URL", "sqlite:///:memory:"),
        ("BINGX_ETL_DATABASE_URL", "balances.db"),
        ("BINGX_ETL_PROXY", f"socks5://user:{SECRET}@host"),
        ("BINGX_ETL_CA_BUNDLE", "/nowhere/ca.pem"),
        ("BINGX_ETL_REQUEST_TIMEOUT", "0s"),
        ("BINGX_ETL_RETRY_FOR", "-1s"),
        ("BINGX_ETL_RECV_WINDOW", "6s"),
        ("BINGX_ETL_IP_LIMIT", "300"),
        ("BINGX_ETL_IP_LIMIT", "0/10s"),
        ("BINGX_ETL_DOUBT_ABOVE", "-1"),
        ("BINGX_ETL_DOUBT_ABOVE", "NaN"),
        ("BINGX_ETL_LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_without_its_secret(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(environ={variable: value})
    assert variable.removeprefix("BINGX_ETL_").lower() in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000", "https://x.example/"]
)
def test_a_base_url_that_keeps_the_key_safe_is_taken(url: str) -> None:
    assert read_settings(environ={"BINGX_ETL_BASE_URL": url}).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    "text", ['intervall = "5m"', "interval = 300", "not toml", '[accounts.main]\napi_kee = "x"', "accounts = 1"]
)
def test_an_unknown_or_mistyped_setting_in_the_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"bingx-etl\.toml"):
        read_settings(config(tmp_path, text), {})


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(SettingsError, match="BINGX_ETL_INTERVALL"):
        read_settings(environ={"BINGX_ETL_INTERVALL": "5m"})


def test_a_config_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        read_settings(tmp_path / "nowhere.toml", {})


def test_a_config_file_of_another_user_is_not_to_be_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, 'interval = "1h"\n')

    def refused(*_: object, **__: object) -> str:  # root, as whom the tests may run, is never refused
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(SettingsError, match=r"denied; call the program as the user whose file it is$"):
        read_settings(path, {})


def test_a_config_file_with_a_secret_must_be_private(tmp_path: Path) -> None:
    for text in (
        f'[accounts.main]\napi_key = "k"\napi_secret = "{SECRET}"\n',
        f'database_url = "postgresql://u:{SECRET}@h/d"\n',
    ):
        with pytest.raises(SettingsError, match="chmod 600") as refused:
            read_settings(config(tmp_path, text, 0o644), {})
        assert SECRET not in str(refused.value)
        read_settings(config(tmp_path, text, 0o600), {})


def test_no_representation_of_the_settings_holds_a_secret(tmp_path: Path) -> None:
    path = config(
        tmp_path, f'database_url = "postgresql://u:{SECRET}@h/d"\n[accounts.main]\napi_key="k"\napi_secret="{SECRET}"'
    )
    settings = read_settings(path, {})
    assert SECRET not in repr(settings)
    assert SECRET not in repr(read_keys(settings, {}))


def test_the_database_url_may_come_from_a_file(tmp_path: Path) -> None:
    url = f"postgresql://u:{SECRET}@h/d"
    environ = {"BINGX_ETL_DATABASE_URL_FILE": secret_file(tmp_path, url + "\n")}
    assert read_settings(environ=environ).database_url == url
    with pytest.raises(SettingsError, match="both set"):
        read_settings(environ={**environ, "BINGX_ETL_DATABASE_URL": url})


def test_one_account_comes_from_the_environment() -> None:
    environ = {"BINGX_API_KEY": "k", "BINGX_API_SECRET": " s\r\n", "BINGX_ETL_ACCOUNT": "mine"}
    keys = read_keys(read_settings(environ=environ), environ)
    assert {name: (key.key, key.secret) for name, key in keys.usable.items()} == {"mine": ("k", "s")}


def test_an_empty_directory_of_credentials_is_named(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with pytest.raises(SettingsError, match=f"no bingx_api_key or NAME.bingx_api_key in {tmp_path}"):
        read_keys(read_settings(environ=environ), environ)


@pytest.mark.parametrize(
    ("key", "secret"), [(None, "s"), ("k", None), ("", "s"), ("k", "  "), ("k", "two words"), ("kë", "s"), ("k\0", "s")]
)
def test_a_key_that_is_missing_or_cannot_be_one_is_refused(key: str | None, secret: str | None) -> None:
    environ = {k: v for k, v in {"BINGX_API_KEY": key, "BINGX_API_SECRET": secret}.items() if v is not None}
    with pytest.raises(SettingsError):
        read_keys(read_settings(environ=environ), environ)


def test_without_an_account_the_message_says_how_to_name_one() -> None:
    with pytest.raises(SettingsError, match="BINGX_API_KEY and BINGX_API_SECRET"):
        read_keys(read_settings(environ={}), {})


@pytest.mark.parametrize("content", ["the-secret", "the-secret\n", "the-secret \r\n", b"\xef\xbb\xbfthe-secret\n"])
def test_a_secret_file_may_end_as_editors_end_it(tmp_path: Path, content: str | bytes) -> None:
    environ = {"BINGX_API_KEY": "k", "BINGX_API_SECRET_FILE": secret_file(tmp_path, content)}
    assert read_keys(read_settings(environ=environ), environ).usable["main"].secret == "the-secret"


@pytest.mark.parametrize(
    ("content", "mode"),
    [("s", 0o644), ("s", 0o640), ("", 0o600), (" \n", 0o600), ("a\nb", 0o600), (b"\xff", 0o600), ("x" * 5000, 0o600)],
)
def test_a_secret_file_that_others_can_read_or_that_holds_no_secret_is_refused(
    tmp_path: Path, content: str | bytes, mode: int
) -> None:
    environ = {"BINGX_API_KEY": "k", "BINGX_API_SECRET_FILE": secret_file(tmp_path, content, mode)}
    with pytest.raises(SettingsError, match="BINGX_API_SECRET_FILE"):
        read_keys(read_settings(environ=environ), environ)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    environ = {"BINGX_API_KEY": "k", "BINGX_API_SECRET_FILE": str(tmp_path / "fifo")}
    with pytest.raises(SettingsError, match="not a regular file"):
        read_keys(read_settings(environ=environ), environ)


def test_systemd_credentials_are_found_whatever_their_mode(tmp_path: Path) -> None:
    for name, text in {
        "bingx_api_key": "k",
        "bingx_api_secret": "s",
        "fund.bingx_api_key": "k2",
        "fund.bingx_api_secret": "s2",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    keys = read_keys(read_settings(environ=environ), environ)
    assert {name: key.secret for name, key in keys.usable.items()} == {"main": "s", "fund": "s2"}


def test_two_sources_for_one_secret_are_refused(tmp_path: Path) -> None:
    environ = {"BINGX_API_KEY": "k", "BINGX_API_SECRET": "s", "BINGX_API_SECRET_FILE": secret_file(tmp_path, "s")}
    with pytest.raises(SettingsError, match="BINGX_API_SECRET and BINGX_API_SECRET_FILE"):
        read_keys(read_settings(environ=environ), environ)


def test_one_account_without_a_key_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    good = secret_file(tmp_path, "s")
    path = config(
        tmp_path,
        f'[accounts.good]\napi_key_file = "{good}"\napi_secret_file = "{good}"\n'
        f'[accounts.bad]\napi_key_file = "{good}"\napi_secret_file = "/nowhere"\n',
    )
    keys = read_keys(read_settings(path, {}), {})
    assert set(keys.usable) == {"good"}
    assert "/nowhere" in str(keys.unusable["bad"])


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "a" * 65, "a b", "ä"])
def test_a_name_that_could_leave_its_directory_is_refused(name: str) -> None:
    environ = {"BINGX_API_KEY": "k", "BINGX_API_SECRET": "s", "BINGX_ETL_ACCOUNT": name}
    with pytest.raises(SettingsError, match="account name"):
        read_keys(read_settings(environ=environ), environ)


def test_the_file_that_init_writes_names_every_setting_and_reads_back(tmp_path: Path) -> None:
    text = config_text()
    for setting in SETTINGS:
        assert f"\n# {setting.name} = " in text
    assert read_settings(config(tmp_path, text), {}).interval_seconds == 300
    with_defaults = "\n".join(
        line.removeprefix("# ")
        for line in text.splitlines()
        if any(line.startswith(f"# {s.name} = ") for s in SETTINGS)
    )
    assert read_settings(config(tmp_path, with_defaults), {}).interval_seconds == 300


@pytest.mark.parametrize("text", ["tell-me", "/bin/echo 'unfinished", "./here", '""', "http://x"])
def test_a_command_is_a_program_by_its_absolute_path(text: str) -> None:
    with pytest.raises(SettingsError, match="on_change"):
        read_settings(environ={"BINGX_ETL_ON_CHANGE": text})


def test_a_command_is_taken_apart_as_a_shell_would_that_is_not_there(home: Path) -> None:
    text = "~/bin/tell-me --to 'me and you' $HOME ;rm"
    settings = read_settings(environ={"BINGX_ETL_ON_CHANGE": text})
    assert settings.on_change == (str(home / "bin" / "tell-me"), "--to", "me and you", "$HOME", ";rm")


def test_what_others_are_given_of_the_environment_has_no_secret() -> None:
    harmless = {"PATH": "/bin", "LC_ALL": "C", "BINGX_ETL_INTERVAL": "1h", "BINGX_ETL_DATABASE_URL_FILE": "/x"}
    secret = {"BINGX_API_KEY": "k", "BINGX_API_SECRET_FILE": "/f", "PGPASSWORD": "p", "ANY_TOKEN": "t"}
    secret |= {setting.variable: "s" for setting in SETTINGS if setting.secret}
    assert {"BINGX_ETL_DATABASE_URL", "BINGX_ETL_PING_URL", "BINGX_ETL_PROXY"} <= set(secret)
    assert harmless_environment({**harmless, **secret}) == harmless


@pytest.mark.parametrize(
    "name", ["BINGX_ETL_STATE_DIR", "BINGX_ETL_DATABASE_URL", "BINGX_ETL_INTERVAL", "STATE_DIRECTORY"]
)
def test_bytes_that_are_no_text_are_refused(name: str) -> None:
    text = os.fsdecode(b"sqlite:////tmp/\xff/x.db" if name.endswith("URL") else b"/tmp/\xff")
    with pytest.raises(SettingsError, match=r"no UTF-8") as caught:
        read_settings(environ={name: text})
    assert str(caught.value).isprintable()
