"""``python -m etl`` is ``bingx-etl``."""

from etl.cli import main

main()
