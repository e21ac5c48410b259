"""The first schema.

Revision 0001, after nothing.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

VIEWS = ("balance_history", "latest_balance", "equity", "daily_equity", "slot_gap")


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    # Times and exact amounts are text where there is no type for them.
    time = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    amount = sa.Text() if sqlite else sa.Numeric()
    big = sa.Integer() if sqlite else sa.BigInteger()

    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=True),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("retired_at", time, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
        sa.UniqueConstraint("uid", name=op.f("uq_account_uid")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_account_name")),
        sa.CheckConstraint("uid <> ''", name=op.f("ck_account_uid")),
        sa.CheckConstraint("environment IN ('live', 'vst', 'sandbox')", name=op.f("ck_account_environment")),
    )
    op.create_table(
        "schedule",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("valid_from", time, nullable=False),
        sa.Column("valid_to", time, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
        sa.UniqueConstraint("account_id", "valid_from", name=op.f("uq_schedule_account_id_valid_from")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_schedule_account_id"), ondelete="RESTRICT"
        ),
        sa.CheckConstraint(
            "interval_seconds > 0 AND 86400 % interval_seconds = 0", name=op.f("ck_schedule_interval_seconds")
        ),
        sa.CheckConstraint("valid_to > valid_from", name=op.f("ck_schedule_valid_to")),
    )
    op.create_table(
        "snapshot",
        sa.Column("id", big, sa.Identity(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("slot_at", time, nullable=False),
        sa.Column("taken_at", time, nullable=False),
        sa.Column("requested_at", time, nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("recorded_at", time, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("provenance", sa.Text(), nullable=False),
        sa.Column("total_usdt", amount, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("account_id", "slot_at", name=op.f("uq_snapshot_account_id_slot_at")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_snapshot_account_id"), ondelete="RESTRICT"
        ),
        sa.CheckConstraint("status IN ('complete', 'partial')", name=op.f("ck_snapshot_status")),
        sa.CheckConstraint("provenance IN ('measured', 'imported')", name=op.f("ck_snapshot_provenance")),
        sa.CheckConstraint("(status = 'partial') = (total_usdt IS NULL)", name=op.f("ck_snapshot_total_usdt")),
        sa.CheckConstraint(
            "provenance = 'imported' OR (requested_at IS NOT NULL AND latency_ms IS NOT NULL)",
            name=op.f("ck_snapshot_requested_at"),
        ),
        sa.CheckConstraint("latency_ms >= 0", name=op.f("ck_snapshot_latency_ms")),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_snapshot_attempts")),
    )
    op.create_table(
        "balance",
        sa.Column("snapshot_id", big, nullable=False),
        sa.Column("account_type", sa.Text(), nullable=False),
        sa.Column("usdt_balance", amount, nullable=True),
        sa.Column("raw_type", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("snapshot_id", "account_type", name=op.f("pk_balance")),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshot.id"], name=op.f("fk_balance_snapshot_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("raw_type <> account_type", name=op.f("ck_balance_raw_type")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "failure",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("slot_at", time, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", time, nullable=False),
        sa.Column("last_at", time, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "slot_at", name=op.f("pk_failure")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_failure_account_id"), ondelete="RESTRICT"
        ),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_failure_reason")),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_failure_attempts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "payload",
        sa.Column("snapshot_id", big, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", "seq", name=op.f("pk_payload")),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshot.id"], name=op.f("fk_payload_snapshot_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("seq >= 1", name=op.f("ck_payload_seq")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "annotation",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("snapshot_id", big, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotation")),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshot.id"], name=op.f("fk_annotation_snapshot_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("kind IN ('void', 'unvoid', 'note')", name=op.f("ck_annotation_kind")),
    )
    op.create_index("ix_annotation_snapshot_id", "annotation", ["snapshot_id"])
    for name in VIEWS:
        op.execute(f"CREATE VIEW {name} AS {_view(name)}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    op.drop_index("ix_annotation_snapshot_id", "annotation")
    for name in ("annotation", "payload", "failure", "balance", "snapshot", "schedule", "account"):
        op.drop_table(name)


def _view(name: str) -> str:
    """Its SQL, from the files of this revision."""
    home = Path(__file__).parents[1] / "views" / revision / op.get_context().dialect.name
    return (home / f"{name}.sql").read_text(encoding="utf-8").strip()
