"""The history in the database is to go on, with all that is still kept of what was stored in others.

Of histories before it, or of one that was recorded into while it was away. Nothing of this happens by itself: whether a
new history is meant to go on is a person's to say.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from etl.files import alone
from etl.load.batch import Loaded
from etl.load.lineage import Lineage
from etl.load.load import Loader
from etl.load.refill import kept_entries
from etl.model import Environment
from etl.spool.spool import Entry


@dataclass(slots=True)
class Adopted:
    """What became of the kept outcomes: so many are in the history, from slot ``first`` to ``until``.

    ``left_out`` says of how many why they are not. ``begun_at`` is when the history was begun; None: it is empty.
    """

    begun_at: datetime | None = None
    outcomes: int = 0
    first: datetime | None = None
    until: datetime | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def note(self, loaded: Loaded) -> None:
        """One more."""
        if loaded.waits:
            self.left_out[f"{loaded.entry.outcome.account}: {loaded.waits}"] += 1
            return
        slot_at = loaded.entry.outcome.slot_at
        self.outcomes += 1
        self.first, self.until = min(self.first or slot_at, slot_at), max(self.until or slot_at, slot_at)


@dataclass(frozen=True, slots=True)
class Adopter:
    """The parts. Real and play money do not meet: what is kept of another ``environment`` is left out."""

    loader: Loader
    lineage: Lineage
    environment: Environment

    def adopt(self, progress: Callable[[int], None] = lambda _: None) -> Adopted:
        """Put it in, and remember that this history is the one. May be done again; raises TryAgain and DiskError."""
        adopted = Adopted()

        def report(loaded: Loaded) -> None:
            adopted.note(loaded)
            progress(1)

        loader = replace(self.loader, lineage=None)
        loader.check()
        loader.refill()  # first what it has lost of its own
        replace(loader, leaves_out=True).put_in(self._of_others(adopted), report)
        with alone(loader.spool.directory):
            adopted.begun_at = self._begun_at()
            self.lineage.accept(adopted.begun_at)
        return adopted

    def _of_others(self, adopted: Adopted) -> Iterator[Entry]:
        if self.loader.retention is None:
            return
        for entry in kept_entries(self.loader.store, self.loader.retention, self._begun_at(), others=True):
            if entry.outcome.environment == self.environment:
                yield entry
            else:
                adopted.left_out[f"{entry.outcome.account}: it is from {entry.outcome.environment}"] += 1

    def _begun_at(self) -> datetime | None:
        with self.loader.store.transaction() as transaction:
            return transaction.begun_at()[0]
