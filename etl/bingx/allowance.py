"""How many requests BingX says are left to this address in its present window."""

import re
import threading
from collections.abc import Mapping

HEADER = "X-RateLimit-Requests-Remain"


class Allowance:
    """The fewest that answers have named since somebody asked. Safe to use from several threads."""

    def __init__(self) -> None:
        self._fewest: int | None = None
        self._lock = threading.Lock()

    def note(self, headers: Mapping[str, str]) -> None:
        """An answer's headers; what is no number is no news."""
        said = headers.get(HEADER, "").strip()
        if re.fullmatch(r"[0-9]{1,9}", said):
            with self._lock:
                self._fewest = int(said) if self._fewest is None else min(self._fewest, int(said))

    def take(self) -> int | None:
        """The fewest since the last call; None where none was named."""
        with self._lock:
            fewest, self._fewest = self._fewest, None
            return fewest
