"""The top of a page as a picture: python -m tests.picture PAGE PICTURE"""

import sys
import tempfile
from pathlib import Path

from tests.browser import started

WIDTH, HEIGHT = 1200, 1086


def main() -> None:
    """As a person sees it who has just opened it."""
    page_file, picture = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as home, started(Path(home)) as browser:
        page = browser.new_page()
        page.resize(WIDTH)
        page.prefer("light")
        page.open(page_file.as_uri())
        page.until("document.querySelectorAll('.account:not([hidden]) .chart:not(.js-plotly-plot)').length === 0")
        page.run("document.querySelectorAll('.modebar').forEach(each => each.remove())")
        page.picture(picture, HEIGHT)


if __name__ == "__main__":
    main()
