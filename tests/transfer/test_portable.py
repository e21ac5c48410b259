"""The file that history leaves in: whatever is written can be read back, and no cell of it is a formula."""

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import NotUnderstood
from etl.transfer.portable import (
    COLUMNS,
    CSV_COLUMNS,
    LONGEST_LINE,
    WRITERS,
    Line,
    csv_header,
    csv_lines,
    is_export,
    json_lines,
    numbered_lines,
    read_csv,
    read_json,
    safe_cell,
    separator_of,
)

PLAIN = Line(
    account="main",
    slot_at="2026-11-22T15:20:00Z",
    taken_at="2026-11-22T15:20:01.250Z",
    account_type="spot",
    usdt_balance="100.00",
    total_usdt="107.50",
    status="complete",
    provenance="measured",
    voided=None,
    reason=None,
    raw_type="sopt",
    environment="live",
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    ["=1+1", "+x", "-5", "@SUM(A1)", "'", "''=", "\t=x", " =x", "\r", "a\rb", '"', ",;\t", "\uff1dx", "a\r\nb"]
)
TIMES = st.datetimes().map(lambda at: f"{at.isoformat(timespec='milliseconds')}Z")
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=8).map(lambda amount: format(amount, "f"))
LINES = st.builds(
    Line,
    account=st.just("main"),
    slot_at=TIMES,
    taken_at=TIMES,
    account_type=st.none() | TEXTS,
    usdt_balance=st.none() | AMOUNTS,
    total_usdt=st.none() | AMOUNTS,
    status=st.just("partial"),
    provenance=st.just("imported"),
    voided=st.none() | TEXTS,
    reason=st.none() | TEXTS,
    raw_type=st.none() | TEXTS,
    environment=st.just("vst"),
)
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def numbered(content: bytes) -> Iterator[tuple[int, str]]:
    return numbered_lines(io.BytesIO(content))


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def test_a_line_of_csv_has_times_and_numbers_that_a_spreadsheet_knows() -> None:
    assert (csv_header() + csv_lines([PLAIN, PLAIN._replace(account_type="=x", usdt_balance="-0.10")])).decode() == (
        "account,slot_at_utc,taken_at_utc,account_type,usdt_balance,total_usdt,status,provenance,voided,reason,raw_type,"
        "environment\n"
        "main,2026-11-22 15:20:00,2026-11-22 15:20:01.250,spot,100.00,107.50,complete,measured,,,sopt,live\n"
        "main,2026-11-22 15:20:00,2026-11-22 15:20:01.250,'=x,-0.10,107.50,complete,measured,,,sopt,live\n"
    )


def test_a_json_line_has_the_contracts_times_and_amounts_as_text() -> None:
    assert json_lines([PLAIN, PLAIN]).decode() == 2 * (
        '{"account":"main","slot_at":"2026-11-22T15:20:00Z","taken_at":"2026-11-22T15:20:01.250Z","account_type":"spot",'
        '"usdt_balance":"100.00","total_usdt":"107.50","status":"complete","provenance":"measured","voided":null,'
        '"reason":null,"raw_type":"sopt","environment":"live"}\n'
    )


@given(st.lists(LINES, max_size=4))
def test_what_is_written_is_read_back_whatever_the_texts_are(lines: list[Line]) -> None:
    read = [line for _, line in read_csv(numbered(csv_header() + csv_lines(lines)))]
    assert read == lines
    assert [line for _, line in read_json(numbered(json_lines(lines)))] == lines


@given(LINES)
def test_no_text_is_a_formula_and_every_amount_is_a_number(line: Line) -> None:
    [row] = cells(csv_lines([line]))
    for name, cell in zip(COLUMNS, row, strict=True):
        if name in {"usdt_balance", "total_usdt"}:
            assert cell == (getattr(line, name) or "")
        else:
            assert not cell.lstrip(" ").startswith(FORMULA), name
            assert not cell.strip().startswith(FORMULA), name


