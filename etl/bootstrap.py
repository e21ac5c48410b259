"""The composition root: the only module that knows every real part. Heavy parts are imported where they are needed."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from etl.config.keys import ApiKey, Keys, account_names
from etl.config.settings import PingSettings, Settings, harmless_environment
from etl.errors import EtlError
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import Plan
from etl.load.lineage import Lineage
from etl.load.load import Loader
from etl.model import Environment
from etl.recorder import Recorder
from etl.remembered import Remembered
from etl.spool.retention import Retention
from etl.spool.spool import Spool

if TYPE_CHECKING:
    from etl.bingx.client import Client
    from etl.bingx.post import Post
    from etl.bingx.source import BingXSource
    from etl.db.accounts import Accounts
    from etl.db.copying import Copied, Progress
    from etl.db.equity import Equity
    from etl.db.export import Export
    from etl.db.history import History
    from etl.db.imports import Imports
    from etl.db.voids import Voids
    from etl.load.adopt import Adopter
    from etl.ops.changes import Changes
    from etl.ops.metrics import Told


def build_recorder(settings: Settings, keys: Keys, *, ask_refused: bool = False) -> Recorder:
    """What records a slot of these accounts."""
    remembered = build_remembered(settings)
    client, source = build_source(settings, keys.usable, settings.request_timeout_seconds)
    plan = Plan(
        interval_seconds=settings.interval_seconds,
        retry_for_seconds=settings.retry_for_seconds,
        request_timeout_seconds=settings.request_timeout_seconds,
        limiter=SlidingWindow(*settings.ip_limit, settings.state_dir / "balances.limit"),
        uid_limiter=SlidingWindow(*settings.ip_limit, settings.state_dir / "uid.limit"),
        ask_refused=ask_refused,
        doubt_above=settings.doubt_above,
    )
    return Recorder(
        source,
        remembered,
        build_loader(settings, remembered),
        plan,
        requests_left=client.allowance.take,
    )


def build_source(
    settings: Settings, keys: Mapping[str, ApiKey], request_timeout_seconds: float
) -> "tuple[Client, BingXSource]":
    """What asks BingX for these accounts. Raises SettingsError."""
    from etl.bingx.client import Client, Credential  # noqa: PLC0415 - requests costs a tenth of a second
    from etl.bingx.source import BingXSource, environment_of  # noqa: PLC0415

    client = Client(
        settings.base_url,
        fallback_base_url=settings.fallback_base_url,
        proxy=settings.proxy,
        ca_bundle=settings.ca_bundle,
        request_timeout_seconds=request_timeout_seconds,
        recv_window_ms=settings.recv_window_ms,
    )
    credentials = {name: Credential(key.key, key.secret) for name, key in keys.items()}
    return client, BingXSource(client, credentials, environment_of(settings.base_url))


def build_post(latest: Callable[[], PingSettings]) -> Callable[[str, str, float], str]:
    """What sends a ping; it is made anew when its settings have changed."""
    made: dict[PingSettings, Post] = {}

    def post(url: str, text: str, seconds: float) -> str:
        from etl.bingx.post import Post  # noqa: PLC0415 - requests costs a tenth of a second

        chosen = latest()
        if chosen not in made:
            made.clear()
            made[chosen] = Post(proxy=chosen.proxy, ca_bundle=chosen.ca_bundle)
        return made[chosen](url, text, seconds)

    return post


def build_changes(latest: Callable[[], Settings], patience_seconds: float) -> "Changes":
    """What has a command of the user's told of changes."""
    from etl.ops.changes import Changes, ChangeSettings  # noqa: PLC0415 - for those who are told

    def accounts() -> list[str]:
        try:
            return account_names(latest())
        except EtlError:
            return []

    def chosen() -> ChangeSettings:
        settings = latest()
        return ChangeSettings(
            state_dir=settings.state_dir,
            command=settings.on_change,
            missed_in_a_row=settings.missed_in_a_row,
            spool_older_than=timedelta(seconds=settings.spool_older_than_seconds),
            interval_seconds=settings.interval_seconds,
            accounts=accounts,
        )

    return Changes(chosen, harmless_environment, patience_seconds=patience_seconds)


def build_loader(settings: Settings, remembered: Remembered | None = None) -> Loader:
    """What drains the spool into the history."""
    from etl.bingx.answers import parse_overview  # noqa: PLC0415
    from etl.db.engine import open_engine  # noqa: PLC0415 - SQLAlchemy costs as much
    from etl.db.store import SqlStore  # noqa: PLC0415

    lineage = build_lineage(settings)
    return Loader(
        spool=build_spool(settings),
        store=SqlStore(open_engine(settings.database_url, keep=True), lambda: datetime.now(UTC)),
        parse=parse_overview,
        remembered=remembered or build_remembered(settings),
        prepare=partial(prepare_database, settings),
        retention=Retention(settings.state_dir, settings.keep_stored_seconds, held_at=lineage.anew_since),
        lineage=lineage,
    )


def build_lineage(settings: Settings) -> Lineage:
    """Which history is recorded into."""
    return Lineage(settings.state_dir)


