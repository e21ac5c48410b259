"""What an account holds at an instant: a pure function of seed, account and time, so asking changes nothing.

The quirks are those of live answers: the spelling ``sopt``, another scale in each row, 20 decimals with binary noise,
wallets never used at ``0`` or ``0.00000000``, and a ``c2c`` that is sometimes not there while it is zero.
"""

from collections.abc import Callable
from hashlib import blake2b
from math import sqrt
from struct import unpack

Wallets = tuple[tuple[str, str], ...]
"""Account type and amount as they go over the wire, in order."""

ACCOUNT_TYPES = ("sopt", "stdFutures", "coinMPerp", "USDTMPerp", "copyTrading", "grid", "eran", "c2c")
SHARES = (0.35, 0.0, 0.08, 0.30, 0.07, 0.12, 0.08, 0.0)
SIZES = (250.0, 1_000.0, 5_000.0, 20_000.0, 100_000.0)
SOMETIMES_UNUSED = (2, 4, 5)
EIGHT_HOURS_MS = 8 * 3_600_000
YEAR_MS = 365 * 86_400_000
PERIODS_MS = tuple(4_000 * 8**octave for octave in range(8))  # 4 s to 97 days
# Noise whose octaves grow with the square root of their period wanders like a price: 0.2 % in 5 minutes, 60 % a year.
SWINGS = tuple(0.6 * sqrt(period / YEAR_MS) for period in PERIODS_MS)


def wallets_at(seed: int, index: int, at_ms: int) -> Wallets:
    """The rows of an account's overview at a Unix time in milliseconds."""
    draws = _draws(f"{seed}/{index}/size")
    size = SIZES[draws[0] % len(SIZES)] * (1 + draws[1] / 2**32)
    unused = SOMETIMES_UNUSED[draws[2] % len(SOMETIMES_UNUSED)]
    factors = _factors(seed, index, at_ms)
    rows = [
        (name, "0" if number == unused else write(size * SHARES[number] * factors[number]))
        for number, (name, write) in enumerate(zip(ACCOUNT_TYPES, WRITTEN, strict=True))
    ]
    if _draws(f"{seed}/{index}/c2c/{at_ms // EIGHT_HOURS_MS}")[0] % 4 == 0:
        rows.pop()
    return tuple(rows)


def _factors(seed: int, index: int, at_ms: int) -> list[float]:
    factors = [1.0] * 8
    for octave, (period, swing) in enumerate(zip(PERIODS_MS, SWINGS, strict=True)):
        cell, passed = divmod(at_ms, period)
        before, after = _draws(f"{seed}/{index}/{octave}/{cell}"), _draws(f"{seed}/{index}/{octave}/{cell + 1}")
        share = passed / period
        for number in range(8):
            level = before[number] + (after[number] - before[number]) * share
            factors[number] += swing * (level / 2**31 - 1)
    return factors


def _draws(text: str) -> tuple[int, ...]:
    return unpack("<8I", blake2b(text.encode(), digest_size=32, person=b"bingx-sandbox").digest())


def _cents(amount: float) -> str:
    return f"{amount:.2f}"


def _four(amount: float) -> str:
    return f"{amount:.4f}"


def _eight(amount: float) -> str:
    return f"{amount:.8f}"


def _noisy(amount: float) -> str:
    return f"{round(amount, 6):.18f}00"


def _zero(_amount: float) -> str:
    return "0"


WRITTEN: tuple[Callable[[float], str], ...] = (_cents, _eight, _noisy, _four, _eight, _noisy, _eight, _zero)
