from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.bingx.codes import trouble_of_code, trouble_of_status
from etl.errors import ClockSkew, KeyRefused, RateLimited, RequestRefused, Trouble, Unavailable, Unreachable
from etl.grid import to_ms
from etl.model import Reason

NOW = datetime(2026, 11, 22, 15, 20, 1, tzinfo=UTC)
SOON = NOW + timedelta(seconds=42)


def of_code(code: int, message: str = "", status: int = 200, offset: int = 0, **headers: str) -> Trouble:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return trouble_of_code(code, message, status, headers, NOW, clock_offset_ms=offset)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (100001, KeyRefused, Reason.KEY_REFUSED),
        (100413, KeyRefused, Reason.KEY_REFUSED),
        (100403, KeyRefused, Reason.KEY_REFUSED),
        (100419, KeyRefused, Reason.IP_NOT_ALLOWED),
        (100004, KeyRefused, Reason.PERMISSION_MISSING),
        (100414, KeyRefused, Reason.ACCOUNT_BLOCKED),
        (100441, KeyRefused, Reason.ACCOUNT_BLOCKED),
        (80020, KeyRefused, Reason.ACCOUNT_BLOCKED),
        (40029, KeyRefused, Reason.ACCOUNT_BLOCKED),
        (109403, KeyRefused, Reason.ACCOUNT_BLOCKED),
        (100421, ClockSkew, Reason.CLOCK_SKEW),
        (80014, RequestRefused, Reason.REQUEST_REFUSED),
        (109400, RequestRefused, Reason.REQUEST_REFUSED),
        (100410, RateLimited, Reason.RATE_LIMITED),
        (100409, RateLimited, Reason.RATE_LIMITED),
        (109429, RateLimited, Reason.RATE_LIMITED),
        (100500, Unavailable, Reason.UNAVAILABLE),
        (100503, Unavailable, Reason.UNAVAILABLE),
        (101500, Unavailable, Reason.UNAVAILABLE),
        (80012, Unavailable, Reason.UNAVAILABLE),
        (109500, Unavailable, Reason.UNAVAILABLE),
        (109701, Unavailable, Reason.UNAVAILABLE),
        (100412, RequestRefused, Reason.REQUEST_REFUSED),
        (100400, RequestRefused, Reason.REQUEST_REFUSED),
        (104414, RequestRefused, Reason.REQUEST_REFUSED),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_a_code_decides_whatever_the_http_status(code: int, kind: type[Trouble], reason: Reason, status: int) -> None:
    trouble = of_code(code, status=status)
    assert type(trouble) is kind
    assert trouble.reason == reason
    assert str(code) in trouble.detail


@pytest.mark.parametrize("code", [-1, 418, 424242])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Unavailable),
        (500, Unavailable),
        (401, KeyRefused),
        (403, RateLimited),
        (418, RateLimited),
        (429, RateLimited),
    ],
)
def test_a_code_that_nobody_knows_leaves_it_to_a_telling_status(code: int, status: int, kind: type[Trouble]) -> None:
    assert type(of_code(code, status=status)) is kind


@pytest.mark.parametrize("code", [80014, 109400])
@pytest.mark.parametrize("text", ["timestamp is invalid", "Invalid parameters, err:Timestamp: too old"])
def test_a_parameter_error_that_speaks_of_the_timestamp_is_clock_skew(code: int, text: str) -> None:
    assert type(of_code(code, text)) is ClockSkew


DISABLED = (
    "code:100410:The endpoint trigger frequency limit rule is currently in the disabled period and will be "
    "unblocked after {}"
)
REPEATED = (
    "over 20 error code:100202 requests within 480000 ms for this api, please verify and fix it ,"
    "can retry after time: {}"
)


@pytest.mark.parametrize("text", [DISABLED, REPEATED])
@pytest.mark.parametrize("code", [100410, 100409, 109429, 777777])
def test_the_unblock_time_comes_from_the_text(text: str, code: int) -> None:
    trouble = of_code(code, text.format(to_ms(SOON)))
    assert isinstance(trouble, RateLimited)
    assert trouble.until == SOON
    assert not trouble.whole_host


def test_the_unblock_time_is_by_the_servers_clock_and_becomes_ours() -> None:
    trouble = of_code(100410, f"unblocked after {to_ms(SOON)}", offset=7_000)
    assert isinstance(trouble, RateLimited)
    assert trouble.until == SOON - timedelta(seconds=7)


@pytest.mark.parametrize(
    ("milliseconds", "until"),
    [
        (1_000_000_000_000, NOW),
        (to_ms(NOW) - 1, NOW),
        (to_ms(NOW + timedelta(hours=24)), NOW + timedelta(hours=24)),
        (to_ms(NOW + timedelta(hours=24)) + 1, None),
        (9_999_999_999_999, None),
    ],
)
def test_an_implausible_unblock_time_is_not_believed(milliseconds: int, until: datetime | None) -> None:
    trouble = of_code(100410, f"unblocked after {milliseconds}")
    assert isinstance(trouble, RateLimited)
    assert trouble.until == until


@pytest.mark.parametrize(
    "text", ["", "slow down", "after 12345678901234", "after 172719381424", "１７２７１９３８１４２４９"]
)
def test_a_rate_limit_without_a_time_names_none(text: str) -> None:
    trouble = of_code(100410, text)
    assert isinstance(trouble, RateLimited)
    assert trouble.until is None


