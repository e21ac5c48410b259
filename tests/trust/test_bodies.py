"""Whatever BingX may answer: stored to the digit, or set aside whole with a reason; never a crash, never bent."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.bingx.answers import parse_overview
from etl.bingx.body import EVIDENCE, LARGEST
from etl.bingx.envelope import peek
from etl.errors import NotUnderstood
from tests.trust.crowd import Crowd, crowd

Tally = Callable[..., None]
Wallets = dict[str, str | None]


def answer(rows: str, head: str = '"code":0,"timestamp":1700000000000', tail: str = "") -> bytes:
    return f'{{{head},"data":[{rows}]{tail}}}'.encode()


def amount(text: str) -> bytes:
    """A good wallet, and one with this amount."""
    return answer(f'{{"accountType":"grid","usdtBalance":"1.10"}},{{"accountType":"spot","usdtBalance":{text}}}')


def stored(text: str, digits: str) -> tuple[bytes, Wallets]:
    return amount(text), {"grid": "1.10", "spot": digits}


def row(wallet: str, text: str = '"5.00"') -> str:
    return f'{{"accountType":{wallet},"usdtBalance":{text}}}'


DEEP = 100_000
UNREADABLE = "malformed"
# By what it is: the body, and its wallets to the digit, or the reason why there are none.
BODIES: dict[str, tuple[bytes, Wallets | str]] = {
    "key twice": (b'{"code":0,"code":0,"data":[]}', UNREADABLE),
    "data twice": (b'{"code":0,"data":[' + row('"spot"').encode() + b'],"data":[]}', UNREADABLE),
    "amount twice": (answer('{"accountType":"spot","usdtBalance":"1","usdtBalance":"2"}'), UNREADABLE),
    "type of a wallet twice": (answer('{"accountType":"a","accountType":"b","usdtBalance":"1"}'), UNREADABLE),
    "unknown key twice": (answer(row('"spot"'), tail=',"x":{"y":1,"y":1}'), UNREADABLE),
    "NaN": (amount("NaN"), UNREADABLE),
    "NaN as text": (amount('"NaN"'), UNREADABLE),
    "Infinity": (amount("Infinity"), UNREADABLE),
    "minus Infinity": (amount("-Infinity"), UNREADABLE),
    "NaN in a field nobody knows": (answer(row('"spot"'), tail=',"x":NaN'), UNREADABLE),
    "1e999999999": (amount("1e999999999"), UNREADABLE),
    "1e999999999 as text": (amount('"1e999999999"'), UNREADABLE),
    "1e-999999999": (amount('"1e-999999999"'), UNREADABLE),
    "1e999999999 in a field nobody knows": (
        answer(row('"spot"'), tail=',"x":1e999999999'), {"spot": "5.00"}),
    "5,000 digits": (amount("9" * 5000), UNREADABLE),
    "5,000 digits as text": (amount('"' + "9" * 5000 + '"'), UNREADABLE),
    "5,000 decimals": (amount('"0.' + "1" * 5000 + '"'), UNREADABLE),
    "5,000 digits in a field nobody knows": (answer(row('"spot"'), tail=',"x":' + "9" * 5000), {"spot": "5.00"}),
    "5,000 digits of time": (answer(row('"spot"'), head='"code":0,"timestamp":' + "9" * 5000), {"spot": "5.00"}),
    "5,000 digits of code": (answer(row('"spot"'), head='"code":' + "9" * 5000), UNREADABLE),
    "100 digits": stored("9" * 100, "9" * 100),
    "100 decimals and signs": stored('"-' + "1" * 50 + "." + "3" * 48 + '"', "-" + "1" * 50 + "." + "3" * 48),
    "20 decimals with noise": stored('"44.37692200000000237300"', "44.37692200000000237300"),
    "what SQLite would round": stored('"99999.99999999999999"', "99999.99999999999999"),
    "a number, not a text": stored("99999.99999999999999", "99999.99999999999999"),
    "smallest": stored('"0.00000000000000000001"', "0.00000000000000000001"),
    "zero of eight decimals": stored('"0.00000000"', "0.00000000"),
    "minus zero": stored('"-0"', "0"),
    "minus zero, a number": stored("-0", "0"),
    "minus zero of two decimals": stored("-0.00", "0.00"),
    "minus zero with an exponent": stored('"-0E-8"', "0.00000000"),
    "negative": stored('"-12.50"', "-12.50"),
    "exponent": stored('"1.50E+3"', "1500"),
    "small exponent": stored("12.34e-2", "0.1234"),
    "leading zeros": stored('"007.50"', "7.50"),
    "1,000.5": (amount('"1,000.5"'), UNREADABLE),
    "1.000,5": (amount('"1.000,5"'), UNREADABLE),
    "1 000": (amount('"1 000"'), UNREADABLE),
    "1_000": (amount('"1_000"'), UNREADABLE),
    "full-width digits": (amount('"１２３"'), UNREADABLE),
    "Arabic digits": (amount('"١٢٣"'), UNREADABLE),
    "full-width point": (amount('"1．5"'), UNREADABLE),
    "mathematical minus": (amount('"−5"'), UNREADABLE),
    "space around": (amount('" 5"'), UNREADABLE),
    "newline behind": (amount('"5\\n"'), UNREADABLE),
    "plus": (amount('"+5"'), UNREADABLE),
    "hexadecimal": (amount('"0x10"'), UNREADABLE),
    "no digit before the point": (amount('".5"'), UNREADABLE),
    "null": (amount("null"), {"grid": "1.10", "spot": None}),
    "empty": (amount('""'), {"grid": "1.10", "spot": None}),
    "missing": (answer('{"accountType":"grid","usdtBalance":"1.10"},{"accountType":"spot"}'),
                {"grid": "1.10", "spot": None}),
    "true": (amount("true"), UNREADABLE),
    "a list as amount": (amount('["1"]'), UNREADABLE),
    "an object as amount": (amount("{}"), UNREADABLE),
    "type is a number": (answer(row("5")), UNREADABLE),
    "type is null": (answer(row("null")), UNREADABLE),
    "type is a list": (answer(row('["spot"]')), UNREADABLE),
    "type is missing": (answer('{"usdtBalance":"5.00"}'), UNREADABLE),
    "type is empty": (answer(row('""')), UNREADABLE),
    "type is blank": (answer(row('" "')), UNREADABLE),
    "type is very long": (answer(row('"' + "a" * 256 + '"')), UNREADABLE),
    "type with a NUL": (answer(row('"a\\u0000b"')), UNREADABLE),
    "type that turns the line": (answer(row('"a\\u202eb"')), UNREADABLE),
    "type that is SQL": (answer(row("\"'; DROP TABLE balance; --\"")), {"'; DROP TABLE balance; --": "5.00"}),
    "type beyond the plane": (answer(row('"\\ud83d\\udcb0 Fünd"')), {"💰 Fünd": "5.00"}),
    "a row is null": (b'{"code":0,"data":[null]}', UNREADABLE),
    "a row is a text": (b'{"code":0,"data":["spot"]}', UNREADABLE),
    "data is a text": (b'{"code":0,"data":"spot"}', UNREADABLE),
    "data is null": (b'{"code":0,"data":null}', UNREADABLE),
    "data is missing": (b'{"code":0,"timestamp":1700000000000}', UNREADABLE),
    "result is missing": (b'{"code":0,"data":{"pageId":1}}', UNREADABLE),
    "code is false": (answer(row('"spot"'), head='"code":false'), UNREADABLE),
    "code is 0.0": (answer(row('"spot"'), head='"code":0.0'), UNREADABLE),
    "code is missing": (answer(row('"spot"'), head='"msg":""'), UNREADABLE),
    "code is a text": (answer(row('"spot"'), head='"code":"0"'), {"spot": "5.00"}),
    "all in a list": (b'[{"code":0,"data":[]}]', UNREADABLE),
    "depth 100,000": (b"[" * DEEP + b"]" * DEEP, UNREADABLE),
    "depth 100,000 of data": (b'{"code":0,"data":' + b"[" * DEEP + b"]" * DEEP + b"}", UNREADABLE),
    "depth 100,000 of objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, UNREADABLE),
    "depth 100,000 of a field nobody knows": (
        answer(row('"spot"'), tail=',"x":' + "[" * DEEP + "]" * DEEP), UNREADABLE),
    "depth 100,000 that never closes": (b'{"code":0,"data":' + b"[" * DEEP, UNREADABLE),
    "byte order mark": (b"\xef\xbb\xbf" + answer(row('"spot"')), {"spot": "5.00"}),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + answer(row('"spot"')), UNREADABLE),
    "UTF-16": (answer(row('"spot"')).decode().encode("utf-16"), UNREADABLE),
    "lone surrogate in a type": (answer(row('"\\ud800"')), UNREADABLE),
    "lone surrogate in an amount": (amount('"\\udfff"'), UNREADABLE),
    "lone surrogate in a field nobody knows": (answer(row('"spot"'), tail=',"x":"\\ud800"'), {"spot": "5.00"}),
    "lone surrogate in bytes": (answer(row('"spot"'), tail=',"x":"Z"').replace(b"Z", b"\xed\xa0\x80"), UNREADABLE),
    "no UTF-8": (answer(row('"spot"'), tail=',"x":"Z"').replace(b"Z", b"\xff"), UNREADABLE),
    "fields nobody knows": (
        answer('{"accountType":"spot","usdtBalance":"5.00","new":{"x":[1.5,null]}}', tail=',"more":[{}]'),
        {"spot": "5.00"}),
    "no timestamp": (answer(row('"spot"'), head='"code":0'), {"spot": "5.00"}),
    "a timestamp that is none": (answer(row('"spot"'), head='"code":0,"timestamp":"soon"'), {"spot": "5.00"}),
    "a type never heard of": (answer(row('"fund"')), {"fund": "5.00"}),
    "a type twice": (answer(row('"spot"') + "," + row('"spot"')), UNREADABLE),
    "a type twice, with different amounts": (answer(row('"grid"', '"1"') + "," + row('"grid"', '"2"')), UNREADABLE),
    "a misspelt type twice": (answer(row('"sopt"') + "," + row('"sopt"')), UNREADABLE),
    "sopt": (answer(row('"sopt"')), {"spot": "5.00"}),
    "sopt and spot": (answer(row('"sopt"', '"1"') + "," + row('"spot"', '"2"')), {"sopt": "1", "spot": "2"}),
    "spot and sopt": (answer(row('"spot"', '"2"') + "," + row('"sopt"', '"1"')), {"sopt": "1", "spot": "2"}),
    "an empty list": (answer(""), {}),
    "an error code with data beside it": (answer(row('"spot"'), head='"code":100500,"msg":"busy"'), "unavailable"),
    "a refusal with data beside it": (answer(row('"spot"'), head='"code":100413,"msg":"no"'), "key_refused"),
    "a code nobody knows, with data beside it": (answer(row('"spot"'), head='"code":424242'), "unavailable"),
    "a lone surrogate in the words of an error": (b'{"code":100500,"msg":"\\ud800 \\u0000"}', "unavailable"),
    "a page": (b'{"code":0,"data":{"result":[' + row('"spot"').encode() + b'],"pageId":1,"total":1}}',
               {"spot": "5.00"}),
    "page 1 of 2": (b'{"code":0,"data":{"result":[' + row('"spot"').encode() + b'],"pageId":1,"total":2}}',
                    UNREADABLE),
    "page 1 of 2.0": (b'{"code":0,"data":{"result":[' + row('"spot"').encode() + b'],"pageId":1,"total":2.0}}',
                      UNREADABLE),
    "nothing": (b"", UNREADABLE),
    "blanks": (b" \r\n", UNREADABLE),
    "a page of HTML": (b"<!DOCTYPE html><html><body>Welcome</body></html>", UNREADABLE),
    "half": (answer(row('"spot"'))[:40], UNREADABLE),
    "an answer and more": (answer(row('"spot"')) + b"{}", UNREADABLE),
    "single quotes": (b"{'code':0,'data':[]}", UNREADABLE),
    "a comment": (answer(row('"spot"')) + b" // ok", UNREADABLE),
    "every byte": (bytes(range(256)), UNREADABLE),
    "larger than any answer, and an answer": (answer(row('"spot"')) + b" " * 1_100_000, UNREADABLE),
}  # fmt: skip
EXACT = Context(prec=1000, traps=[Inexact])


@dataclass(frozen=True)
class History:
    """What a run left behind, by account."""

    lines: dict[str, dict[str, Any]]
    exact: dict[str, dict[str, str | None]]
    totals: dict[str, Decimal | None]
    bodies: dict[str, list[bytes]]
    failures: dict[str, str]
    quarantined: dict[str, list[bytes]]


def history_of(people: Crowd, bodies: dict[str, bytes]) -> History:
    """Answer each account with its body, once, and record that."""
    for account, body in bodies.items():
        people.misbehave(account, "raw", base64=base64.b64encode(body).decode())
    ran = people.run("snapshot", "--json")
    assert ran.code in {0, 65, 69, 70, 75, 77}, ran.err
    assert "Traceback" not in ran.err
    assert not people.program.spooled()
    totals = people.program.rows("SELECT account, total_usdt_exact FROM equity")
    return History(
        lines={line["account"]: line for line in ran.lines},
        exact=people.exact(),
        totals={account: None if total is None else Decimal(total) for account, total in totals},
        bodies=people.bodies(),
        failures=people.failures(),
        quarantined=people.quarantined(),
    )


def check(found: History, account: str, body: bytes, expected: Wallets | str) -> None:
    """One account's answer is where it belongs, and only there."""
    line = found.lines[account]
    assert line["stored"] is True
    if isinstance(expected, str):
        assert (line["status"], line["reason"]) == ("failed", expected)
        assert line["detail"]
        assert found.failures[account] == expected
        assert account not in found.bodies
        assert account not in found.exact
        if expected != UNREADABLE:
            assert account not in found.quarantined
        elif len(body) <= LARGEST:
            assert found.quarantined[account] == [body]
        else:
            [kept] = found.quarantined[account]
            assert kept[:60_000] == body[:60_000]
            assert len(kept) <= EVIDENCE
            assert "larger than" in line["detail"]
    else:
        known = [text for text in expected.values() if text is not None]
        assert line["status"] == ("complete" if expected and len(known) == len(expected) else "partial")
        assert line["balances"] == expected
        assert found.exact.get(account, {}) == expected
        assert found.bodies[account] == [body]
        assert account not in found.failures
        assert account not in found.quarantined
        total = found.totals[account]
        if line["status"] == "partial":
            assert total is None
        else:
            exact = Decimal(0)
            for text in known:
                exact = EXACT.add(exact, Decimal(text))
            assert total == exact
            assert line["total_usdt"] == format(exact, "f")


