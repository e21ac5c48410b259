"""Coverage counts the expected slots alone: a snapshot that nobody expected stands for none that is missing.

Revision 0002, after 0001.
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace(revision)


def downgrade() -> None:
    _replace(down_revision)


def _replace(by: str) -> None:
    """Put the view as it was in that revision in its place. On PostgreSQL it stays the same one, with its grants."""
    dialect = op.get_context().dialect.name
    sql = (Path(__file__).parents[1] / "views" / by / dialect / "daily_equity.sql").read_text(encoding="utf-8").strip()
    if dialect == "sqlite":
        op.execute("DROP VIEW daily_equity")
        op.execute(f"CREATE VIEW daily_equity AS {sql}")
    else:
        op.execute(f"CREATE OR REPLACE VIEW daily_equity AS {sql}")
