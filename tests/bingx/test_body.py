import gzip
import io
import json
import re
import zlib

import pytest

from etl.bingx.answers import parse_overview
from etl.bingx.body import BROKEN, EVIDENCE, LARGEST, TOO_LARGE, evidence, flaw_of, read_body
from etl.errors import NotUnderstood

TEXT = b'{"code":0}' * 50
# Without the time of day, which would make other tests of these in each worker process.
ZIPPED = gzip.compress(TEXT, mtime=0)


def read(data: bytes, encoding: str = "") -> tuple[bytes, str | None]:
    return read_body(io.BytesIO(data).read, encoding)


@pytest.mark.parametrize("encoding", ["", "identity", "br", "gzip, gzip"])
def test_what_is_not_compressed_in_a_way_we_know_comes_as_it_is(encoding: str) -> None:
    assert read(TEXT, encoding) == (TEXT, None)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(ZIPPED, "gzip"), (ZIPPED, " X-GZIP "), (zlib.compress(TEXT), "deflate")],
)
def test_a_compressed_body_that_nobody_asked_for_is_read(data: bytes, encoding: str) -> None:
    assert read(data, encoding) == (TEXT, None)


@pytest.mark.parametrize("data", [b"no gzip", b"", b"{", TEXT, b"h\x82", b"\x1e\x8b\x08"])
def test_what_is_said_to_be_compressed_and_is_not_comes_as_it_is(data: bytes) -> None:
    assert read(data, "gzip") == (data, None)


def test_of_a_broken_compression_is_kept_what_came_out() -> None:
    for data in (ZIPPED[:-5], ZIPPED[:-8] + b"\0" * 8, ZIPPED + b"more", ZIPPED + ZIPPED):
        assert read(data, "gzip") == (TEXT, BROKEN)
    for cut in range(2, len(ZIPPED) - 8):
        body, flaw = read(ZIPPED[:cut], "gzip")
        assert (TEXT.startswith(body), flaw) == (True, BROKEN)


def test_the_largest_body_is_read_and_one_byte_more_is_not() -> None:
    whole = b"x" * LARGEST
    assert read(whole) == (whole, None)
    assert read(gzip.compress(whole), "gzip") == (whole, None)
    for data, encoding in ((whole + b"x", ""), (gzip.compress(whole + b"x"), "gzip")):
        body, flaw = read(data, encoding)
        assert flaw == TOO_LARGE
        assert LARGEST < len(body) < LARGEST + 128 * 1024
        assert body.startswith(whole)


@pytest.mark.parametrize("flaw", [TOO_LARGE, BROKEN])
def test_what_is_kept_of_a_flawed_body_says_so_and_is_no_answer(flaw: str) -> None:
    kept = evidence(b'{"code":0,"data":[]}' + b" " * LARGEST, flaw)
    assert flaw_of(kept) == flaw
    assert len(kept) == EVIDENCE
    with pytest.raises(NotUnderstood, match=re.escape(flaw)):
        parse_overview(kept)
    assert flaw_of(b'{"code":0,"data":[]}') is None
    assert flaw_of(b'{"code":0,"data":[]}' + flaw.encode()) is None
    with pytest.raises(ValueError, match="Extra data"):
        json.loads(kept)


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    asked = 0

    def endless(size: int) -> bytes:
        nonlocal asked
        asked += size
        return b"x" * size

    _, flaw = read_body(endless, "gzip")
    assert flaw == TOO_LARGE
    assert asked <= LARGEST + 128 * 1024
