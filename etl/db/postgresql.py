"""What PostgreSQL needs: limits on every wait, UTC, and plans without a compiler."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, NullPool, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from etl.db.deadline import SocketDeadline
from etl.db.url import Address
from etl.errors import SettingsError

CONNECT_SECONDS = 10

# The driver reads times and copies bytes in these forms only; a server, database or role may have others by default.
UNDERSTOOD = {"TimeZone": "UTC", "DateStyle": "ISO", "standard_conforming_strings": "on", "bytea_output": "hex"}

# Of a host that is gone without a word the server learns by these, in half a minute instead of the two hours of most
# systems. No other limit ends a session that waits for the rows of a COPY, and its locks keep everybody else out.
FOUND_GONE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "4"}


def postgresql_engine(address: Address, *, deadline_seconds: float | None, settings: Mapping[str, str]) -> Engine:
    """An engine whose connections end after ``deadline_seconds``, whatever the other side does or does not do.

    ``settings`` are set in every transaction rather than on the connection: poolers between here and the server take
    nothing else.
    """
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "bingx-etl",
        "client_encoding": "utf8",
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round((deadline_seconds or 60) * 1000),
        # Connections live for one transaction, so a prepared statement never pays; a pooler would mix them up.
        "prepare_threshold": None,
    }

    def connect(
        dialect: Dialect, entry: ConnectionPoolEntry, args: Sequence[Any], options: dict[str, Any]
    ) -> DBAPIConnection:
        connection = dialect.connect(*args, **(defaults | options))
        if deadline_seconds is not None:
            # Before SQLAlchemy asks its first question: that, too, might get no answer.
            entry.info["deadline"] = SocketDeadline(connection.fileno(), deadline_seconds)
        return connection

    def close(_: object, entry: ConnectionPoolEntry) -> None:
        if (deadline := entry.info.get("deadline")) is not None:
            deadline.cancel()

    def begin(connection: Connection) -> None:
        read_only = {} if connection.get_execution_options()["writing"] else {"transaction_read_only": "on"}
        wanted = {**UNDERSTOOD, "jit": "off", **FOUND_GONE, **settings, **read_only}
        calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in wanted.items())
        connection.execute(text(f"SELECT {calls}"))

    try:
        engine = create_engine(address.url, poolclass=NullPool, hide_parameters=True, use_native_hstore=False)
    except (SQLAlchemyError, ImportError) as error:
        raise SettingsError(f"database_url cannot be used for PostgreSQL ({type(error).__name__})") from None
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "begin", begin)
    event.listen(engine, "close", close)
    return engine
