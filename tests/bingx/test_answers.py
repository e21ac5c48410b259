import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal, getcontext, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.bingx.answers import parse_amount, parse_overview, parse_server_time, parse_uid
from etl.bingx.envelope import peek
from etl.errors import NotUnderstood
from etl.model import Balance

AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def overview(rows: str, rest: str = '"timestamp":1700000000000') -> bytes:
    return f'{{"code":0,{rest},"data":[{rows}]}}'.encode()


def amount(text: str) -> bytes:
    """An overview of one wallet whose usdtBalance is this JSON text."""
    return overview(f'{{"accountType":"grid","usdtBalance":{text}}}')


def test_the_first_documented_envelope() -> None:
    answer = parse_overview(
        b'{"code":0,"timestamp":1700000000000,"data":[{"accountType":"sopt","usdtBalance":"1000.00"},'
        b'{"accountType":"USDTMPerp","usdtBalance":"500.00"}]}'
    )
    assert answer.exchange_at == AT
    assert answer.balances == (
        Balance("spot", Decimal("1000.00"), raw_type="sopt"),
        Balance("USDTMPerp", Decimal("500.00")),
    )
    assert [str(balance.amount) for balance in answer.balances] == ["1000.00", "500.00"]


def test_the_second_documented_envelope() -> None:
    answer = parse_overview(
        b'{"code":0,"timestamp":1719494258281,"data":{"result":[{"accountType":"sopt","usdtBalance":"100"}],'
        b'"pageId":1,"total":1}}'
    )
    assert answer.balances == (Balance("spot", Decimal(100), raw_type="sopt"),)


def test_further_pages_would_be_missing_wallets() -> None:
    for total in ("2", '"2"', "2.0", '"2.0"', "2e0", "20e-1", '" 2"', "1.5", "1e999999999", "9" * 5000):
        body = f'{{"code":0,"data":{{"result":[{{"accountType":"a","usdtBalance":"1"}}],"total":{total}}}}}'
        with pytest.raises(NotUnderstood, match="only page 1"):
            parse_overview(body.encode())
    for total in ("1", "1.0", "1e0", "0", "null", '"x"', '""', "-5", "true", "[2]"):
        body = f'{{"code":0,"data":{{"result":[{{"accountType":"a","usdtBalance":"1"}}],"total":{total}}}}}'
        assert len(parse_overview(body.encode()).balances) == 1


def test_an_empty_list_is_understood() -> None:
    assert parse_overview(overview("")).balances == ()


def test_code_zero_may_be_a_string_and_a_byte_order_mark_may_stand_before_it() -> None:
    assert parse_overview(b'\xef\xbb\xbf{"code":"0","data":[]}').balances == ()


def test_both_spellings_in_one_answer_are_stored_as_sent() -> None:
    rows = '{"accountType":"sopt","usdtBalance":"1"},{"accountType":"spot","usdtBalance":"2"}'
    assert parse_overview(overview(rows)).balances == (Balance("sopt", Decimal(1)), Balance("spot", Decimal(2)))


def test_types_never_heard_of_come_as_they_are() -> None:
    rows = '{"accountType":"Fünd 2","usdtBalance":"1","new":{"x":[1.5]}}'
    assert parse_overview(overview(rows)).balances == (Balance("Fünd 2", Decimal(1)),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"100.00"', "100.00"),
        ('"0.00000000"', "0.00000000"),
        ('"44.37692200000000237300"', "44.37692200000000237300"),
        ('"99999.99999999999999"', "99999.99999999999999"),
        ("99999.99999999999999", "99999.99999999999999"),
        ("1.10", "1.10"),
        ("12345678901234567890123456789012345678901234567890", "12345678901234567890123456789012345678901234567890"),
        ('"1.50E+3"', "1500"),
        ("1.50e3", "1500"),
        ('"1E-3"', "0.001"),
        ('"1.5000E+3"', "1500.0"),
        ('"12.34E-2"', "0.1234"),
        ('"-0"', "0"),
        ("-0", "0"),
        ('"-0.00"', "0.00"),
        ('"-0E5"', "0"),
        ('"-12.50"', "-12.50"),
        ('"007.50"', "7.50"),
        ('"0E-8"', "0.00000000"),
        ("1" * 100, "1" * 100),
        ('"1E+99"', "1" + "0" * 99),
        ('"1E-99"', "0." + "0" * 98 + "1"),
    ],
)
def test_amounts_keep_their_digits(text: str, expected: str) -> None:
    (balance,) = parse_overview(amount(text)).balances
    assert balance.amount is not None
    assert format(balance.amount, "f") == expected


