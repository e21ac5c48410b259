"""Readings that look right and may not be: what in an answer is doubted. Pure decisions: no clock, no file.

A wallet that drops to zero, vanishes or comes without an amount is money that moved, or a glitch of the exchange; only
the exchange can say which, so it is asked again. Nothing is ever repaired here.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from etl.errors import NotUnderstood
from etl.model import Answer

log = logging.getLogger(__name__)
CONFIRMED = "confirmed"
NOT_READ_AGAIN = "not read again"

# The pause before each further reading, so that a glitch can pass: there are at most so many.
PAUSES_SECONDS = (1.0, 2.0)
DEFAULT_ABOVE = Decimal(1)


@dataclass(frozen=True, slots=True)
class WalletMemory:
    """What the last settled reading said of an account's wallets, as far as the next one is compared with it.

    ``held``: whose last amount was above the threshold. ``lacking``: which were missing although they had held
    something, or had no amount; that is known, and not doubted once more in every slot.
    """

    held: frozenset[str] = frozenset()
    lacking: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Look:
    """What is doubted in an answer, and what is to be remembered once it is settled."""

    doubts: tuple[str, ...]
    wallets: WalletMemory


def look(answer: Answer, before: WalletMemory, above: Decimal) -> Look:
    """Compare an answer with what is remembered. Only a wallet that held more than ``above`` is missed.

    A wallet without an amount is doubted whatever it held before, since nothing says that it held nothing.
    """
    amounts = {balance.account_type: balance.amount for balance in answer.balances}
    nameless = {name for name, amount in amounts.items() if amount is None}
    gone = before.held - amounts.keys()
    emptied = {name for name, amount in amounts.items() if amount == 0} & before.held
    doubts = (
        *(f"{name} at 0" for name in sorted(emptied)),
        *(f"{name} missing" for name in sorted(gone - before.lacking)),
        *(f"{name} without an amount" for name in sorted(nameless - before.lacking)),
    )
    # copy_abs and not abs, which rounds.
    held = {name for name, amount in amounts.items() if amount is not None and amount.copy_abs() > above}
    # Of a wallet without an amount nothing is known, so also not that it is empty.
    return Look(doubts, WalletMemory(frozenset(held | gone | nameless & before.held), frozenset(nameless | gone)))


def note(readings: Sequence[Sequence[str]]) -> str | None:
    """What was doubted in the readings of one slot, in the order they came, and what the last one says of it."""
    last, earlier = readings[-1], {doubt for doubts in readings[:-1] for doubt in doubts}
    said = [f"{doubt} ({_verdict(doubt, last, earlier)})" for doubt in dict.fromkeys(d for r in readings for d in r)]
    return f"doubted: {', '.join(said)}" if said else None


def is_resolved(said: str) -> bool:
    """Whether the last reading has nothing any more of what a :func:`note` says was doubted."""
    return not any(f"({verdict})" in said for verdict in (CONFIRMED, NOT_READ_AGAIN))


def _verdict(doubt: str, last: Sequence[str], earlier: set[str]) -> str:
    if doubt not in last:
        return "not so when read again"
    return CONFIRMED if doubt in earlier else NOT_READ_AGAIN


@dataclass(frozen=True, slots=True)
class Doubter:
    """Looks at bodies. ``parse`` understands them, and raises NotUnderstood."""

    parse: Callable[[bytes], Answer]
    above: Decimal = DEFAULT_ABOVE

    def look(self, body: bytes, before: WalletMemory) -> Look | None:
        """What is doubted in a body; None where it cannot be understood, which is not for here to judge.

        Never raises: it comes before the reading is written down, and must not cost it.
        """
        try:
            return look(self.parse(body), before, self.above)
        except NotUnderstood:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, load will meet it again with the body in the spool
            log.error("a defect: an answer could not be looked at: %s", type(error).__name__)
            return None


def parse_threshold(text: str) -> Decimal:
    """An amount of USDT, zero or more; raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", text):
        raise ValueError("write an amount of USDT, such as 1 or 0.5")
    return Decimal(text)
