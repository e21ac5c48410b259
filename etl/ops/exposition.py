"""The metrics as Prometheus reads them: their names, their help, their order. The only home of prometheus_client.

Names follow the conventions: base units, ``_total``, ``_info``, and the time of an event rather than its age, which a
file would freeze. Labels are names of accounts, outcomes and reasons, and nothing else.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from platform import python_version

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from etl.ops.ledger import FETCH_SECONDS, LOAD_SECONDS, AccountRecord, Histogram, Ledger, all_kinds
from etl.ops.waiting import Waiting

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PREFIX = "bingx_etl_"
END = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is told at one moment. ``ledger`` may know more accounts than are expected: they are not told."""

    ledger: Ledger
    accounts: Sequence[str]
    interval_seconds: int
    limit_requests: int
    limit_seconds: float
    needed_revision: str
    spool: Waiting
    quarantine: Waiting


def text(view: View) -> bytes:
    """In the format that node_exporter reads, without anything of this process."""
    return noted(view, openmetrics=False) + generate_latest(_Families(_waiting(view)))


def noted(view: View, *, openmetrics: bool) -> bytes:
    """What the ledger and the settings say: all but what :func:`present` adds, and the same until either changes."""
    families = [*_of_accounts(view), *_counted(view.ledger), *_measured(view), _build_info()]
    return _as_openmetrics(families).removesuffix(END) if openmetrics else generate_latest(_Families(families))


def present(view: View, *, openmetrics: bool) -> bytes:
    """What waits at the moment, and the memory, time and descriptors of this process."""
    families = [*_waiting(view), *ProcessCollector(registry=None).collect()]
    return _as_openmetrics(families) if openmetrics else generate_latest(_Families(families))


@dataclass(frozen=True, slots=True)
class _Families:
    """What the library renders."""

    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        """As they are."""
        return self.families


def _as_openmetrics(families: Iterable[Metric]) -> bytes:
    content: bytes = generate_openmetrics(_Families(families))  # type: ignore[no-untyped-call] # of the library
    return content


def _of_accounts(view: View) -> Iterator[Metric]:
    records = [(name, view.ledger.accounts.get(name)) for name in view.accounts]
    known = [(name, record) for name, record in records if record is not None]

    def gauge(name: str, text: str, values: Iterable[tuple[str, float | None]]) -> Metric:
        family = GaugeMetricFamily(PREFIX + name, text, labels=("account",))
        for account, value in values:
            if value is not None:
                family.add_metric((account,), value)
        return family

    def of(field: str) -> Iterator[tuple[str, float | None]]:
        return ((name, getattr(record, field)) for name, record in known)

    yield gauge(
        "last_success_timestamp_seconds",
        "When the last snapshot that is in the database was taken.",
        of("stored_at"),
    )
    yield gauge(
        "last_reading_timestamp_seconds",
        "When the last reading was taken that is safe, in the database or on the disk.",
        of("read_at"),
    )
    yield gauge("account_since_timestamp_seconds", "When metrics first found the account in the settings.", of("since"))
    yield gauge(
        "missed_slots",
        "Slots in a row, up to the last one attended to, that have no reading.",
        ((name, record.missed(view.interval_seconds)) for name, record in known),
    )
    yield gauge("last_doubt_timestamp_seconds", "When a reading was last doubted, and so read again.", of("doubted_at"))
    yield _failing(known)


def _failing(known: Iterable[tuple[str, AccountRecord]]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}failing", "1 where the last slot attended to has no snapshot, and why.", labels=("account", "reason")
    )
    for name, record in known:
        if record.reason:
            family.add_metric((name, record.reason), 1)
    return family


def _counted(ledger: Ledger) -> Iterator[Metric]:
    slots = CounterMetricFamily(
        f"{PREFIX}slots",
        "Slots of accounts, by outcome, and by reason where they failed.",
        labels=("outcome", "reason"),
    )
    for outcome, reason in all_kinds():
        slots.add_metric((outcome, reason), ledger.slots.get(f"{outcome} {reason}".rstrip(), 0))
    yield slots
    yield CounterMetricFamily(f"{PREFIX}attempts", "Requests for balances, repeated ones included.", ledger.attempts)
    yield CounterMetricFamily(f"{PREFIX}doubted_readings", "Readings that were doubted.", ledger.doubted)
    yield _histogram(
        "fetch_duration_seconds",
        "From the request to the last byte, of answers that came whole.",
        ledger.fetches,
        FETCH_SECONDS,
    )
    yield _histogram(
        "load_duration_seconds", "One attempt to store everything that waited.", ledger.loads, LOAD_SECONDS
    )


def _histogram(name: str, text: str, histogram: Histogram, bounds: Sequence[float]) -> Metric:
    is_ours = len(histogram.counts) == len(bounds) + 1
    counts = histogram.counts if is_ours else [0] * (len(bounds) + 1)
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    buckets = list(zip(names, accumulate(counts), strict=True))
    return HistogramMetricFamily(PREFIX + name, text, buckets, histogram.total if is_ours else 0.0)


def _measured(view: View) -> Iterator[Metric]:
    ledger = view.ledger
    return _gauges(
        ("accounts_expected", "Accounts in the settings.", len(view.accounts)),
        ("interval_seconds", "One reading of each account is expected in each interval.", view.interval_seconds),
        ("last_run_timestamp_seconds", "When a slot was last attended to, successfully or not.", ledger.last_run_at),
        ("clock_offset_seconds", "BingX's clock minus that of this machine.", ledger.clock_offset_seconds),
        ("rate_limit_requests", "Requests that ip_limit allows in its window.", view.limit_requests),
        ("rate_limit_window_seconds", "The window of ip_limit.", view.limit_seconds),
        (
            "rate_limit_remaining_requests",
            "The fewest requests that BingX said were left to this address, in the last slot.",
            ledger.requests_left,
        ),
        (
            "schema_at_head",
            "1 where the schema of the database is the one that this version needs, 0 where it is another.",
            None if ledger.schema_at_head is None else float(ledger.schema_at_head),
        ),
        ("schema_revision", "The revision of the schema as last seen; 0 for none.", ledger.schema_revision),
        ("schema_needed_revision", "The revision of the schema that this version needs.", int(view.needed_revision)),
        (
            "history_begun_anew",
            "1 where the database has a history that was begun in the place of the one recorded before, 0 where not.",
            None if ledger.history_begun_anew is None else float(ledger.history_begun_anew),
        ),
    )


def _waiting(view: View) -> Iterator[Metric]:
    return _gauges(
        ("spool_outcomes", "Outcomes that wait on the disk to be stored.", view.spool.outcomes),
        ("spool_oldest_timestamp_seconds", "When the oldest of them was read.", view.spool.oldest_at),
        ("quarantine_outcomes", "Outcomes that were set aside, and wait for a person.", view.quarantine.outcomes),
        ("quarantine_oldest_timestamp_seconds", "When the oldest of them was read.", view.quarantine.oldest_at),
    )


def _gauges(*values: tuple[str, str, float | None]) -> Iterator[Metric]:
    """By name, help and value; without a sample where there is none."""
    for name, text, value in values:
        family = GaugeMetricFamily(PREFIX + name, text)
        if value is not None:
            family.add_metric((), value)
        yield family


@lru_cache
def _versions() -> dict[str, str]:
    try:
        ours = version("bingx-etl")
    except PackageNotFoundError:
        ours = "unknown"
    return {"version": ours, "python": python_version()}


def _build_info() -> Metric:
    return InfoMetricFamily(f"{PREFIX}build", "The version of bingx-etl, and of Python.", _versions())
