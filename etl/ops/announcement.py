"""A change as a command of the user's is told of it: for programs, and for scripts."""

from etl.grid import slot_text
from etl.ops.states import Change

# Names in one variable of the environment, which has 128 KiB; all of them are on stdin.
MOST_NAMES = 100


def as_event(change: Change) -> dict[str, object]:
    """What a program reads on stdin."""
    return {
        "state": change.state.value,
        "is": change.word,
        "since": slot_text(change.since),
        "text": _plain(change.text),
        "accounts": [
            {
                "account": account,
                "since": slot_text(holding.since),
                "until": None if change.begins or holding.until is None else slot_text(holding.until),
                "reason": _plain(holding.reason),
            }
            for account, holding in sorted(change.accounts.items())
            if account
        ],
    }


def as_variables(change: Change) -> dict[str, str]:
    """The same for a script. No name begins like a setting: a script may call this program."""
    return {
        "BINGX_STATE": change.state.value,
        "BINGX_STATE_IS": change.word,
        "BINGX_STATE_SINCE": slot_text(change.since),
        "BINGX_STATE_REASON": _plain(", ".join(change.reasons[:MOST_NAMES])),
        "BINGX_STATE_ACCOUNTS": " ".join(change.names[:MOST_NAMES]),
        "BINGX_STATE_COUNT": str(len(change.names)),
        "BINGX_STATE_TEXT": _plain(change.text),
    }


def _plain(text: str) -> str:
    """One line: names of wallets come from outside."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:2000]
