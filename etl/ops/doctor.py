"""``doctor``: every check at once, each on its own. One that hangs, or fails, says that of itself and of no other."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from etl.clock import Clock
from etl.config.keys import Keys
from etl.errors import SettingsError, Trouble
from etl.extract.limiter import SlidingWindow
from etl.extract.workers import Lost, Threads, Workers
from etl.load.lineage import Known
from etl.ops.cadence import check_cadence
from etl.ops.database_checks import (
    Database,
    Facts,
    check_database,
    check_history,
    check_integrity,
    check_journal,
    check_rights,
    check_schema,
    gather,
    read_through,
)
from etl.ops.exchange_checks import (
    Source,
    ask_about_key,
    check_addresses,
    check_clock,
    check_exchange,
    check_identity,
    check_keys,
    check_permissions,
    words,
)
from etl.ops.finding import Finding, Verdict, together

LIMIT_SECONDS = 25.0
"""How long all of it may take, whoever is silent."""
# For all pages of SQLite's file, for which a COMMIT has to wait; a recorder waits ten seconds for it.
READING_SECONDS = 5.0
MOST_AT_ONCE = 32

Findings = Iterable[Finding]


@dataclass(frozen=True, slots=True)
class Exchange:
    """BingX, and how it may be asked. ``held`` are accounts that BingX limits, ``all_held`` where it limits the host.

    ``offset_ms`` is what is remembered of its clock. ``limiters`` are those of each endpoint.
    """

    source: Source
    limiters: Mapping[str, SlidingWindow]
    offset_ms: int = 0
    held: Mapping[str, Trouble] = field(default_factory=dict)
    all_held: Trouble | None = None


@dataclass(slots=True)
class Doctor:
    """The parts. ``local`` are the checks that ask nobody, by name; ``exchange`` and ``database`` may fail.

    ``history`` is what is remembered of it.
    """

    local: Mapping[str, Callable[[], Findings]]
    keys: Keys | SettingsError
    exchange: Exchange | Exception
    database: Callable[[], Database]
    interval_seconds: int
    limit_seconds: float = LIMIT_SECONDS
    history: Callable[[], Known | None] = lambda: None

    def findings(self) -> list[Finding]:
        """All findings, in the order of the checks, within the limit."""
        results = self._results()
        found: list[Finding] = []
        for check, value in ((check, results[check]) for check in self.local):
            found += _told(check, partial(_local, check, value))
        facts = results["database"]
        if not isinstance(facts, Facts):
            facts = Facts(None, facts if isinstance(facts, Exception) else Lost())
        asked = {name: results[f"key {name}"] for name in self._accounts()}
        for check, tell in self._remote(facts, results["integrity"], results["exchange"], asked).items():
            found += _told(check, tell)
        return found

    def _remote(
        self, facts: Facts, is_whole: object, offset_ms: object, asked: Mapping[str, object]
    ) -> dict[str, Callable[[], Findings]]:
        unusable = {} if isinstance(self.keys, SettingsError) else self.keys.unusable
        history = facts.accounts if isinstance(facts.accounts, Mapping) else ({} if facts.is_older else None)
        environment = None if isinstance(self.exchange, Exception) else self.exchange.source.environment
        return {
            "database": lambda: check_database(facts),
            "schema": lambda: check_schema(facts),
            "rights": lambda: check_rights(facts),
            "journal": lambda: check_journal(facts),
            "integrity": lambda: check_integrity(facts, is_whole),
            "history": lambda: check_history(facts, self.history()),
            "exchange": lambda: check_exchange(offset_ms),
            "clock": lambda: check_clock(offset_ms),
            "key": lambda: check_keys(asked, unusable),
            "permissions": lambda: check_permissions(asked),
            "addresses": lambda: check_addresses(asked),
            "identity": lambda: check_identity(asked, history, environment),
            "cadence": lambda: check_cadence(facts, self.interval_seconds, datetime.now(UTC)),
        }

    def _accounts(self) -> list[str]:
        return [] if isinstance(self.keys, SettingsError) else list(self.keys.usable)

    def _results(self) -> dict[str, object]:
        """What came back, or the exception that came instead, by name."""
        end = time.monotonic() + self.limit_seconds
        workers: Workers[str, object] = Workers(Clock(), Threads())
        for check, call in self.local.items():
            workers.submit(check, lambda call=call: list(call()), end)  # type: ignore[misc] # bound as it is now
        workers.submit("database", lambda: gather(self.database()), end)
        workers.submit("integrity", lambda: read_through(self.database()), min(end, time.monotonic() + READING_SECONDS))
        results: dict[str, object] = {}
        questions: Iterator[tuple[str, Callable[[], object]]] = iter(())
        if isinstance(self.exchange, Exception):
            results["exchange"] = self.exchange
            results |= {f"key {name}": self.exchange for name in self._accounts()}
        elif self.exchange.all_held is not None:
            results["exchange"] = self.exchange.all_held
            results |= {f"key {name}": self.exchange.all_held for name in self._accounts()}
        else:
            workers.submit("exchange", self.exchange.source.clock_offset_ms, end)
        while workers:
            for key, value in workers.wait(0.1):
                results[key] = value
                if key == "exchange" and isinstance(self.exchange, Exchange):
                    questions = self._questions(self.exchange, value, end)
            # The exchange's clock is known first: requests are signed with it.
            while len(workers) < MOST_AT_ONCE and (question := next(questions, None)) is not None:
                workers.submit(*question, end)
        return {f"key {name}": Lost() for name in self._accounts()} | results

    def _questions(
        self, exchange: Exchange, offset_ms: object, end: float
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        offset = offset_ms if isinstance(offset_ms, int) else exchange.offset_ms
        for name in self._accounts():
            if (held := exchange.held.get(name)) is not None:
                yield f"key {name}", partial(_raise, held)
            else:
                turn = partial(_turn, exchange.limiters, end)
                yield f"key {name}", partial(ask_about_key, exchange.source, name, offset, turn)


def _raise(error: Exception) -> object:
    raise error


def _turn(limiters: Mapping[str, SlidingWindow], end: float, endpoint: str) -> None:
    """Wait until a request may be sent. Raises Lost where that is too late."""
    while (at := limiters[endpoint].take(now := time.monotonic())) > now:
        if at >= end:
            raise Lost
        time.sleep(at - now)


def _local(check: str, value: object) -> list[Finding]:
    if isinstance(value, list):
        return value
    return [Finding(check, Verdict.UNKNOWN, words(value))]


def _told(check: str, tell: Callable[[], Findings]) -> list[Finding]:
    try:
        return together(tell())
    except Exception as error:  # noqa: BLE001 - what is wrong with a check is no reason to hear nothing of the others
        return [Finding(check, Verdict.UNKNOWN, f"the check failed ({type(error).__name__})", "please report it")]
