"""Misbehaviour as data: what goes wrong, for whom, from when to when, how many times.

A fault is a JSON object. Who and when: ``account``, ``path`` (both: any where left out), ``since`` and ``until`` (Unix
seconds or ISO text, until exclusive), or ``slot_at`` with ``interval``; ``skip`` lets so many requests pass first,
``times`` is how many it hits (no end where left out). What: ``kind`` and its options, see ``KINDS``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from etl.grid import parse_instant, parse_interval
from etl.sandbox.rules import BALANCES, UID

NUMBER = (int, float)
CLOCK, CONTENT, REPLACE, DELIVERY, SERVER = "clock", "content", "replace", "delivery", "server"


@dataclass(frozen=True, slots=True)
class Kind:
    """``options`` by name: what JSON types they may have, and whether they are required."""

    role: str
    required: Mapping[str, tuple[type, ...]] = field(default_factory=dict)
    optional: Mapping[str, tuple[type, ...]] = field(default_factory=dict)


KINDS = {
    # The server's clock is off by so much for the request: its timestamp check and the times in its answer.
    "clock": Kind(CLOCK, {"offset_ms": (int,)}),
    # The answer is right but for this. Wallets are named as they go over the wire: sopt and spot are two.
    "balances": Kind(CONTENT, optional={"set": (dict,), "drop": (list,), "null": (list,)}),
    "envelope": Kind(CONTENT, {"form": (str,)}),  # list or page
    "uid": Kind(CONTENT, {"uid": (int, str)}),
    # Something else is answered.
    "error": Kind(REPLACE, {"code": (int,)}, {"msg": (str,), "status": (int,), "fields": (dict,)}),
    "status": Kind(REPLACE, {"status": (int,)}, {"body": (str,), "headers": (dict,)}),
    "html": Kind(REPLACE, optional={"status": (int,), "body": (str,)}),
    "raw": Kind(REPLACE, optional={"body": (str,), "base64": (str,), "status": (int,), "content_type": (str,)}),
    "redirect": Kind(REPLACE, {"location": (str,)}, {"status": (int,)}),
    # The answer is sent like this.
    "delay": Kind(DELIVERY, {"seconds": NUMBER}),
    "hang": Kind(DELIVERY, optional={"seconds": NUMBER}),  # then the connection is closed; without: for ever
    "reset": Kind(DELIVERY, optional={"after_bytes": (int,)}),  # of head and body
    "close": Kind(DELIVERY, optional={"after_bytes": (int,)}),  # the same, but by an orderly FIN
    "truncate": Kind(DELIVERY, optional={"bytes": (int,)}),  # of the body, half of it where left out
    "drip": Kind(DELIVERY, {"bytes_per_second": NUMBER}),
    "endless_headers": Kind(DELIVERY, optional={"pause_seconds": NUMBER}),
    "chunked": Kind(DELIVERY, optional={"bytes": (int,)}),  # per chunk
    "gzip": Kind(DELIVERY),
    "gzip_bomb": Kind(DELIVERY, optional={"megabytes": (int,)}),  # of blanks before the body, 1024 where left out
    "flood": Kind(DELIVERY, optional={"megabytes": (int,)}),  # the same, not compressed
    # The server is down: connections are reset, new ones refused, the control interface too.
    "refuse": Kind(SERVER, {"seconds": NUMBER}),
}
# Where a change of the content means one endpoint, no other uses it up.
CONTENT_PATHS = {"balances": BALANCES, "envelope": BALANCES, "uid": UID}
WHO_AND_WHEN: Mapping[str, tuple[type, ...]] = {
    "kind": (str,),
    "account": (str,),
    "path": (str,),
    "since": (int, float, str),
    "until": (int, float, str),
    "slot_at": (str,),
    "interval": (str,),
    "skip": (int,),
    "times": (int,),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One misbehaviour, checked."""

    kind: str
    options: Mapping[str, Any]
    account: str | None = None
    path: str | None = None
    since: float | None = None
    until: float | None = None
    skip: int = 0
    times: int | None = None

    @property
    def role(self) -> str:
        """At which step of an answer it acts."""
        return KINDS[self.kind].role

    def meets(self, account: str | None, path: str, now: float) -> bool:
        """Whether a request is meant."""
        return (
            (self.account is None or self.account == account)
            and (self.path is None or self.path == path)
            and (self.since is None or self.since <= now)
            and (self.until is None or now < self.until)
        )

    def as_json(self) -> dict[str, Any]:
        """The object that :func:`parse_fault` reads back as this fault."""
        who: dict[str, Any] = {"account": self.account, "path": self.path, "since": self.since}
        if self.role != SERVER:
            who["until"] = self.until
        count = {"skip": self.skip or None, "times": self.times}
        given = {name: value for name, value in (who | count).items() if value is not None}
        return {"kind": self.kind} | given | dict(self.options)


