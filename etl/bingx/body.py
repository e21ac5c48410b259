"""The body of an answer, with a cap on its size before and after decompression."""

import zlib
from collections.abc import Callable

LARGEST = 1024 * 1024
# Of what is too large to be an answer, enough to see what it was.
EVIDENCE = 64 * 1024
CHUNK = 64 * 1024
COMPRESSED = ("gzip", "x-gzip", "deflate")
GZIP_OR_ZLIB = 47  # zlib's number for: tell from the header
GZIP_MAGIC = b"\x1f\x8b"
# What zlib had made of a piece before it found the fault in it is lost, and what comes out of a large one is large.
PIECE = 1

TOO_LARGE = f"the answer is larger than {LARGEST} bytes; only its beginning is kept"
BROKEN = "the answer's compression is broken; only what came out of it is kept"
# Nothing in JSON can look like it, so that a beginning that happens to be a whole answer is never read as one.
MARK = b"\n\0bingx-etl: "


def read_body(read: Callable[[int], bytes], encoding: str) -> tuple[bytes, str | None]:
    """The whole decoded body, and what is wrong with it if something is: then the body is what there is of it.

    ``read`` gives at most so many bytes, none at the end. Nothing compressed is asked for; some servers do it anyway,
    and others say so of what is not.
    """
    chunks, size = list[bytes](), 0
    while size <= LARGEST and (chunk := read(CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
    body, is_whole = b"".join(chunks), True
    if size <= LARGEST and encoding.strip().lower() in COMPRESSED and _looks_compressed(body):
        body, is_whole = _inflated(body)
    if len(body) > LARGEST:
        return body, TOO_LARGE
    return body, None if is_whole else BROKEN


def evidence(body: bytes, flaw: str) -> bytes:
    """What is kept of a body that has a flaw: never to be taken for an answer, be the rest of it as good as one."""
    end = MARK + flaw.encode()
    return body[: EVIDENCE - len(end)] + end


def flaw_of(body: bytes) -> str | None:
    """The flaw for which :func:`evidence` was made of a body."""
    _, mark, words = body.rpartition(MARK)
    return next((flaw for flaw in (TOO_LARGE, BROKEN) if mark and words == flaw.encode()), None)


def _looks_compressed(body: bytes) -> bool:
    # RFC 1950: the method is 8, and both bytes together a multiple of 31. No JSON object begins so.
    return body.startswith(GZIP_MAGIC) or (len(body) > 1 and body[0] & 15 == 8 and not int.from_bytes(body[:2]) % 31)  # noqa: PLR2004


def _inflated(body: bytes) -> tuple[bytes, bool]:
    """What came out, at most a little more than is allowed, and whether that is all and nothing is behind it."""
    inflate, pieces, size = zlib.decompressobj(GZIP_OR_ZLIB), list[bytes](), 0
    view = memoryview(body)
    try:
        for start in range(0, len(body), PIECE):
            pieces.append(inflate.decompress(view[start : start + PIECE]))
            size += len(pieces[-1])
            if size > LARGEST:
                break
    except zlib.error:
        return b"".join(pieces), False
    return b"".join(pieces), size > LARGEST or (inflate.eof and not inflate.unused_data)
