"""The composition root of ``doctor``: as :mod:`etl.bootstrap`, with parts that nothing else needs."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from etl.bootstrap import build_lineage, build_remembered, build_source
from etl.config.keys import Keys, key_places, read_every_key
from etl.config.settings import Settings
from etl.db.engine import open_engine
from etl.db.examination import Examination
from etl.db.url import parse
from etl.errors import EtlError, RateLimited, SettingsError, Trouble
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import still_blocked
from etl.grid import instant_text
from etl.model import Reason
from etl.ops import local_checks
from etl.ops.crontab import check_crontab, read_crontab
from etl.ops.doctor import Doctor, Exchange
from etl.ops.finding import Finding
from etl.ops.settings_checks import check_places, check_settings
from etl.remembered import Block, Remembered

# However patient recording is: whoever asks a doctor waits for the answer.
REQUEST_SECONDS = 6.0
DATABASE_SECONDS = 8.0


def build_doctor(settings: Settings, keys: Keys | SettingsError) -> Doctor:
    """The checks of one installation. Raises nothing: what is wrong is what they find."""
    return Doctor(
        local=_local_checks(settings, {} if isinstance(keys, SettingsError) else dict(keys.unusable)),
        keys=keys,
        exchange=_exchange(settings, keys),
        database=lambda: _examination(settings),
        interval_seconds=settings.interval_seconds,
        history=build_lineage(settings).known,
    )


def keys_of(settings: Settings) -> Keys | SettingsError:
    """The keys, also where none can be used, or why nothing is known of them."""
    try:
        return read_every_key(settings)
    except SettingsError as error:
        return error


def _local_checks(settings: Settings, unusable: dict[str, SettingsError]) -> dict[str, Callable[[], Iterable[Finding]]]:
    state = settings.state_dir

    def places() -> dict[str, Path]:
        file = _database_file(settings)
        return {"state_dir": state} | ({} if file is None else {"the database": file})

    def private() -> list[Path]:
        return [state, *(path for path in (_database_file(settings), settings.config_file) if path is not None)]

    return {
        "settings": partial(check_settings, settings),
        "keys": lambda: check_places(_places(settings), unusable),
        "state": partial(local_checks.check_state, state),
        "modes": lambda: local_checks.check_modes(private()),
        "filesystem": lambda: local_checks.check_file_system(places()),
        "space": lambda: local_checks.check_space(places()),
        "spool": partial(local_checks.check_spool, state, settings.interval_seconds),
        "quarantine": partial(local_checks.check_quarantine, state),
        "crontab": lambda: check_crontab(read_crontab(), settings.interval_seconds, _utc_offset()),
    }


def _utc_offset() -> timedelta:
    return datetime.now().astimezone().utcoffset() or timedelta(0)


def _places(settings: Settings) -> dict[str, dict[str, list[str]]] | SettingsError:
    try:
        return key_places(settings)
    except SettingsError as error:
        return error


def _database_file(settings: Settings) -> Path | None:
    try:
        return parse(settings.database_url).path
    except EtlError:
        return None  # the check of the database says why


def _examination(settings: Settings) -> Examination:
    """Raises SettingsError where there is no database, and where the first run could not make one."""
    file = _database_file(settings)
    if file is not None and not file.exists():
        if file.is_symlink():
            raise SettingsError(
                f"the database {file} is a link to what is not there: mount its disk, or mend database_url"
            )
        if not file.parent.is_dir() and not settings.state_dir.is_relative_to(file.parent):
            raise SettingsError(
                f"the directory {file.parent} of the database does not exist: mount its disk, or mend database_url"
            )
    return Examination(open_engine(settings.database_url, deadline_seconds=DATABASE_SECONDS))


def _exchange(settings: Settings, keys: Keys | SettingsError) -> Exchange | Exception:
    try:
        usable = {} if isinstance(keys, SettingsError) else keys.usable
        _, source = build_source(settings, usable, min(settings.request_timeout_seconds, REQUEST_SECONDS))
    except EtlError as error:
        return error
    remembered = build_remembered(settings)
    host, now = remembered.host(), datetime.now(UTC)
    return Exchange(
        source,
        {name: SlidingWindow(*settings.ip_limit, settings.state_dir / f"{name}.limit") for name in _ENDPOINTS},
        offset_ms=host.clock_offset_ms or 0,
        held=_held(remembered, usable, now),
        all_held=_limited(still_blocked(now, host.block, None)),
    )


_ENDPOINTS = ("uid", "permissions", "restrictions")


def _held(remembered: Remembered, names: Iterable[str], now: datetime) -> dict[str, Trouble]:
    """The accounts that BingX limits: to ask on would prolong that."""
    found: dict[str, Trouble] = {}
    for name in names:
        block: Block | None = remembered.account(name).block
        if (limited := _limited(still_blocked(now, None, block))) is not None:
            found[name] = limited
    return found


def _limited(until: datetime | None) -> RateLimited | None:
    if until is None:
        return None
    return RateLimited(Reason.RATE_LIMITED, f"not asked: BingX limits until {instant_text(until)}", until)
