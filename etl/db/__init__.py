"""Everything SQL: the only home of SQLAlchemy. See migrate.py for the only home of alembic."""