def test_retry_after_helps_where_the_text_names_no_time() -> None:
    trouble = of_code(109429, "slow down", Retry_After="42")
    assert isinstance(trouble, RateLimited)
    assert trouble.until == SOON


@pytest.mark.parametrize(("status", "whole_host"), [(200, False), (400, False), (418, True), (429, True)])
def test_a_rate_limit_concerns_the_host_where_the_http_status_says_so(status: int, whole_host: bool) -> None:
    trouble = of_code(100410, status=status)
    assert isinstance(trouble, RateLimited)
    assert trouble.whole_host == whole_host


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (201, Unavailable),
        (204, Unavailable),
        (206, Unavailable),
        (301, Unavailable),
        (302, Unavailable),
        (307, Unavailable),
        (308, Unavailable),
        (400, RequestRefused),
        (401, KeyRefused),
        (403, RateLimited),
        (404, RequestRefused),
        (405, RequestRefused),
        (407, Unreachable),
        (408, Unavailable),
        (410, RequestRefused),
        (418, RateLimited),
        (425, Unavailable),
        (429, RateLimited),
        (451, RequestRefused),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (599, Unavailable),
        (999, Unavailable),
    ],
)
def test_an_http_status_decides_where_there_is_no_code(status: int, kind: type[Trouble]) -> None:
    trouble = trouble_of_status(status, "", {}, NOW)
    assert type(trouble) is kind
    assert str(status) in trouble.detail
    if isinstance(trouble, RateLimited):
        assert trouble.whole_host


def test_a_redirect_is_called_one() -> None:
    assert "redirect refused" in trouble_of_status(302, "", {}, NOW).detail


@pytest.mark.parametrize(
    ("value", "until"),
    [
        ("42", SOON),
        (" 42 ", SOON),
        ("0", NOW),
        ("86400", NOW + timedelta(days=1)),
        ("86401", None),
        ("999999999999999999999999", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("４２", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", NOW),
        ("Sun, 22 Nov 2026 15:20:43 GMT", SOON),
        ("Sun, 22 Nov 2026 15:20:43 -0000", SOON),
        ("Sun, 22 Nov 2026 16:20:43 +0100", SOON),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -1200", None),
        ("Sun, 99 Nov 2026 99:99:99 GMT", None),
        (format_datetime(SOON, usegmt=True), SOON),
    ],
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
def test_retry_after_is_read_in_every_form(value: str, until: datetime | None, name: str) -> None:
    trouble = trouble_of_status(429, "", {name: value}, NOW)
    assert isinstance(trouble, RateLimited)
    assert trouble.until == until


def test_a_date_in_retry_after_is_by_the_servers_clock_and_becomes_ours() -> None:
    headers = {"Retry-After": "Sun, 22 Nov 2026 15:20:43 GMT"}
    trouble = trouble_of_status(429, "", headers, NOW, clock_offset_ms=7_000)
    assert isinstance(trouble, RateLimited)
    assert trouble.until == SOON - timedelta(seconds=7)


def test_the_firewall_keeps_a_host_out_for_five_minutes_unless_it_says_otherwise() -> None:
    silent, speaking = trouble_of_status(403, "", {}, NOW), trouble_of_status(403, "", {"Retry-After": "42"}, NOW)
    assert isinstance(silent, RateLimited)
    assert isinstance(speaking, RateLimited)
    assert (silent.until, speaking.until) == (NOW + timedelta(minutes=5), SOON)


@pytest.mark.parametrize("status", [403, 418, 429])
def test_the_unblock_time_may_stand_in_a_plain_text_body(status: int) -> None:
    text = f"code:100410:The endpoint trigger frequency limit rule and will be unblocked after {to_ms(SOON)}"
    trouble = trouble_of_status(status, text, {"Retry-After": "1000"}, NOW, clock_offset_ms=2_000)
    assert isinstance(trouble, RateLimited)
    assert trouble.until == SOON - timedelta(seconds=2)


def test_another_number_in_a_page_is_no_unblock_time() -> None:
    trouble = trouble_of_status(429, f"<html>request {to_ms(SOON)} look after you</html>", {}, NOW)
    assert isinstance(trouble, RateLimited)
    assert trouble.until is None


def test_a_message_is_quoted_clean_and_short() -> None:
    detail = of_code(100500, "evil\r\nlog line\x1b[31m\u202e\x00" + "x" * 1000).detail
    assert detail.isprintable()
    assert "evil log line [31m xxx" in detail
    assert len(detail) < 300


@given(st.text(), st.integers(), st.integers(0, 999), st.text(), st.integers(-(10**12), 10**12))
def test_whatever_comes_is_some_trouble(text: str, code: int, status: int, header: str, offset: int) -> None:
    headers = {"Retry-After": header}
    for trouble in (
        trouble_of_code(code, text, status, headers, NOW, clock_offset_ms=offset),
        trouble_of_status(status, text, headers, NOW, clock_offset_ms=offset),
    ):
        assert isinstance(trouble, Trouble)
        assert trouble.reason in set(Reason)
        assert trouble.detail.isprintable()
        if isinstance(trouble, RateLimited) and trouble.until is not None:
            assert NOW <= trouble.until <= NOW + timedelta(hours=24)


@pytest.mark.parametrize("offset", [10**15, -(10**15), -(10**30)])
def test_an_absurd_clock_offset_does_not_overflow(offset: int) -> None:
    trouble = of_code(100410, "after 1000000000000", offset=offset)
    assert isinstance(trouble, RateLimited)
    assert trouble.until is None
