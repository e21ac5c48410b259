"""The composition root: the only place that knows every real part. Heavy parts are imported when they are needed."""

from types import ModuleType

from etl.clock import Clock
from etl.db.engine import is_sqlite
from etl.db.history import History
from etl.db.store import SqlStore
from etl.extract import Plan
from etl.keys import Keys
from etl.limiter import SlidingWindow
from etl.load import Loader
from etl.recorder import Recorder
from etl.remembered import Remembered
from etl.settings import Settings
from etl.spool import Spool
