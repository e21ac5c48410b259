"""A person's mark that a snapshot is wrong. It is an addition: the snapshot and every mark before it stay."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, insert, select

from etl.db.engine import Database
from etl.db.reading import accounts_named
from etl.db.revision import check_revision
from etl.db.schema import AnnotationKind, account, annotation, snapshot
from etl.errors import SettingsError
from etl.grid import slot_text
from etl.model import Provenance


@dataclass(frozen=True, slots=True)
class Marked:
    """The snapshot that was marked. ``total`` is exact, in USDT, None where it is partial."""

    snapshot_id: int
    account: str
    slot_at: datetime
    provenance: Provenance
    total: Decimal | None


class Voids:
    """Marks of snapshots. SettingsError, and nothing written, where there is no such snapshot or nothing to change."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def void(self, snapshot_id: int, reason: str) -> Marked:
        """Mark a snapshot as wrong: views and reports leave it out."""
        with self._locked(snapshot_id) as (connection, marked, void):
            if void is not None:
                raise SettingsError(
                    f"snapshot {snapshot_id} of {marked.account} is void already, since {slot_text(void.created_at)}:"
                    f" {void.text}"
                )
            self._annotate(connection, snapshot_id, AnnotationKind.VOID, reason)
        return marked

    def unvoid(self, snapshot_id: int, reason: str) -> Marked:
        """Take the mark back: the snapshot counts again."""
        with self._locked(snapshot_id) as (connection, marked, void):
            if void is None:
                raise SettingsError(f"snapshot {snapshot_id} of {marked.account} is not void: there is nothing to undo")
            self._annotate(connection, snapshot_id, AnnotationKind.UNVOID, reason)
        return marked

    def _annotate(self, connection: Connection, snapshot_id: int, kind: AnnotationKind, text: str) -> None:
        row = {"snapshot_id": snapshot_id, "kind": kind, "text": text, "created_at": self._now()}
        connection.execute(insert(annotation).values(row))

    @contextmanager
    def _locked(self, snapshot_id: int) -> Iterator[tuple[Connection, Marked, Any]]:
        """The snapshot, and the row of the void that is in force, if one is."""
        with self._database.write() as connection:
            check_revision(connection, self._database.address.name)
            # By its account, as everybody who writes: a measured snapshot may be replacing this one at the moment.
            name = connection.scalar(_of_snapshot(snapshot_id).with_only_columns(account.c.name))
            if name is not None:
                accounts_named(connection, [name], lock=True)
            row = connection.execute(_of_snapshot(snapshot_id)).one_or_none()
            if row is None:
                raise SettingsError(
                    f"the history has no snapshot {snapshot_id}: ids are the column snapshot_id of the view equity"
                )
            said = (
                select(annotation.c.kind, annotation.c.text, annotation.c.created_at)
                .where(annotation.c.snapshot_id == snapshot_id, annotation.c.kind != AnnotationKind.NOTE)
                .order_by(annotation.c.id.desc())
                .limit(1)
            )
            last = connection.execute(said).one_or_none()
            marked = Marked(snapshot_id, row.name, row.slot_at, Provenance(row.provenance), row.total_usdt)
            yield connection, marked, last if last is not None and last.kind == AnnotationKind.VOID else None


def _of_snapshot(snapshot_id: int) -> Select[Any]:
    columns = select(account.c.name, snapshot.c.slot_at, snapshot.c.provenance, snapshot.c.total_usdt)
    return columns.join_from(snapshot, account).where(snapshot.c.id == snapshot_id)
