"""A body as it is kept: compressed against the text that nearly every body consists of.

The encoding ``zlib-v1`` *is* the dictionary below and the parameters beside it. They are frozen for ever under that
name, for nothing in the stored bytes but a checksum would tell that they changed: a better dictionary gets a new name.
A body of 534 bytes with eight wallets comes to about 100, where zlib alone needs 230.
"""

import zlib
from typing import Final

from etl.errors import NotUnderstood

ZLIB_V1: Final = "zlib-v1"

_TYPES_V1 = (
    b"fund",
    b"spot",
    b"sopt",
    b"stdFutures",
    b"coinMPerp",
    b"USDTMPerp",
    b"copyTrading",
    b"grid",
    b"eran",
    b"c2c",
)
_DICTIONARY_V1 = (
    b'{"code":0,"msg":"","timestamp":17,"data":{"result":[],"pageId":1,"total":1}}'
    b'{"code":0,"timestamp":17,"data":['
    + b",".join(b'{"accountType":"%s","usdtBalance":"0.00000000"}' % name for name in _TYPES_V1)
    + b"]}"
)
# A window of 4 kB holds the dictionary and several bodies; a wider one only costs time to set up.
_WINDOW_V1 = 12
_PRIMED_V1 = zlib.compressobj(9, zlib.DEFLATED, _WINDOW_V1, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY_V1)


def encode(body: bytes) -> tuple[str, bytes]:
    """The name of the encoding, and the bytes to store."""
    compressor = _PRIMED_V1.copy()
    return ZLIB_V1, compressor.compress(body) + compressor.flush()


def decode(encoding: str, stored: bytes) -> bytes:
    """The body as it came. NotUnderstood for another encoding, and for bytes that are damaged."""
    if encoding != ZLIB_V1:
        raise NotUnderstood(
            f"a stored body is encoded as {encoding!r}, which this version cannot read: upgrade bingx-etl"
        )
    try:
        decompressor = zlib.decompressobj(_WINDOW_V1, zdict=_DICTIONARY_V1)
        body = decompressor.decompress(stored)
    except zlib.error:
        raise NotUnderstood("a stored body is damaged") from None
    if not decompressor.eof or decompressor.unused_data:
        raise NotUnderstood("a stored body is damaged")
    return body