def test_an_apostrophe_of_ones_own_is_not_mistaken_for_ours() -> None:
    assert [safe_cell(text) for text in ("'a", "a'", "=", None, "spot")] == ["''a", "a'", "'=", "", "spot"]


def test_lines_keep_their_numbers_across_texts_of_several_lines() -> None:
    content = csv_header() + csv_lines([PLAIN._replace(reason="one\ntwo\nthree"), PLAIN]) + b"\n\n" + csv_lines([PLAIN])
    assert [number for number, _ in read_csv(numbered(content))] == [2, 5, 8]
    content = json_lines([PLAIN]) + b"\n" + json_lines([PLAIN])
    assert [number for number, _ in read_json(numbered(content))] == [1, 3]


def test_a_file_that_went_through_a_spreadsheet_is_read_as_long_as_it_says_the_same() -> None:
    names = list(reversed(CSV_COLUMNS))
    row = dict(zip(CSV_COLUMNS, cells(csv_lines([PLAIN]))[0], strict=True)) | {"slot_at_utc": "2026-11-22T15:20"}
    moved = "\ufeff" + ";".join(names) + "\r\n" + ";".join(row[name] for name in names) + "\r\n"
    [(number, line)] = read_csv(numbered(moved.encode()))
    assert (number, line) == (2, PLAIN._replace(slot_at="2026-11-22T15:20Z"))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (",".join(CSV_COLUMNS[:-1]), "environment"),
        (",".join((*CSV_COLUMNS, "note")), "note"),
        (",".join((*CSV_COLUMNS, "status")), "status"),
    ],
)
def test_a_header_that_is_not_ours_is_told_by_its_columns(header: str, words: str) -> None:
    with pytest.raises(NotUnderstood, match=f"line 1: these columns are missing, unknown or double: {words}"):
        list(read_csv(numbered(header.encode() + b"\n")))


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (b"main,1\n", "line 3: 2 columns, and the header has 12"),
        (b'main,"1\n', "line 3: no CSV"),
        (b'main,"a"b\n', "line 3: no CSV"),
        (b"\xff\n", "line 3: not UTF-8"),
        (b"x" * (LONGEST_LINE + 1), "line 3: it is absurdly long"),
        (b"a" * 200_000 + b"\n", "line 3: no CSV"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_by_its_number(after: bytes, why: str) -> None:
    with pytest.raises(NotUnderstood, match=why):
        list(read_csv(numbered(csv_header() + csv_lines([PLAIN]) + after)))


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"{",
        b"null",
        json_lines([PLAIN]).replace(b'"100.00"', b"100.00"),
        json_lines([PLAIN]).replace(b'"environment"', b'"environ"'),
        json_lines([PLAIN]).replace(b"}", b',"more":null}'),
        json_lines([PLAIN]).replace(b"spot", b"\\ud800"),
        json_lines([PLAIN]).replace(b"{", b'{"usdt_balance":"1",'),
        json_lines([PLAIN]).replace(b"}", b',"usdt_balance":"1"}'),
        b"[" * 10_000,
    ],
)
def test_a_json_line_that_is_no_line_of_an_export_is_told_by_its_number(line: bytes) -> None:
    with pytest.raises(NotUnderstood, match=r"^line 2: "):
        list(read_json(numbered(json_lines([PLAIN]) + line)))


def test_an_export_is_known_by_its_header() -> None:
    assert is_export(csv_header().decode())
    assert is_export(csv_header().decode().replace(",", ";"))
    assert not is_export("time,total\n")
    assert not is_export("account,total\n")
    assert not is_export("")
    assert not is_export("account,slot_at_utc," + "x" * 200_000)
    assert [separator_of(line) for line in ("a;1,5", "a\t1,5", "a,1", "a")] == [";", "\t", ",", ","]
    assert set(WRITERS) == {"csv", "jsonl"}
