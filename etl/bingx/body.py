"""The body of an answer, with a cap on its size before and after decompression."""

import zlib
from collections.abc import Callable

LARGEST = 1024 * 1024
# Of what is too large to be an answer, enough to see what it was.
EVIDENCE = 64 * 1024
CHUNK = 64 * 1024
COMPRESSED = ("gzip", "x-gzip", "deflate")
GZIP_OR_ZLIB = 47  # zlib's number for: tell from the header


def read_body(read: Callable[[int], bytes], encoding: str) -> tuple[bytes, str | None]:
    """The whole decoded body, and what is wrong with it if something is: then the body is what can be kept of it.

    ``read`` gives at most so many bytes, none at the end. Nothing compressed is asked for; some servers do it anyway.
    """
    chunks, size = list[bytes](), 0
    while size <= LARGEST and (chunk := read(CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
    body = b"".join(chunks)
    if size <= LARGEST and encoding.strip().lower() in COMPRESSED:
        inflate = zlib.decompressobj(GZIP_OR_ZLIB)
        try:
            decoded = inflate.decompress(body, LARGEST + 1)
        except zlib.error:
            return body, "the answer's compression is broken"
        if len(decoded) <= LARGEST and not inflate.eof:
            return body, "the answer's compression is broken"
        body = decoded
    if len(body) > LARGEST:
        return body[:EVIDENCE], f"the answer is larger than {LARGEST} bytes; only its beginning is kept"
    return body, None
