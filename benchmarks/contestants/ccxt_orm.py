"""The script people write today: ccxt asks, SQLAlchemy's ORM stores, one flat table. ccxt_orm.py DATABASE

ccxt knows the endpoint, but only as an implicit method: its unified fetch_balance asks one wallet at a time.
"""

import os
import sys
from datetime import datetime, timezone

import ccxt
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Balance(Base):
    __tablename__ = "balances"

    id: Mapped[int] = mapped_column(primary_key=True)
    captured_at: Mapped[datetime] = mapped_column(index=True)
    account: Mapped[str]
    account_type: Mapped[str]
    balance: Mapped[str]


exchange = ccxt.bingx({"apiKey": os.environ["API_KEY"], "secret": os.environ["API_SECRET"], "enableRateLimit": False})
exchange.urls["api"]["account"] = os.environ["BASE_URL"] + "/openApi"
engine = create_engine("sqlite:///" + sys.argv[1])
Base.metadata.create_all(engine)
answer = exchange.account_v1_private_get_allaccountbalance()
captured_at = datetime.fromtimestamp(int(answer["timestamp"]) / 1000, timezone.utc)
with Session(engine) as session:
    for row in answer["data"]:
        session.add(
            Balance(
                captured_at=captured_at, account="main", account_type=row["accountType"], balance=row["usdtBalance"]
            )
        )
    session.commit()
