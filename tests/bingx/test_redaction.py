import json

import pytest

from etl.bingx.redaction import redact

KEY = 'Abcdef0123456789+/"\\'


@pytest.mark.parametrize(
    "echo",
    [KEY, KEY.lower(), KEY.upper(), "".join(f"\\u{ord(c):04x}" for c in KEY), "".join(f"\\u{ord(c):04X}" for c in KEY),
     json.dumps(KEY)[1:-1], json.dumps(KEY)[1:-1].replace("/", "\\/"), "\\u0041" + KEY[1:],
     KEY[:5] + "\\u0066" + KEY[6:]],
)  # fmt: skip
def test_an_echo_is_taken_out_however_it_is_written(echo: str) -> None:
    body = f'{{"code":0,"echo":"{echo}","again":"{echo}"}}'.encode()
    assert redact(body, ["other-secret", KEY]) == b'{"code":0,"echo":"***","again":"***"}'


def test_the_rest_stays_as_it_is() -> None:
    body = b'{"code":0,"data":[{"accountType":"\\u00e4","usdtBalance":"1.50"}]}\xff'
    assert redact(body, [KEY, "another.secret"]) == body


def test_a_pattern_in_a_secret_is_no_pattern() -> None:
    assert redact(b"xxxxxxxxxxxx a.c[d](e)", ["a.c[d](e)", "x.......x"]) == b"xxxxxxxxxxxx ***"


def test_a_backslash_before_an_echo_keeps_its_meaning() -> None:
    assert redact(b'{"x":"\\\\abcdefgh\\n"}', ["abcdefgh"]) == b'{"x":"\\\\***\\n"}'


def test_what_is_too_short_to_be_a_secret_does_not_bend_an_amount() -> None:
    assert redact(b'"usdtBalance":"100.00"', ["0", "usdt", ""]) == b'"usdtBalance":"100.00"'


def test_of_two_secrets_that_begin_alike_nothing_stays() -> None:
    for secrets in (["abcdefgh", "abcdefghijkl"], ["abcdefghijkl", "abcdefgh"]):
        assert redact(b"abcdefghijkl abcdefgh", secrets) == b"*** ***"