@pytest.mark.parametrize(
    "row",
    ['{"accountType":"grid","usdtBalance":null}', '{"accountType":"grid"}', '{"accountType":"grid","usdtBalance":""}'],
)
def test_a_type_without_an_amount_has_none_and_not_zero(row: str) -> None:
    assert parse_overview(overview(row)).balances == (Balance("grid", None),)


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "Infinity", "-Infinity", '"NaN"', '"Infinity"', '"sNaN"', "1e999999999", '"1e999999999"',
        '"1E-999999999"', '"1E' + "9" * 90 + '"', "9" * 101, "9" * 5000, '"1E+100"', '"1E-100"', '"' + "0" * 101 + '"',
        '"1,000.5"', '"1_000"', '"１２３"', '"١٢"', '" 1"', '"1 "', '"1\\n"', '"+1"', '".5"', '"5."', '"--1"', '"0x10"',
        '"1e"', '"abc"', '" "', '"null"', '"-"', "true", "false", "[]", "{}", '["1"]',
    ],
)  # fmt: skip
def test_what_is_no_finite_decimal_of_sane_length_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood):
        parse_overview(amount(text))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"0", b'"x"', b"<html></html>", b'{"code":0', b'{"code":0,"data":[]} x', b"{}",
        b'{"data":[]}', b'{"code":false,"data":[]}', b'{"code":0.0,"data":[]}', b'{"code":null,"data":[]}',
        b'{"code":100413,"data":[]}', b'{"code":1,"data":[{"accountType":"a","usdtBalance":"1"}]}',
        b'{"code":0}', b'{"code":0,"data":null}', b'{"code":0,"data":{}}', b'{"code":0,"data":"x"}',
        b'{"code":0,"data":{"result":null}}', b'{"code":0,"data":{"result":{}}}', b'{"code":0,"data":[null]}',
        b'{"code":0,"data":[[]]}', b'{"code":0,"data":["a"]}', b'{"code":0,"code":0,"data":[]}',
        b'{"code":0,"data":[],"data":[]}', b'{"code":0,"data":[],"x":{"a":1,"a":1}}', b'{"code":0,"data":[],"x":NaN}',
        b'{"code":0,"data":[{"accountType":"a","usdtBalance":"1","usdtBalance":"2"}]}',
        b'{"code":0,"data":[{"accountType":"a","usdtBalance":"1"},{"accountType":"a","usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"usdtBalance":"1"}]}', b'{"code":0,"data":[{"accountType":"","usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":" ","usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":5,"usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":1.5,"usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":null,"usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":"a\\u0000b","usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":"\\ud800","usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":"a\\nb","usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":"' + b"a" * 256 + b'","usdtBalance":"1"}]}',
        b'{"code":0,"data":[{"accountType":"\xff","usdtBalance":"1"}]}', '{"code":0,"data":[]}'.encode("utf-16"),
        b"[" * 100_000, b'{"code":0,"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)  # fmt: skip
def test_what_is_neither_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        parse_overview(body)


def test_a_type_of_255_characters_is_still_a_name() -> None:
    (balance,) = parse_overview(overview(f'{{"accountType":"{"a" * 255}","usdtBalance":"1"}}')).balances
    assert balance.account_type == "a" * 255


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000000", AT),
        ('"1700000000000"', AT),
        ("null", None),
        ("true", None),
        ("1.7e12", None),
        ("1700000000000.5", None),
        ("-1", None),
        ('""', None),
        ('"soon"', None),
        ('"１７００００００００００００"', None),
        ("[]", None),
        ("9" * 15, None),
        ("9" * 5000, None),
    ],
)
def test_a_clock_that_is_absurd_is_none(text: str, expected: datetime | None) -> None:
    body = f'{{"code":0,"timestamp":{text},"data":[]}}'.encode()
    assert parse_overview(body).exchange_at == expected
    envelope = peek(body)
    assert envelope is not None
    assert envelope.exchange_at == expected


def test_a_missing_clock_is_none() -> None:
    assert parse_overview(b'{"code":0,"data":[]}').exchange_at is None


def test_the_reason_quotes_no_amount() -> None:
    for text in ('"31337,5"', "1e31337", '"31337.x"', "9" * 31337):
        with pytest.raises(NotUnderstood) as caught:
            parse_overview(amount(text))
        assert "31337" not in str(caught.value)
        assert caught.value.__context__ is None


@pytest.mark.parametrize(("text", "uid"), [("16844999", "16844999"), ('"16844999"', "16844999")])
def test_a_uid_is_a_number_or_a_string(text: str, uid: str) -> None:
    assert parse_uid(f'{{"code":0,"timestamp":1,"data":{{"uid":{text}}}}}'.encode()) == uid
    assert type(parse_uid(f'{{"code":0,"data":{{"uid":{text}}}}}'.encode())) is str


