"""Every setting, once: its name, what it may be, its default and what it is for.

The commented file that ``init`` writes is made from this table, and a test holds the README to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.config.forms import (
    parse_base_url,
    parse_command,
    parse_count,
    parse_database_url,
    parse_limit,
    parse_listen,
    parse_log_format,
    parse_ping_url,
    parse_proxy,
    parse_readable_file,
    parse_seconds,
    parse_textfile,
    parse_yes_or_no,
)
from etl.config.secret_files import absolute
from etl.doubt import parse_threshold
from etl.grid import parse_interval

PREFIX = "BINGX_ETL_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``parse`` turns its text into its value and raises ValueError with the forms that are understood."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    help: str
    secret: bool = False
    has_file: bool = False  # whether a variable …_FILE may name a file that holds it

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()


SETTINGS = (
    Setting(
        "state_dir",
        lambda text: absolute(Path(text), "state_dir"),
        None,
        "Spool, default database and what is remembered between runs.",
    ),
    Setting(
        "database_url",
        parse_database_url,
        None,
        "SQLAlchemy URL of SQLite or PostgreSQL.",
        secret=True,
        has_file=True,
    ),
    Setting("interval", parse_interval, "5m", "One reading per account in each; divides a day: 1s, 30s, 5m, 1h, 1d."),
    Setting("base_url", parse_base_url, "https://open-api.bingx.com", "BingX: https, or http on loopback."),
    Setting("fallback_base_url", parse_base_url, "", "Tried only after a network failure of base_url."),
    Setting(
        "proxy", parse_proxy, "", "The only proxy there is: variables of the environment are ignored.", secret=True
    ),
    Setting("ca_bundle", parse_readable_file, "", "A PEM file of authorities trusted besides the usual ones."),
    Setting("request_timeout", parse_seconds(0.1, 300), "10s", "Deadline of one whole request."),
    Setting(
        "retry_for", parse_seconds(0, 86_400), "120s", "How long a failing account is tried within its slot; 0s: once."
    ),
    Setting("recv_window", parse_seconds(1, 5), "5s", "How old a request may be when it reaches BingX."),
    Setting("ip_limit", parse_limit, "300/10s", "Requests per endpoint from this host; BingX allows 300 per 10 s."),
    Setting("doubt_above", parse_threshold, "1", "USDT; a wallet that held more, and is at 0 or gone, is read again."),
    Setting(
        "keep_stored", parse_seconds(0, 31 * 86_400), "2d", "How long what is stored stays on disk too; 0s: not at all."
    ),
    Setting("log_format", parse_log_format, "text", "text or json."),
    Setting("log_private", parse_yes_or_no, "no", "yes: the log has each account's total and UID, too."),
    Setting(
        "metrics_listen", parse_listen, "", "Where run serves metrics for Prometheus, on loopback: 127.0.0.1:9477."
    ),
    Setting("metrics_textfile", parse_textfile, "", "A file ….prom of metrics for node_exporter, after every slot."),
    Setting(
        "ping_url",
        parse_ping_url,
        "",
        "Pinged when a slot begins and ends, as healthchecks.io has it; it holds the id, so it is a secret.",
        secret=True,
        has_file=True,
    ),
    Setting(
        "on_change",
        parse_command,
        "",
        "A command that is run when a state begins that needs a person, and when it ends.",
        secret=True,
    ),
    Setting("missed_in_a_row", parse_count, "3", "So many slots missed in a row are such a state."),
    Setting("spool_older_than", parse_seconds(1, 31 * 86_400), "1h", "An outcome that waits for longer is one, too."),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
ACCOUNT_KEYS = ("api_key", "api_secret")
VARIABLES = (
    {setting.variable for setting in SETTINGS}
    | {f"{setting.variable}_FILE" for setting in SETTINGS if setting.has_file}
    | {f"{PREFIX}CONFIG", f"{PREFIX}ACCOUNT"}
    | {f"BINGX_{key.upper()}{suffix}" for key in ACCOUNT_KEYS for suffix in ("", "_FILE")}
)
