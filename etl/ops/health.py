"""Whether the recording goes on: is the last snapshot of every account young enough? Values in, words out."""

from collections.abc import Mapping

from etl.grid import from_ms, slot_text

INTERVALS = 3
"""So many intervals old a last snapshot may be where nobody says otherwise: one missed slot is no alarm yet."""


def is_healthy(taken: Mapping[str, float | None], now: float, max_age: float) -> bool:
    """Whether there are accounts, and the last snapshot of each is younger. All in seconds, instants since 1970."""
    return bool(taken) and all(at is not None and now - at < max_age for at in taken.values())


def as_text(taken: Mapping[str, float | None], now: float, max_age: float) -> str:
    """One line for each account that is not well; nothing where all are."""
    if not taken:
        return "no account: neither the settings nor the history know one\n"
    lines = []
    for name, at in taken.items():
        if at is None:
            lines.append(f"{name}: it has no snapshot yet\n")
        elif now - at >= max_age:
            lines.append(
                f"{name}: its last snapshot, of {slot_text(from_ms(int(at * 1000)))}, is {_ages(now - at, max_age)}\n"
            )
    return "".join(lines)


def as_json(taken: Mapping[str, float | None], now: float, max_age: float) -> str:
    """One object on one line, with every account."""
    import json  # noqa: PLC0415 - for this alone, and every import counts here

    accounts = [
        {
            "account": name,
            "taken_at": None if at is None else slot_text(from_ms(int(at * 1000))),
            "age_seconds": None if at is None else int(now - at),
            "healthy": at is not None and now - at < max_age,
        }
        for name, at in taken.items()
    ]
    whole = {"healthy": is_healthy(taken, now, max_age), "max_age_seconds": max_age, "accounts": accounts}
    return json.dumps(whole) + "\n"


def _ages(age: float, most: float) -> str:
    return f"{int(age)} s old, and must be younger than {most:g} s"
