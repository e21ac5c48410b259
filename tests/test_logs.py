"""Log lines, and what is never in one."""

import json
import logging
import sys
import time
from collections.abc import Iterator

import pytest

from etl.logs import Formatter, Redactor, configure, redacted

SECRET = "canary-secret-0123456789"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def event(text: str, *arguments: object, error: Exception | None = None, **fields: object) -> logging.LogRecord:
    """An event as it reaches a formatter."""
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("etl.x", logging.WARNING, "file", 1, text, arguments, info)
    if fields:
        record.fields = fields
    return record


def test_text_has_time_level_event_and_stable_keys() -> None:
    line = Formatter("text", Redactor()).format(event("slot recorded", account="main", stored=True, detail="two words"))
    assert line.startswith("at=20")
    assert line.endswith('Z level=warning event="slot recorded" account=main stored=true detail="two words"')


def test_json_is_one_object_per_line() -> None:
    line = Formatter("json", Redactor()).format(event("first\nsecond", account="main", stored=True))
    assert "\n" not in line
    parsed = json.loads(line)
    assert (parsed["event"], parsed["account"], parsed["stored"], parsed["level"]) == (
        "first\nsecond",
        "main",
        True,
        "warning",
    )


@pytest.mark.parametrize(
    "value", ["", "a=b", 'say "x"', "a\\b", "two\nlines", "é \u2028 \U0001f4a3", "\x1b[31m", None, -1.5]
)
def test_a_value_that_is_more_than_a_word_is_quoted_and_stays_on_its_line(value: object) -> None:
    line = Formatter("text", Redactor()).format(event("x", detail=value))
    key, _, said = line.partition(" detail=")
    assert key.endswith("event=x")
    assert said.isascii()
    assert said.isprintable()
    assert (json.loads(said) if said.startswith('"') else said) == ("" if value is None else str(value))
    assert (said == value) == (value == "a\\b")


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_has_no_keys_of_its_own_is_a_note_of_ours_or_from_a_library(form: str) -> None:
    formatter = Formatter(form, Redactor())
    theirs = event("50%% of %s", "it")
    theirs.name = "urllib3.connectionpool"
    if form == "text":
        assert formatter.format(event("a b")).endswith(' event=note text="a b"')
        assert formatter.format(theirs).endswith(' event=library logger=urllib3.connectionpool text="50% of it"')
    else:
        note, library = (json.loads(formatter.format(each)) for each in (event("a b"), theirs))
        assert (note["event"], note["text"]) == ("note", "a b")
        assert (library["event"], library["logger"]) == ("library", "urllib3.connectionpool")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_on_the_line_of_its_event_and_what_is_hidden_cannot_break_it(form: str) -> None:
    # Quoted, the end of the line before and the secret look like another one.
    secret = "n" + SECRET
    error = ValueError(f"x\n{SECRET} {secret}")
    line = Formatter(form, Redactor([secret])).format(event("x", error=error, detail=f"a\n{SECRET}"))
    assert "\n" not in line
    if form == "json":
        parsed = json.loads(line)
        assert parsed["detail"] == f"a\n{SECRET}"
        assert parsed["traceback"].endswith(f"ValueError: x\n{SECRET} ***")


def test_thousands_of_secrets_cost_a_line_no_more_than_one() -> None:
    def seconds(redact: Redactor) -> float:
        began = time.perf_counter()
        for _ in range(200):
            redact("account-17 2026-11-22T15:20:00Z complete and some text that is as long as that of an event")
        return time.perf_counter() - began

    fleet = [f"{number:05}{SECRET}{number}" for number in range(2000)]
    many, one = Redactor(fleet), Redactor(fleet[:1])
    assert many(f"a {fleet[1234]} b") == "a *** b"
    assert min(seconds(many) for _ in range(5)) < 5 * min(seconds(one) for _ in range(5))


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_in_a_line_wherever_it_came_from(form: str) -> None:
    error = ValueError(f"https://x.example/?signature=deadbeef&key={SECRET}")
    record = event("%s postgresql://user:hunter22@host/db", SECRET, error=error, detail=SECRET)
    line = Formatter(form, Redactor([SECRET])).format(record)
    for hidden in (SECRET, "deadbeef", "hunter22"):
        assert hidden not in line
    assert "ValueError" in line


def test_libraries_are_heard_from_warnings_on_and_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", [SECRET])
    logging.getLogger("urllib3.connectionpool").debug("GET /?signature=deadbeef")
    logging.getLogger("apscheduler").warning("retrying %s", SECRET)
    logging.getLogger("etl.extract.extract").info("ours")
    said = capsys.readouterr()
    assert said.out == ""
    assert "deadbeef" not in said.err
    assert SECRET not in said.err
    assert "retrying ***" in said.err
    assert "ours" in said.err


def test_configuring_twice_says_everything_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    configure("json")
    logging.getLogger("etl").warning("once")
    assert capsys.readouterr().err.count("once") == 1
    assert sys.stderr


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "secret", ['canary"quoted"0123', "canary\\slashed\\0123", "it's'canary'0123", "canary.*0123(4)"]
)
def test_a_secret_that_has_to_be_quoted_is_found_all_the_same(form: str, secret: str) -> None:
    record = event("%s %r", secret, secret, error=KeyError(secret), detail=f"a {secret} b")
    line = Formatter(form, Redactor([secret])).format(record)
    assert "0123" not in line
    assert line.count("***") == 4


def test_of_two_secrets_that_begin_alike_nothing_stays() -> None:
    for secrets in (["abcdefgh", "abcdefghijkl"], ["abcdefghijkl", "abcdefgh"]):
        assert Redactor(secrets)("abcdefghijkl abcdefgh") == "*** ***"


def test_a_very_short_secret_is_hidden_where_it_stands_alone_and_leaves_the_prose() -> None:
    redact = Redactor(["s", "main", "k"])
    assert redact("slot recorded key=k secret='s' remains") == "slot recorded key=*** secret='***' remains"


def test_what_goes_past_the_log_is_redacted_like_it() -> None:
    configure("text", [SECRET])
    assert redacted(f"a {SECRET} b") == "a *** b"
    configure("json")
    assert redacted("?signature=deadbeef") == "?signature=***"
    logging.getLogger().handlers[:] = []
    assert redacted("?signature=deadbeef") == "?signature=***"