def test_every_body_is_stored_to_the_digit_or_set_aside_with_its_reason(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    with crowd(tmp_path / "home", len(BODIES), database_url) as people:
        accounts = dict(zip(people.names, BODIES, strict=True))
        found = history_of(people, {account: BODIES[what][0] for account, what in accounts.items()})
        wrong = {}
        for account, what in accounts.items():
            try:
                check(found, account, *BODIES[what])
            except (AssertionError, KeyError) as error:
                wrong[what] = f"{type(error).__name__}: {error}\n{found.lines.get(account)}"
        assert not wrong, "\n".join(f"--- {what}: {why}" for what, why in wrong.items())
        tally("faults injected", len(BODIES))


# --- any bytes at all -----------------------------------------------------------------------------------------------

TYPES = st.sampled_from(["sopt", "spot", "grid", "USDTMPerp", "c2c", "fund", "ä", "a b"]) | st.text(max_size=4)
PLAIN = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,25})?", fullmatch=True)
AMOUNTS = (
    PLAIN | st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True) | st.text(max_size=6)
)
TOKENS = st.sampled_from(
    [
        b"NaN", b"-Infinity", b"1e999999999", b"-0", b"null", b"true", b'""', b"[]", b"{}", b'"\\ud800"', b"\xff",
        b"\0", b'"sopt"', b'"code":0,', b'"data":', b"[" * 2000, b'{"a":' * 2000, b"9" * 5000, b"\xef\xbb\xbf",
        b"\xed\xa0\x80", b'"total":2,', b"0.0", b'"0"', b",", b'"', b"\\", b"}", b"]", b"\n",
        "１".encode(), b"1,000.5", b"+1", b"1_0",
    ]
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer of BingX's form; amounts are texts or numbers, and often none."""
    wallets = draw(st.lists(st.tuples(TYPES, AMOUNTS, st.booleans()), max_size=5))
    rows = ",".join(
        f'{{"accountType":{json.dumps(name)},"usdtBalance":{text if bare else json.dumps(text)}}}'
        for name, text, bare in wallets
    )
    paged = draw(st.booleans())
    data = f'{{"result":[{rows}],"pageId":1,"total":{draw(AMOUNTS)}}}' if paged else f"[{rows}]"
    blank = draw(st.sampled_from(["", " ", "\n\t"]))
    return f'{blank}{{"code":0,{blank}"timestamp":1700000000000,"data":{data}}}{blank}'.encode(errors="surrogatepass")


@st.composite
def good(draw: st.DrawFn) -> bytes:
    """An answer that is as it should be."""
    small = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?[eE][+-]?[0-9]", fullmatch=True)
    names = st.sampled_from(["sopt", "grid", "USDTMPerp", "c2c", "fund", "ä", "a b", "💰"])
    wallets = draw(st.dictionaries(names, PLAIN | small, min_size=1))
    return answer(",".join(row(json.dumps(name), json.dumps(text)) for name, text in wallets.items()))


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """An answer with bytes taken out, put in, put twice or put in the place of others."""
    body = draw(answers() | good())
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, len(body)))
        last = draw(st.integers(first, min(len(body), first + 20)))
        put = draw(TOKENS | st.binary(max_size=3) | st.just(body[first:last] * 2))
        body = body[:first] + put + body[last:]
    return body


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["0", "1.5", "sopt"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["code", "data", "accountType", "usdtBalance", "result", "total"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
SHAPES = JSON.map(lambda data: json.dumps({"code": 0, "data": data}).encode())
ANY_BYTES = st.binary(max_size=200) | answers() | good() | bent() | bent() | SHAPES


def read_naively(body: bytes) -> Wallets:
    """The wallets of a body, amounts as the very text that it has: by another reader than the program's."""
    data = json.loads(body.decode("utf-8-sig"), parse_int=str, parse_float=str)["data"]
    rows = data if isinstance(data, list) else data["result"]
    wallets = {each["accountType"]: each.get("usdtBalance") for each in rows}
    assert len(wallets) == len(rows)
    if "spot" not in wallets and "sopt" in wallets:
        wallets["spot"] = wallets.pop("sopt")
    return {name: text or None for name, text in wallets.items()}


def same_digits(text: str | None, digits: str | None) -> bool:
    """Whether the digits say what the text said, its scale included."""
    if text is None or digits is None:
        return text is digits
    mantissa, _, exponent = text.lower().partition("e")
    scale = max(0, len(mantissa.partition(".")[2]) - int(exponent or "0"))
    plain = digits.removeprefix("-").partition(".")
    value = Decimal(digits)
    return (
        value == Decimal(text)
        and digits.startswith("-") == (value < 0)
        and len(plain[2]) == scale
        and (plain[0] == "0" or not plain[0].startswith("0"))
    )


def understood(body: bytes) -> Wallets | str:
    """What the parser makes of a body: its wallets, or the reason for which it refuses it. Raises nothing else."""
    try:
        parsed = parse_overview(body)
    except NotUnderstood as error:
        return str(error) or "refused without a reason"
    return {each.account_type: None if each.amount is None else format(each.amount, "f") for each in parsed.balances}


def again_and_again(seconds: float, once: Callable[[], None]) -> None:
    """Once, and then until the time is over."""
    ends = time.monotonic() + seconds
    once()
    while time.monotonic() < ends:
        once()


def test_any_bytes_at_all_are_read_to_the_digit_or_refused_with_a_reason(long_seconds: float, tally: Tally) -> None:
    read = 0

    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(ANY_BYTES)
    def once(body: bytes) -> None:
        nonlocal read
        envelope = peek(body)
        wallets = understood(body)
        assert wallets != "refused without a reason"
        tally("bodies read")
        if isinstance(wallets, dict):
            read += 1
            assert envelope is not None
            assert envelope.code == 0
            naive = read_naively(body)
            assert wallets.keys() == naive.keys()
            for name, digits in wallets.items():
                assert same_digits(naive[name], digits), (naive[name], digits)

    again_and_again(long_seconds, once)
    assert read > 20, "hardly a body of these is an answer: they prove little"


@settings(max_examples=200, deadline=None, database=None)
@given(st.dictionaries(st.text("abcdefgXYZ", min_size=1, max_size=8), PLAIN, max_size=6))
def test_every_sane_answer_is_read(wallets: dict[str, str]) -> None:
    read = understood(answer(",".join(row(json.dumps(name), json.dumps(text)) for name, text in wallets.items())))
    assert isinstance(read, dict)
    assert read.keys() == wallets.keys()
    assert all(same_digits(wallets[name], digits) for name, digits in read.items())


SAMPLE = 40


def test_a_sample_of_any_bytes_comes_out_of_the_database_as_it_came_from_the_exchange(
    tmp_path: Path, dialect: str, new_database: Callable[..., str], long_seconds: float, tally: Tally
) -> None:
    numbers: Iterator[int] = iter(range(10**9))

    @settings(
        max_examples=2,
        phases=[Phase.generate],  # each is a run of the program: no time to look for a smaller one
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(good() | bent() | ANY_BYTES, min_size=SAMPLE, max_size=SAMPLE))
    def once(bodies: list[bytes]) -> None:
        number = next(numbers)
        database = new_database(dialect, name=f"{number}.db")
        with crowd(tmp_path / f"home-{number}", SAMPLE, database) as people:
            sent = dict(zip(people.names, bodies, strict=True))
            found = history_of(people, sent)
            for account, body in sent.items():
                envelope = peek(body)
                if envelope is not None and envelope.code != 0:
                    check(found, account, body, found.failures[account])
                    assert found.failures[account] != UNREADABLE
                    continue
                wallets = understood(body)
                check(found, account, body, wallets if isinstance(wallets, dict) else UNREADABLE)
                if isinstance(wallets, dict):
                    naive = read_naively(body)
                    shown = found.exact.get(account, {})
                    assert all(same_digits(naive[name], digits) for name, digits in shown.items()), (naive, shown)
                tally("bodies recorded")

    again_and_again(long_seconds, once)
