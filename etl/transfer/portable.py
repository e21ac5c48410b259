"""The file that history leaves and comes back in: one line per balance, as CSV or JSON lines. Knows no database.

Every line repeats what belongs to its snapshot. A snapshot of which no wallet is known has one line, without an account
type. ``total_usdt`` stands on every line, so that lines that got lost, or digits, are noticed. A reader gets exactly
the texts back that were written.

In CSV, times are UTC without T and Z, because most spreadsheets take those for text; so their columns are called
``…_utc``. A text that a spreadsheet would take for a formula has an apostrophe before it, as has one that begins with
an apostrophe itself; amounts stay bare, they are numbers.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import BinaryIO, Final, NamedTuple

import msgspec

from etl.errors import NotUnderstood


class Line(NamedTuple):
    """One balance, or a snapshot without any. Texts as the contract has them; None for what there is not.

    ``voided`` is the reason of the void in force.
    """

    account: str | None
    slot_at: str | None
    taken_at: str | None
    account_type: str | None
    usdt_balance: str | None
    total_usdt: str | None
    status: str | None
    provenance: str | None
    voided: str | None
    reason: str | None
    raw_type: str | None
    environment: str | None


COLUMNS: Final = Line._fields
CSV_COLUMNS: Final = tuple({"slot_at": "slot_at_utc", "taken_at": "taken_at_utc"}.get(name, name) for name in COLUMNS)
SEPARATORS: Final = ("\t", ";", ",")
LONGEST_LINE: Final = 1_000_000

# The last four are what an East Asian keyboard makes of them; some spreadsheets take those for the same.
_FORMULA: Final = re.compile("'|[\t\r\n]|\\s*[-=+@\uff1d\uff0b\uff0d\uff20]")
_TIME: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)Z?")


def csv_header() -> bytes:
    """The first line of a CSV."""
    return (",".join(CSV_COLUMNS) + "\n").encode()


def csv_lines(lines: Iterable[Line]) -> bytes:
    """Lines as CSV in UTF-8."""
    rows = [
        (
            safe_cell(account),
            _spaced(slot_at),
            _spaced(taken_at),
            safe_cell(account_type),
            amount,
            total,
            status,
            provenance,
            safe_cell(voided),
            safe_cell(reason),
            safe_cell(raw_type),
            environment,
        )
        for (
            account,
            slot_at,
            taken_at,
            account_type,
            amount,
            total,
            status,
            provenance,
            voided,
            reason,
            raw_type,
            environment,
        ) in lines
    ]
    text = _csv(rows, csv.QUOTE_MINIMAL)
    if "\r" in text:  # which Python before 3.13 does not quote by itself
        text = _csv(rows, csv.QUOTE_ALL)
    return text.encode()


def json_lines(lines: Iterable[Line]) -> bytes:
    """Lines as JSON objects, amounts as text: a reader's JSON numbers are doubles."""
    return msgspec.json.Encoder().encode_lines([dict(zip(COLUMNS, line, strict=True)) for line in lines])


WRITERS: Final[Mapping[str, tuple[bytes, Callable[[Iterable[Line]], bytes]]]] = {
    "csv": (csv_header(), csv_lines),
    "jsonl": (b"", json_lines),
}
"""By format, what a file begins with and what makes lines of it."""


@lru_cache(maxsize=10_000)
def safe_cell(text: str | None) -> str:
    """A text as a cell that no spreadsheet takes for a formula."""
    if text is None:
        return ""
    return f"'{text}" if _FORMULA.match(text) else text


@lru_cache(maxsize=10)
def _spaced(time: str | None) -> str:
    return f"{time[:10]} {time[11:-1]}" if time else ""


def _csv(rows: Iterable[Sequence[str | None]], quoting: int) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=quoting).writerows(rows)  # type: ignore[arg-type] # one of csv's own
    return out.getvalue()


# --- and back -------------------------------------------------------------------------------------------------------


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """The lines of a file in UTF-8, from 1 on, with their ends. NotUnderstood, with the number, for what is no text."""
    number = 0
    while raw := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise at_line(number, "it is absurdly long")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise at_line(number, "not UTF-8: save the file as CSV UTF-8") from None
        yield number, text.removeprefix("\ufeff") if number == 1 else text


def at_line(number: int, why: str) -> NotUnderstood:
    """The error for a line. ``why`` quotes no amount."""
    return NotUnderstood(f"line {number}: {why}")


def csv_records(lines: Iterable[tuple[int, str]], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV, each with the number of its first line; empty lines are passed over."""
    first = 0

    def texts() -> Iterator[str]:
        nonlocal first
        for number, text in lines:
            first = first or number
            yield text

    reader = csv.reader(texts(), delimiter=separator, strict=True)
    while True:
        first = 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise at_line(first, f"no CSV ({error})") from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield first, cells


def is_export(header: str) -> bool:
    """Whether a line of a CSV begins an export of ours, however it was saved since."""
    return {"account", "slot_at_utc"} <= set(_names(header, separator_of(header)))


def separator_of(line: str) -> str:
    """What divides the columns of a line; a comma is the last guess, for it also stands within numbers."""
    return next((separator for separator in SEPARATORS if separator in line), SEPARATORS[-1])


def read_csv(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Line]]:
    """What :func:`csv_lines` wrote, with its header; columns may have been moved."""
    lines = iter(lines)
    number, header = next(lines)
    separator = separator_of(header)
    names = _names(header, separator)
    if sorted(names) != sorted(CSV_COLUMNS):
        wrong = sorted(set(names) ^ set(CSV_COLUMNS)) or sorted({name for name in names if names.count(name) > 1})
        raise at_line(number, f"these columns are missing, unknown or double: {', '.join(wrong)[:200]}")
    places = [names.index(name) for name in CSV_COLUMNS]
    for number, cells in csv_records(lines, separator):
        if len(cells) != len(places):
            raise at_line(number, f"{len(cells)} columns, and the header has {len(places)}")
        row = Line._make(cells[place].removeprefix("'") or None for place in places)
        yield number, row._replace(slot_at=_contract(row.slot_at), taken_at=_contract(row.taken_at))


def read_json(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Line]]:
    """What :func:`json_lines` wrote."""
    decoder = msgspec.json.Decoder(dict[str, str | None])
    for number, text in lines:
        if not text.strip():
            continue
        try:
            row = decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            row = {}
        # A name that stands twice would silently have its last value.
        if row.keys() != set(COLUMNS) or json.loads(text, object_pairs_hook=len) != len(COLUMNS):
            raise at_line(number, f"no JSON object of {', '.join(COLUMNS)}, each once and a text or null")
        yield number, Line(**row)


def _names(header: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([header], delimiter=separator), [])]
    except csv.Error:  # no header at all: whoever reads on will say so
        return []


def _contract(time: str | None) -> str | None:
    """A time of a CSV as the contract writes it; what is none is left for the reader to refuse."""
    match = _TIME.fullmatch(time) if time else None
    return f"{match[1]}T{match[2]}Z" if match else time
