import gzip
import io
import zlib

import pytest

from etl.bingx.body import EVIDENCE, LARGEST, read_body

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


@pytest.mark.parametrize("data", [ZIPPED[:-5], ZIPPED[:20], b"no gzip", b"", TEXT])
def test_a_broken_compression_keeps_what_came(data: bytes) -> None:
    assert read(data, "gzip") == (data, "the answer's compression is broken")


def test_the_largest_body_is_read_and_one_byte_more_is_not() -> None:
    whole = b"x" * LARGEST
    assert read(whole) == (whole, None)
    assert read(gzip.compress(whole), "gzip") == (whole, None)
    for data, encoding in ((whole + b"x", ""), (gzip.compress(whole + b"x"), "gzip")):
        body, flaw = read(data, encoding)
        assert body == b"x" * EVIDENCE
        assert flaw is not None
        assert "larger than" in flaw


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    asked = 0

    def endless(size: int) -> bytes:
        nonlocal asked
        asked += size
        return b"x" * size

    body, flaw = read_body(endless, "gzip")
    assert flaw is not None
    assert len(body) == EVIDENCE
    assert asked <= LARGEST + 128 * 1024
