"""The tables, as the contract lists them. Every constraint has a name, for SQLite can only alter what it can name.

``failure.reason`` has no CHECK: its vocabulary grows with the program, and must not need a migration to do so.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    column,
    table,
)

from etl.db.types import Amount, Instant, Slot, Words
from etl.model import Environment, Provenance, Status

HEAD = "0002"
"""The revision that this program reads and writes. Revisions are numbers of four digits: an older one is smaller."""


class AnnotationKind(StrEnum):
    """What a person may say of a snapshot. Voided is one whose last ``void`` or ``unvoid`` is a ``void``."""

    VOID = "void"
    UNVOID = "unvoid"
    NOTE = "note"


def _one_of(name: str, words: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{name} IN ({listed})", name=name)


# SQLite makes a row's own number of it only where the type is spelled INTEGER.
_BIG_ID = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

account = Table(
    "account",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("name", Words, nullable=False),
    Column("uid", Words),
    Column("environment", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("retired_at", Instant),
    UniqueConstraint("name"),
    UniqueConstraint("uid"),
    CheckConstraint("name <> ''", name="name"),
    CheckConstraint("uid <> ''", name="uid"),
    _one_of("environment", Environment),
)

schedule = Table(
    "schedule",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("account_id", Integer, ForeignKey("account.id", ondelete="RESTRICT"), nullable=False),
    Column("interval_seconds", Integer, nullable=False),
    Column("valid_from", Slot, nullable=False),
    Column("valid_to", Slot),
    UniqueConstraint("account_id", "valid_from"),
    CheckConstraint("interval_seconds > 0 AND 86400 % interval_seconds = 0", name="interval_seconds"),
    CheckConstraint("valid_to > valid_from", name="valid_to"),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("id", _BIG_ID, Identity(), primary_key=True),
    Column("account_id", Integer, ForeignKey("account.id", ondelete="RESTRICT"), nullable=False),
    Column("slot_at", Slot, nullable=False),
    Column("taken_at", Instant, nullable=False),
    Column("requested_at", Instant),
    Column("latency_ms", Integer),
    Column("recorded_at", Instant, nullable=False),
    Column("status", Words, nullable=False),
    Column("reason", Words),
    Column("provenance", Words, nullable=False),
    Column("total_usdt", Amount),
    Column("attempts", Integer, nullable=False),
    UniqueConstraint("account_id", "slot_at"),
    _one_of("status", Status),
    _one_of("provenance", Provenance),
    # An imported total without its wallets is complete too: it has no balance rows.
    CheckConstraint("(status = 'partial') = (total_usdt IS NULL)", name="total_usdt"),
    CheckConstraint(
        "provenance = 'imported' OR (requested_at IS NOT NULL AND latency_ms IS NOT NULL)", name="requested_at"
    ),
    CheckConstraint("latency_ms >= 0", name="latency_ms"),
    CheckConstraint("attempts >= 0", name="attempts"),
)

balance = Table(
    "balance",
    metadata,
    Column("snapshot_id", _BIG_ID, ForeignKey("snapshot.id", ondelete="CASCADE"), primary_key=True),
    Column("account_type", Words, primary_key=True),
    Column("usdt_balance", Amount),
    Column("raw_type", Words),
    CheckConstraint("raw_type <> account_type", name="raw_type"),
    sqlite_with_rowid=False,
)

failure = Table(
    "failure",
    metadata,
    Column("account_id", Integer, ForeignKey("account.id", ondelete="RESTRICT"), primary_key=True),
    Column("slot_at", Slot, primary_key=True),
    Column("reason", Words, nullable=False),
    Column("detail", Words, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    CheckConstraint("reason <> ''", name="reason"),
    CheckConstraint("attempts >= 0", name="attempts"),
    sqlite_with_rowid=False,
)

payload = Table(
    "payload",
    metadata,
    Column("snapshot_id", _BIG_ID, ForeignKey("snapshot.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("encoding", Words, nullable=False),
    Column("body", LargeBinary, nullable=False),
    CheckConstraint("seq >= 1", name="seq"),
    sqlite_with_rowid=False,
)

annotation = Table(
    "annotation",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("snapshot_id", _BIG_ID, ForeignKey("snapshot.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Words, nullable=False),
    Column("text", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "snapshot_id"),
    _one_of("kind", AnnotationKind),
)

alembic_version = table("alembic_version", column("version_num", Words))