def build_adopter(settings: Settings) -> "Adopter":
    """What lets the history in the database go on, with what is kept of others."""
    from etl.bingx.source import environment_of  # noqa: PLC0415
    from etl.load.adopt import Adopter  # noqa: PLC0415 - for one command

    loader = build_loader(settings)
    return Adopter(loader, build_lineage(settings), environment_of(settings.base_url))


def metrics_told(settings: Settings, keys: Keys, *, stays: bool) -> "Told":
    """What the metrics go by; ``keys`` are those of every account. Only a program that stays can be asked for them."""
    from etl.db.schema import HEAD  # noqa: PLC0415
    from etl.ops.metrics import Told  # noqa: PLC0415

    return Told(
        state_dir=settings.state_dir,
        accounts=tuple(sorted({*keys.usable, *keys.unusable})),
        interval_seconds=settings.interval_seconds,
        ip_limit=settings.ip_limit,
        needed_revision=HEAD,
        listen=settings.metrics_listen if stays else None,
        textfile=settings.metrics_textfile,
    )


def build_spool(settings: Settings) -> Spool:
    """The outcomes on disk."""
    return Spool(settings.state_dir)


def build_remembered(settings: Settings) -> Remembered:
    """What outlives a run."""
    return Remembered(settings.state_dir)


def prepare_database(settings: Settings) -> None:
    """Bring a SQLite database to this program's schema; a PostgreSQL is upgraded by ``db upgrade`` alone."""
    from etl.db.readiness import prepare  # noqa: PLC0415

    prepare(settings.database_url)


def upgrade_database(settings: Settings) -> None:
    """Create the schema, or bring it to head, on either database."""
    if database_file(settings) is not None:
        build_spool(settings).prepare()
    migrations().upgrade(settings.database_url)


def back_up_database(settings: Settings, target: Path, *, overwrite: bool, advance: Callable[[int], None]) -> None:
    """Copy a SQLite database."""
    from etl.db.backup import back_up  # noqa: PLC0415

    back_up(settings.database_url, target, overwrite=overwrite, advance=advance)


def pg_dump_command(settings: Settings, target: Path) -> str:
    """What to type for a backup of a PostgreSQL."""
    from etl.db.backup import pg_dump_command  # noqa: PLC0415

    return pg_dump_command(settings.database_url, target)


def copy_database(settings: Settings, target_url: str, progress: "Progress") -> "Copied":
    """Copy the whole history into another database."""
    from etl.db.copying import copy_history  # noqa: PLC0415

    return copy_history(settings.database_url, target_url, progress)


def database_file(settings: Settings) -> Path | None:
    """The file of a SQLite database; None for PostgreSQL."""
    from etl.db.url import parse  # noqa: PLC0415

    return parse(settings.database_url).path


def build_history(settings: Settings) -> "History":
    """What was recorded, to read."""
    from etl.db.engine import open_engine  # noqa: PLC0415
    from etl.db.history import History  # noqa: PLC0415

    _prepare_to_read(settings)
    return History(open_engine(settings.database_url))


def build_equity(settings: Settings) -> "Equity":
    """The snapshots, to report on."""
    from etl.db.engine import open_engine  # noqa: PLC0415
    from etl.db.equity import Equity  # noqa: PLC0415

    _prepare_to_read(settings)
    return Equity(open_engine(settings.database_url))


def build_accounts(settings: Settings) -> "Accounts":
    """The accounts of the history, to change."""
    from etl.db.accounts import Accounts  # noqa: PLC0415
    from etl.db.engine import open_engine  # noqa: PLC0415

    _prepare_to_read(settings)
    return Accounts(open_engine(settings.database_url))


def build_export(
    settings: Settings, account: str | None, since: datetime | None, until: datetime | None, *, voided: bool
) -> "Export":
    """The balances, to leave."""
    from etl.db.engine import open_engine  # noqa: PLC0415
    from etl.db.export import Export, Wanted  # noqa: PLC0415

    _prepare_to_read(settings)
    return Export(open_engine(settings.database_url, keep=True), Wanted(account, since, until, voided))


def build_imports(settings: Settings) -> "tuple[Imports, Environment]":
    """History of a person's own, to come in, and which BingX an account is of where nobody says it."""
    from etl.bingx.source import environment_of  # noqa: PLC0415
    from etl.db.engine import open_engine  # noqa: PLC0415
    from etl.db.imports import Imports  # noqa: PLC0415

    _prepare_to_read(settings)
    return Imports(open_engine(settings.database_url, keep=True)), environment_of(settings.base_url)


def build_voids(settings: Settings) -> "Voids":
    """The marks of wrong snapshots."""
    from etl.db.engine import open_engine  # noqa: PLC0415
    from etl.db.voids import Voids  # noqa: PLC0415

    _prepare_to_read(settings)
    return Voids(open_engine(settings.database_url))


def _prepare_to_read(settings: Settings) -> None:
    """An empty history of one's own is no error: a reader may come before the first snapshot.

    Nothing is created for one that is there: its disk may be read-only by now.
    """
    from etl.db.readiness import is_ready  # noqa: PLC0415

    if is_ready(settings.database_url):
        return
    build_spool(settings).prepare()
    prepare_database(settings)


def migrations() -> ModuleType:
    """Alembic's work."""
    from etl.db import migrate  # noqa: PLC0415

    return migrate