@pytest.mark.parametrize(
    "data", ["null", "{}", "[]", '{"uid":null}', '{"uid":""}', '{"uid":"x"}', '{"uid":1.5}', '{"uid":true}',
             '{"uid":0}', '{"uid":-5}', '{"uid":"１２"}', '{"uid":' + "1" * 33 + "}", '{"uid":1,"uid":2}',
             '{"uid":" 1"}'],
)  # fmt: skip
def test_what_is_no_uid_is_refused(data: str) -> None:
    with pytest.raises(NotUnderstood):
        parse_uid(f'{{"code":0,"data":{data}}}'.encode())


def test_the_server_time_is_read() -> None:
    assert parse_server_time(b'{"code":0,"msg":"","data":{"serverTime":1675319535362}}') == 1675319535362


@pytest.mark.parametrize(
    "text", ["null", "true", '"1675319535362"', "1675319535.362", "1.675319535362e12", "1675319535", "1483228799999",
             "7258118400000", "-1675319535362", "9" * 5000],
)  # fmt: skip
def test_a_server_time_that_is_absurd_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood):
        parse_server_time(f'{{"code":0,"data":{{"serverTime":{text}}}}}'.encode())


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    for parse in (parse_overview, parse_uid, parse_server_time):
        try:
            parse(body)
        except NotUnderstood:
            pass
    peek(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["0", "", "1.5", "sopt"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["accountType", "usdtBalance", "result", "total", "uid", "serverTime"]), inner
        )
    ),
)


@given(JSON, JSON)
def test_any_json_in_an_envelope_is_parsed_or_refused(data: object, timestamp: object) -> None:
    body = json.dumps({"code": 0, "timestamp": timestamp, "data": data}).encode()
    for parse in (parse_overview, parse_uid, parse_server_time):
        try:
            parse(body)
        except NotUnderstood:
            pass


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None).map(lambda d: format(d, "f")))
def test_any_decimal_survives(text: str) -> None:
    if len(text) > 90:
        return
    parsed = parse_amount(text)
    expected = text.removeprefix("-") if not text.strip("-0.") else text
    assert format(parsed, "f") == expected
    (balance,) = parse_overview(amount(f'"{text}"')).balances
    assert balance.amount is not None
    assert balance.amount.as_tuple() == parsed.as_tuple()


@given(st.integers(0, 10**40), st.integers(-60, 40), st.booleans())
def test_an_exponent_changes_the_writing_and_not_the_value(digits: int, exponent: int, negative: bool) -> None:
    text = f"{'-' if negative else ''}{digits}e{exponent}"
    parsed = parse_amount(text)
    with localcontext(prec=300):
        assert parsed == Decimal(text)
    assert int(parsed.as_tuple().exponent) <= 0
    assert parsed or not parsed.is_signed()


def test_a_narrow_decimal_context_does_not_round() -> None:
    text = "12345678901234567890.12345678901234567890"
    with localcontext(prec=5):
        assert format(parse_amount(text), "f") == text
    assert getcontext().prec == 28


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"code":0}', 0),
        (b'{"code":-0}', 0),
        (b'{"code":"0"}', 0),
        (b'\xef\xbb\xbf{"code":100413,"msg":"x"}', 100413),
        (b'{"code":"100413"}', 100413),
        (b'{"code":1,"code":0}', 0),
        (b'{"code":0,"x":' + b"9" * 5000 + b',"y":NaN,"z":1e999999999}', 0),
        (b'{"code":0,"x":"\xff\x01"}', 0),
    ],
)
def test_a_look_at_the_envelope_is_lenient(body: bytes, code: int) -> None:
    envelope = peek(body)
    assert envelope is not None
    assert envelope.code == code


@pytest.mark.parametrize(
    "code", ["false", "true", "null", "0.0", "1e3", "NaN", '""', '" 0"', '"0x1"', '"０"', "[]", "{}", "9" * 19]
)
def test_what_is_no_code_is_no_envelope(code: str) -> None:
    assert peek(f'{{"code":{code}}}'.encode()) is None


@pytest.mark.parametrize("body", [b"", b"[0]", b"<html>", b"null", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_object_is_no_envelope(body: bytes) -> None:
    assert peek(body) is None


def test_judging_answers_needs_no_http_library() -> None:
    program = (
        "import sys, etl.bingx.answers, etl.bingx.codes, etl.bingx.signing, etl.bingx.address;"
        "print({'requests', 'urllib3', 'ssl'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