def parse_fault(data: object) -> Fault:
    """Check a JSON object and make a fault of it; ValueError says what is wrong with it."""
    if not isinstance(data, dict):
        raise ValueError("a fault is a JSON object")  # noqa: TRY004 - it is the data that is wrong, not the caller
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}")
    options = {**KINDS[kind].required, **KINDS[kind].optional}
    for name, value in data.items():
        types = WHO_AND_WHEN.get(name) or options.get(name)
        if types is None:
            raise ValueError(f"{kind} has no {name!r}; it knows {', '.join([*options, *WHO_AND_WHEN])}")
        if type(value) not in types:
            raise ValueError(f"{name} of {kind} is {' or '.join(sorted(each.__name__ for each in types))}")
    missing = KINDS[kind].required.keys() - data.keys()
    if missing:
        raise ValueError(f"{kind} needs {', '.join(missing)}")
    if data.get("skip", 0) < 0 or data.get("times", 1) < 1:
        raise ValueError("skip is at least 0 and times at least 1")
    if kind == "envelope" and data["form"] not in ("list", "page"):
        raise ValueError("form of envelope is list or page")
    if "base64" in data and not re.fullmatch(
        "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", data["base64"]
    ):
        raise ValueError("base64 of raw is not base64")
    if kind == "refuse" and not data.keys() <= {"kind", "seconds", "since"}:
        raise ValueError("refuse is for the whole server: it takes seconds and since")
    since, until = _span(data)
    return Fault(
        kind=kind,
        options={name: value for name, value in data.items() if name in options},
        account=data.get("account"),
        path=data.get("path", CONTENT_PATHS.get(kind)),
        since=since,
        until=until,
        skip=data.get("skip", 0),
        times=data.get("times"),
    )


def _span(data: Mapping[str, Any]) -> tuple[float | None, float | None]:
    if ("slot_at" in data) != ("interval" in data) or ("slot_at" in data and ("since" in data or "until" in data)):
        raise ValueError("slot_at goes with interval, and without since and until")
    if "slot_at" in data:
        begin = parse_instant(data["slot_at"]).timestamp()
        return begin, begin + parse_interval(data["interval"])
    return _instant(data.get("since")), _instant(data.get("until"))


def _instant(value: float | str | None) -> float | None:
    return parse_instant(value).timestamp() if isinstance(value, str) else value


@dataclass(slots=True)
class _Entry:
    fault: Fault
    passed: int = 0
    used: int = 0


class FaultBook:
    """The faults in force. Safe to use from several threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = Lock()
        self._entries: list[_Entry] = []
        self._watchers: list[Callable[[], None]] = []

    def add(self, kind: str, **who_when_and_what: Any) -> Fault:
        """Put a fault in force: ``add("error", account="main", times=2, code=100500)``; ValueError if it is none."""
        fault = parse_fault({"kind": kind, **who_when_and_what})
        self.put(fault)
        return fault

    def put(self, *faults: Fault) -> None:
        """Put parsed faults in force."""
        with self._lock:
            self._entries.extend(_Entry(self._dated(fault)) for fault in faults)
        self._tell()

    def clear(self) -> None:
        """Behave."""
        with self._lock:
            self._entries.clear()
        self._tell()

    def active(self) -> tuple[Fault, ...]:
        """The faults that have not been used up, oldest first."""
        with self._lock:
            return tuple(entry.fault for entry in self._entries)

    def take(self, account: str | None, path: str, now: float, *, clock: bool = False) -> tuple[Fault, ...]:
        """What is to go wrong with this request, each counted as used: clock faults alone, or all the others."""
        if not self._entries:
            return ()
        taken = []
        with self._lock:
            for entry in self._entries:
                fault = entry.fault
                if fault.role == SERVER or (fault.role == CLOCK) is not clock or not fault.meets(account, path, now):
                    continue
                if entry.passed < fault.skip:
                    entry.passed += 1
                else:
                    entry.used += 1
                    taken.append(fault)
            self._entries = [entry for entry in self._entries if entry.used != entry.fault.times]
        return tuple(taken)

    def down(self, now: float) -> tuple[bool, float | None]:
        """Whether the server is to refuse connections, and when that may change next."""
        changes = []
        down = False
        for fault in self.active():
            if fault.role == SERVER and fault.since is not None and fault.until is not None and now < fault.until:
                down = down or fault.since <= now
                changes.append(fault.until if fault.since <= now else fault.since)
        return down, min(changes, default=None)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call this after every change of the book."""
        self._watchers.append(watcher)

    def _dated(self, fault: Fault) -> Fault:
        if fault.role != SERVER:
            return fault
        since = self._now() if fault.since is None else fault.since
        return replace(fault, since=since, until=since + fault.options["seconds"])

    def _tell(self) -> None:
        for watcher in self._watchers:
            watcher()
