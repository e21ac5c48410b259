"""${message}

Revision ${up_revision}, after ${down_revision | comma,n}.

Before this is committed:

- A migration never changes once it is released, so it imports nothing of etl and copies what it needs, views included.
- Every constraint has a name, in op.f("..."): a bare one is put through the naming convention once more.
- Views: drop all of them first and create all of them last, from migrations/views/; SQLite cannot alter a table that a
  view reads. Put the new text into a new file there, and the same into etl/db/views_*.py.
- A table is altered in `with op.batch_alter_table(...)`, with its CHECKs spelled out: SQLite copies it, and loses what is
  not named.
- It runs in one transaction. No PRAGMA, no VACUUM, no CONCURRENTLY.
- Rows are changed by SQL in the database, in statements that touch each row once, and amounts never pass through a float.
- It must not wait long for a lock, nor hold one long: a recorder is running meanwhile. Add a column without a default, fill it,
  then tighten it.
- downgrade() gives back the schema before, and leaves the rows that it had.
- HEAD in etl/db/schema.py is this revision; the tests upgrade a database with data from the revision before.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
