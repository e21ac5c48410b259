"""A panel's SQL as Grafana sends it to PostgreSQL: variables put in, then macros, both as its documentation says."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.docs.sql import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text(encoding="utf-8"))


class Target(NamedTuple):
    """One query of a panel."""

    panel: str
    ref: str
    form: str
    sql: str


def targets() -> Iterator[Target]:
    """Every query of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield Target(panel["title"], target["refId"], target["format"], target["rawSql"])


def as_sent(sql: str, accounts: Sequence[str], begins: datetime, ends: datetime) -> str:
    """The SQL that reaches the database. What Grafana would not know is an error."""
    quoted = ",".join("'" + name.replace("'", "''") + "'" for name in accounts)
    sql = sql.replace("${account:sqlstring}", quoted)
    assert "${" not in sql, "a variable in another form"
    first, last = (f"'{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z'" for instant in (begins, ends))

    def expand(found: re.Match[str]) -> str:
        match found[1], found[2]:
            case "__timeFilter", column if column:
                return f"{column} BETWEEN {first} AND {last}"
            case "__timeFrom", "":
                return first
            case "__timeTo", "":
                return last
            case _:
                raise AssertionError(f"no macro of Grafana's: {found[0]}")

    # Whatever looks like a call with a dollar before it is a macro to Grafana.
    sent = re.sub(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)", expand, sql)
    assert "$" not in sent
    return sent
