"""The metrics as Prometheus reads them."""

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from etl.model import Reason
from etl.ops.exposition import View, noted, present, text
from etl.ops.ledger import FETCH_SECONDS, AccountRecord, Ledger
from etl.ops.waiting import Waiting
from tests.ops.promtool import promtool

HOSTILE = ['quo"te', "back\\slash", "new\nline", "bräkets{}", "日本語 🦊", "a" * 64, '", evil="1', "\\n", "\r", ""]


def full() -> Ledger:
    """A ledger in which everything has happened."""
    ledger = Ledger(
        accounts={
            "main": AccountRecord(1.0, 1200.0, "", 1200.0, 1201.25, 1201.25, 900.5),
            "other": AccountRecord(1.0, 1200.0, "key_refused", 600.0, 601.0, 301.0),
            "new": AccountRecord(1100.0),
        },
        slots={"complete": 5, "partial": 1, "duplicate": 2, "failed key_refused": 2, "failed none": 1},
        attempts=17,
        doubted=1,
        last_run_at=1204.0,
        clock_offset_seconds=-0.25,
        requests_left=3,
        schema_at_head=True,
        schema_revision=1,
        history_begun_anew=False,
    )
    for seconds in (0.04, 0.3, 400.0):
        ledger.fetches.observe(seconds, FETCH_SECONDS)
    return ledger


def view(ledger: Ledger | None = None, **changes: Any) -> View:
    plain: dict[str, Any] = {
        "ledger": full() if ledger is None else ledger,
        "accounts": ("main", "other", "new"),
        "interval_seconds": 300,
        "limit_requests": 300,
        "limit_seconds": 10.0,
        "needed_revision": "0001",
        "spool": Waiting(2, 1000.5),
        "quarantine": Waiting(),
    }
    return View(**{**plain, **changes})


def served(view: View, *, openmetrics: bool) -> bytes:
    """As it is served."""
    return noted(view, openmetrics=openmetrics) + present(view, openmetrics=openmetrics)


def samples(content: bytes, *, openmetrics: bool = False) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels; nothing twice."""
    parse = parse_openmetrics if openmetrics else parse_text
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in parse(content.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def of(content: bytes, name: str, **labels: str) -> dict[str, float]:
    """The values of a metric by its other labels, with these ones."""
    wanted = set(labels.items())
    return {
        ",".join(value for key, value in pairs if (key, value) not in wanted): number
        for (found, pairs), number in samples(content).items()
        if found == f"bingx_etl_{name}" and wanted <= set(pairs)
    }


def test_everything_is_told_by_its_name() -> None:
    told = text(view())
    assert of(told, "last_success_timestamp_seconds") == {"main": 1201.25, "other": 301.0}
    assert of(told, "last_reading_timestamp_seconds") == {"main": 1201.25, "other": 601.0}
    assert of(told, "account_since_timestamp_seconds") == {"main": 1.0, "other": 1.0, "new": 1100.0}
    assert of(told, "missed_slots") == {"main": 0, "other": 2, "new": 0}
    assert of(told, "failing") == {"other,key_refused": 1}
    assert of(told, "last_doubt_timestamp_seconds") == {"main": 900.5}
    assert of(told, "slots_total", outcome="complete") == {"": 5}
    assert of(told, "slots_total", outcome="failed") == {
        **{reason.value: 0 for reason in Reason},
        "key_refused": 2,
        "none": 1,
    }
    plain = {name: of(told, name).get("") for name in PLAIN}
    assert plain == PLAIN
    assert of(told, "fetch_duration_seconds_count") == {"": 3}
    assert of(told, "fetch_duration_seconds_sum") == {"": pytest.approx(400.34)}
    buckets = of(told, "fetch_duration_seconds_bucket")
    assert (buckets["0.05"], buckets["0.25"], buckets["0.5"], buckets["300.0"], buckets["+Inf"]) == (1, 1, 2, 2, 3)
    assert of(told, "load_duration_seconds_bucket")["+Inf"] == 0
    [build] = [labels for (name, labels) in samples(told) if name == "bingx_etl_build_info"]
    assert set(dict(build)) == {"version", "python"}


PLAIN: Mapping[str, float | None] = {
    "attempts_total": 17,
    "doubted_readings_total": 1,
    "accounts_expected": 3,
    "interval_seconds": 300,
    "last_run_timestamp_seconds": 1204.0,
    "clock_offset_seconds": -0.25,
    "rate_limit_requests": 300,
    "rate_limit_window_seconds": 10,
    "rate_limit_remaining_requests": 3,
    "spool_outcomes": 2,
    "spool_oldest_timestamp_seconds": 1000.5,
    "quarantine_outcomes": 0,
    "quarantine_oldest_timestamp_seconds": None,
    "schema_at_head": 1,
    "schema_revision": 1,
    "schema_needed_revision": 1,
    "history_begun_anew": 0,
}


def test_what_is_not_known_is_absent_and_never_a_zero() -> None:
    told = text(view(Ledger()))
    absent = (
        *("clock_offset_seconds", "rate_limit_remaining_requests", "schema_at_head", "schema_revision"),
        *("last_run_timestamp_seconds", "last_success_timestamp_seconds", "missed_slots", "history_begun_anew"),
    )
    assert {name: of(told, name) for name in absent} == {name: {} for name in absent}


def test_an_account_that_is_in_the_settings_no_more_is_not_told() -> None:
    told = text(view(accounts=("main",)))
    assert b'"other"' not in told
    assert of(told, "accounts_expected") == {"": 1}


def test_both_formats_say_the_same() -> None:
    plain, openmetrics = (samples(served(view(), openmetrics=each), openmetrics=each) for each in (False, True))
    ours = {key: value for key, value in plain.items() if key[0].startswith("bingx_etl_")}
    assert len(ours) > 80
    assert {key: value for key, value in openmetrics.items() if key[0].startswith("bingx_etl_")} == ours
    assert served(view(), openmetrics=True).endswith(b"# EOF\n")
    assert served(view(), openmetrics=True).count(b"# EOF") == 1


def test_what_is_served_has_the_memory_of_its_process_and_a_file_does_not() -> None:
    assert b"process_resident_memory_bytes" in served(view(), openmetrics=True)
    assert b"process_" not in text(view()), "node_exporter has its own"


@pytest.mark.parametrize("ledger", [Ledger(), full()], ids=["empty", "full"])
def test_promtool_finds_nothing_to_say_of_it(ledger: Ledger) -> None:
    assert promtool("check", "metrics", given=text(view(ledger))) == ""


def test_names_from_outside_are_quoted_and_read_back_as_they_were() -> None:
    ledger = Ledger(accounts={name: AccountRecord(float(number)) for number, name in enumerate(HOSTILE)})
    one = view(ledger, accounts=tuple(HOSTILE))
    expected = {name: float(number) for number, name in enumerate(HOSTILE)}
    for content, openmetrics in ((text(one), False), (served(one, openmetrics=True), True)):
        found = samples(content, openmetrics=openmetrics)
        name = "bingx_etl_account_since_timestamp_seconds"
        assert {dict(labels)["account"]: value for (each, labels), value in found.items() if each == name} == expected
    assert promtool("check", "metrics", given=text(one)) == ""


def test_promtool_would_have_said_something() -> None:
    assert "no help text" in promtool("check", "metrics", given=b"x_total 1\n", codes=(3,))
