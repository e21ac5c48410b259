"""What a check comes to: a verdict, what was found, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

# So many accounts are named on a line; of a fleet, the others are counted.
MOST_NAMES = 5


class Verdict(StrEnum):
    """``problem``: a person has to act. ``unknown``: it could not be found out. ``skipped``: nothing to do."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. ``accounts`` are those it is about, none where it is about the whole. Holds no secret and no UID."""

    check: str
    verdict: Verdict
    says: str
    remedy: str | None = None
    accounts: tuple[str, ...] = ()

    def line(self) -> str:
        """For people."""
        who = ", ".join(self.accounts[:MOST_NAMES])
        if len(self.accounts) > MOST_NAMES:
            who += f" and {len(self.accounts) - MOST_NAMES} more accounts"
        about = f"{who}: " if who else ""
        return f"{self.verdict:8} {self.check:12} {about}{self.says}" + (f": {self.remedy}" if self.remedy else "")


def together(findings: Iterable[Finding]) -> list[Finding]:
    """The same with one finding for all accounts of which the same is found."""
    found: dict[tuple[str, Verdict, str, str | None], list[str]] = {}
    for each in findings:
        found.setdefault((each.check, each.verdict, each.says, each.remedy), []).extend(each.accounts)
    return [
        replace(Finding(check, verdict, says, remedy), accounts=tuple(accounts))
        for (check, verdict, says, remedy), accounts in found.items()
    ]


def overall(findings: Sequence[Finding]) -> Verdict:
    """The verdict on the whole: a problem, else a warning, else what is unknown, else ok."""
    there = {each.verdict for each in findings}
    return next((each for each in (Verdict.PROBLEM, Verdict.WARNING, Verdict.UNKNOWN) if each in there), Verdict.OK)
