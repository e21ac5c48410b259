"""``report --html``: the page in a real browser, and the file that it is."""

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from etl.db import migrate
from tests.browser import Browser, Page, needs_chromium, started
from tests.cli.confined import confined
from tests.cli.program import ROOT, Program, installed
from tests.db.recorded import Recorded

STEP = timedelta(hours=6)
START = datetime(2025, 11, 20, tzinfo=UTC)
DAYS = 100
UNTIL = ("--until", "2026-02-27")
DRAWN = "document.querySelectorAll('.account:not([hidden]) .chart:not(.js-plotly-plot)').length === 0"
BUTTONS = {"toImage", "zoom", "pan", "zoomIn", "zoomOut", "resetScale2d"}
HOSTILE = "<!--<script </script><script>hacked = 1</script><img src=x onerror='hacked = 2'>&amp;\"'\u2028{{ 7 * 7 }}"
HOSTILE_WALLET = "<a href=javascript:hacked=3>%{x}</a><b onclick='hacked = 4'>${hacked = 5}"


def fill(url: str, days: int = DAYS) -> None:
    """Months of two accounts with gaps, wallets, and what takes no part; the second one begins later."""
    recorded = Recorded(url)
    names = {1: "main", 2: "hedge"}
    with recorded.at_once():
        for key, name in names.items():
            recorded.account(name, (21_600, START + STEP * (1 if key == 1 else 61), START + STEP * (days * 4 - 3)))
        for number in range(1, days * 4 - 3):
            slot_at = START + STEP * number
            for key in names:
                if (key == 2 and number < 61) or number % 83 < key or 150 < number < 170:
                    continue
                spot = 10_000 * key + (number * 7919) % 1777 - number * 3
                wallets = {"spot": f"{spot}.123456789", "grid": f"{number % 50 * 11}.5", "USDTMPerp": f"-{number % 9}"}
                total = f"{spot + number % 50 * 11 - number % 9}.623456789"
                if number % 97 == 5:
                    recorded.snapshot(slot_at, None, of=key)
                else:
                    made = recorded.snapshot(slot_at, total, wallets, of=key)
                    if number % 89 == 7:
                        recorded.mark(made, "void", text="wrong")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One for all tests, which only read."""
    with installed(tmp_path_factory.mktemp("html") / "home") as program:
        program.state.mkdir(mode=0o700)
        migrate.upgrade(program.database_url)
        fill(program.database_url)
        yield program


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def written(program: Program, *arguments: str) -> Path:
    """The page of a report, made once."""
    file = program.home / f"{'_'.join(arguments).replace('/', '_')}.html"
    if not file.exists():
        ran = program.run("report", "--html", str(file), *arguments)
        assert (ran.code, ran.out) == (0, ""), ran.err
        assert ran.err.splitlines()[-1] == f"the page is {file}"
    return file


def opened(browser: Browser, file: Path, width: int = 1440, scheme: str = "light") -> Page:
    """The page with its charts drawn, which nothing of it was complained about."""
    page = browser.new_page()
    page.resize(width)
    page.prefer(scheme)
    page.open(file.as_uri())
    page.until(DRAWN)
    assert page.complaints == []
    assert {url for url in page.requests if not url.startswith("data:")} == {file.as_uri()}
    return page


def told(program: Program, *arguments: str) -> list[dict[str, Any]]:
    ran = program.run(*arguments, "--format", "json")
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


def choose(page: Page, account: str) -> None:
    page.run(f"""(() => {{
        const choice = document.getElementById("account");
        choice.value = [...choice.options].find(each => each.text === {json.dumps(account)}).value;
        choice.dispatchEvent(new Event("change"));
    }})()""")
    page.until(DRAWN)


def table(page: Page) -> list[list[str]]:
    """The periods that are shown, all digits of each figure: those under the pointer, where the text is rounded."""
    rows: list[list[str]] = page.run("""
        [...document.querySelectorAll(".account:not([hidden]) .periods tbody tr")].map(row => [...row.cells].map(
            cell => cell.title || cell.innerText || cell.textContent))
    """)
    return rows


def covered(row: dict[str, Any]) -> int:
    number: float = (row["coverage"] or 0) * row["expected"]
    return round(number)


def exact(value: str) -> str:
    return value.strip().replace(",", "").removeprefix("+")


@needs_chromium
@pytest.mark.parametrize(
    "asked", [(), ("--every", "month", "--tz", "Europe/Berlin"), ("--account", "main", "--every", "week")]
)
def test_figures_on_the_page_are_those_of_the_json_report(
    recorded: Program, browser: Browser, asked: tuple[str, ...]
) -> None:
    rows = told(recorded, "report", *UNTIL, *asked)
    page = opened(browser, written(recorded, *UNTIL, *asked))
    names = list(dict.fromkeys(row["account"] for row in rows))
    assert names == (["main"] if "--account" in asked else ["hedge", "main", "(all)"])
    assert page.run("document.querySelector('.account:not([hidden]) h2').innerText") == names[-1]
    for name in names:
        if len(names) > 1:
            choose(page, name)
        own = [row for row in rows if row["account"] == name]
        shown = table(page)
        assert [[exact(cell) for cell in row[:8]] for row in shown] == [
            [
                row["period"],
                *(row[key] or "" for key in ("open_usdt", "high_usdt", "low_usdt")),
                row["close_usdt"] or "missing",
                *(row[key] or "" for key in ("change_usdt", "change_pct", "drawdown_pct")),
            ]
            for row in own
        ]
        assert [row[8] for row in shown] == [
            f"{covered(row)} of {row['expected']}" if row["expected"] else "" for row in own
        ]
        closed = [row for row in own if row["close_usdt"]]
        headlines = dict(
            page.run("""
            [...document.querySelectorAll(".account:not([hidden]) .figures div")].map(each => {
                const value = each.querySelector("dd");
                return [each.querySelector("dt").innerText, value.title || value.innerText];
            })
        """)
        )
        assert headlines["Last close"] == closed[-1]["close_usdt"]
        assert headlines["Deepest drawdown"] == min((row["drawdown_pct"] for row in closed), key=float)
        missing = sum(row["expected"] - covered(row) for row in own)
        assert headlines["Missing"] == str(missing)
        if "--every" not in asked:
            check_months(recorded, page, name)
        # What the charts were given, as they have it.
        bars = page.run("document.querySelector('.account:not([hidden]) [data-chart=changes]').data[0]")
        assert [value is None for value in bars["y"]] == [row["change_usdt"] is None for row in own]
        assert all(
            row["change_usdt"] in said.replace("+", "") for row, said in zip(own, bars["text"], strict=True) if said
        )
    embedded = page.run("JSON.parse(document.getElementById('report').textContent)")
    columns = embedded["columns"]
    carried = [dict(zip(columns, row, strict=True)) for part in embedded["accounts"] for row in part["rows"]]
    assert [{key: value for key, value in row.items() if key != "account_type"} for row in carried] == rows


def check_months(recorded: Program, page: Page, name: str) -> None:
    """They are those of the monthly report."""
    shown = page.run("""
        [...document.querySelectorAll(".account:not([hidden]) .months tbody td:not(.outside)")].map(cell =>
            [...cell.querySelectorAll("b, span")].map(each => each.title || each.innerText))
    """)
    months = [row for row in told(recorded, "report", *UNTIL, "--every", "month") if row["account"] == name]
    assert [[exact(text).removesuffix("%") for text in cell] for cell in shown] == [
        [row["change_pct"] or "–", row["close_usdt"]] if row["close_usdt"] else [] for row in months
    ]


@needs_chromium
def test_the_curve_is_interrupted_where_snapshots_are_missing_and_nowhere_else(
    recorded: Program, browser: Browser
) -> None:
    page = opened(browser, written(recorded, *UNTIL, "--tz", "Asia/Tokyo"))
    snapshots = recorded.rows("SELECT account, slot_at, total_usdt_exact FROM equity ORDER BY slot_at")
    for name in ("main", "hedge"):
        choose(page, name)
        line = page.run("document.querySelector('.account:not([hidden]) [data-chart=equity]').data[0]")
        assert line["connectgaps"] is False
        tokyo = [at and datetime.fromisoformat(f"{at}+09:00") for at in line["x"]]
        clock = [at and at.astimezone(UTC) for at in tokyo]
        hovered = page.run("""(() => {
            const chart = document.querySelector(".account:not([hidden]) [data-chart=equity]");
            Plotly.Fx.hover(chart, [{curveNumber: 0, pointNumber: 0}]);
            return chart.querySelector(".hoverlayer").textContent;
        })()""")
        assert f"{tokyo[0]:%Y-%m-%d %H:%M:%S}" in hovered, "whatever clock the reader has"
        assert f"{line['text'][0]} USDT" in hovered
        there = {f"{at:%Y-%m-%dT%H:%M:%SZ}": text for at, text in zip(clock, line["text"], strict=True) if at}
        assert there == {slot: total for account, slot, total in snapshots if account == name and total}
        gaps = [gap for gap in told(recorded, "gaps", "--account", name) if gap["gap_from"] < max(there)]
        partial = recorded.rows("SELECT slot_at FROM equity WHERE status = 'partial'")
        missing = _within(gaps) | {datetime.fromisoformat(slot) for (slot,) in partial}
        interrupted = [at for before, at in pairwise(clock) if at and before is None]
        assert len(interrupted) > 6
        assert {at - STEP for at in interrupted} <= missing
        drawn = [(before, at) for before, at in pairwise(clock) if before and at]
        assert {at - before for before, at in drawn} == {STEP}


def _within(gaps: list[dict[str, Any]]) -> set[datetime]:
    """Each slot of them."""
    return {datetime.fromisoformat(gap["gap_from"]) + STEP * number for gap in gaps for number in range(gap["missed"])}


@needs_chromium
def test_it_reads_well_on_a_phone_a_tablet_and_a_desk_in_light_and_dark(recorded: Program, browser: Browser) -> None:
    file = written(recorded, *UNTIL)
    pictures = ROOT / "build" / "screenshots"
    for width, scheme in ((390, "light"), (820, "dark"), (1440, "light")):
        page = opened(browser, file, width, scheme)
        assert page.run("document.documentElement.scrollWidth") <= width, "nothing to scroll sideways"
        charts = page.run("[...document.querySelectorAll('.js-plotly-plot .main-svg')].map(each => each.clientWidth)")
        assert max(charts) <= width
        page.picture(pictures / f"report-{width}-{scheme}.png")
        background = page.run("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 384) == (scheme == "light")
    page = opened(browser, file, scheme="dark")
    page.run("document.getElementById('theme').click()")
    assert page.run("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert page.run("document.querySelector('[data-chart=equity].js-plotly-plot').layout.font.color") == "#5b6878"


@needs_chromium
def test_it_prints_in_light_colours_on_the_width_of_paper(recorded: Program, browser: Browser) -> None:
    page = opened(browser, written(recorded, *UNTIL), scheme="dark")
    page.run("""addEventListener("beforeprint", () => { printed = {
        theme: document.documentElement.dataset.theme,
        widths: [...document.querySelectorAll(".account:not([hidden]) .main-svg")].map(
            each => Number(each.getAttribute("width"))),
    }; })""")
    paper = page.pdf(preferCSSPageSize=True)
    assert paper.startswith(b"%PDF")
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", paper)) < 6
    printed = page.run("printed")
    assert printed["theme"] == "light"
    assert 600 < max(printed["widths"]) < 690
    page.until("document.querySelector('.js-plotly-plot .main-svg').clientWidth > 1000")
    assert page.run("document.documentElement.dataset.theme ?? null") is None
    assert page.complaints == []


@needs_chromium
def test_a_keyboard_is_enough(recorded: Program, browser: Browser) -> None:
    page = opened(browser, written(recorded, *UNTIL))

    def press(key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    press("Tab", 9)
    assert page.run("document.activeElement.id") == "account"
    press("ArrowUp", 38)
    page.until("document.querySelector('.account:not([hidden]) h2').innerText === 'main'")
    press("Tab", 9)
    assert page.run("document.activeElement.id") == "theme"
    page.until(DRAWN)
    assert page.run("document.title").startswith("Equity of 2 accounts")
    assert page.complaints == []


@needs_chromium
def test_no_button_offers_to_send_anything_anywhere(recorded: Program, browser: Browser) -> None:
    page = opened(browser, written(recorded, *UNTIL))
    there = page.run("""
        [...document.querySelectorAll(".modebar-btn")].map(each => Object.values(each.dataset).join(" "))
    """)
    assert len(there) == 3 * 6
    assert not re.search("cloud|share|send|edit|upload", " ".join(there), re.IGNORECASE)
    assert page.run("[...document.querySelectorAll('a, form, iframe, link:not([href=\"data:,\"])')].length") == 0
    refused = page.run("fetch('https://example.com/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    assert any("Content Security Policy" in text for text in page.complaints)


@needs_chromium
def test_without_javascript_all_figures_are_there(recorded: Program, browser: Browser) -> None:
    file = written(recorded, *UNTIL, "--every", "month")
    page = browser.new_page()
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(file.as_uri())
    text = page.run("document.body.innerText")
    assert "need JavaScript" in text
    assert {"main", "hedge", "(all)"} <= set(text.splitlines())
    closes = [row["close_usdt"] for row in told(recorded, "report", *UNTIL, "--every", "month") if row["close_usdt"]]
    titles = page.run("[...document.querySelectorAll('.periods td')].map(each => each.title)")
    assert set(closes) <= set(titles)
    assert page.run("[...document.querySelectorAll('.chart')].filter(each => each.offsetHeight).length") == 0


@needs_chromium
def test_names_from_outside_are_text_and_nothing_else(program: Program, browser: Browser) -> None:
    program.state.mkdir(mode=0o700)
    migrate.upgrade(program.database_url)
    recorded = Recorded(program.database_url)
    for number, name in enumerate((HOSTILE, "other"), 1):
        recorded.account(name, (21_600, "01-01 01:00", None))
        for slot in ("01-01 06:00", "01-01 12:00", "01-02 06:00"):
            recorded.snapshot(slot, "3", {HOSTILE_WALLET: "1", "spot": "2"}, of=number)
    page = opened(browser, written(program, "--until", "2026-01-03", "--by", "account-type"))
    page.until(DRAWN)
    assert HOSTILE in page.run("[...document.querySelectorAll('option')].map(each => each.text)")
    choose(page, HOSTILE)
    assert page.run("document.querySelector('.account:not([hidden]) h2').textContent") == HOSTILE
    assert HOSTILE_WALLET in page.run("document.querySelector('.account:not([hidden]) .legend').textContent")
    assert any(
        HOSTILE_WALLET in text
        for text in page.run("[...document.querySelectorAll('summary')].map(each => each.textContent)")
    )
    page.run("document.querySelectorAll('a, b, img').forEach(each => each.click())")
    assert page.run("typeof hacked") == "undefined"
    assert page.run("document.querySelectorAll('a, img[src=x]').length") == 0
    assert page.complaints == []


@needs_chromium
def test_an_empty_history_is_a_page_that_says_so(program: Program, browser: Browser) -> None:
    ran = program.run("report", "--html", "empty.html")
    assert (ran.code, ran.out) == (0, "")
    assert "bingx-etl snapshot" in ran.err
    page = opened(browser, program.home / "empty.html")
    assert "Nothing is recorded" in page.run("document.body.innerText")
    assert "bingx-etl snapshot" in page.run("document.body.innerText")


def test_the_page_is_the_same_from_both_databases(program: Program, new_database: Callable[..., str]) -> None:
    pages = []
    for dialect in ("sqlite", "postgresql"):
        url = new_database(dialect)
        fill(url, 30)
        ran = program.run("report", "--html", "page.html", *UNTIL, BINGX_ETL_DATABASE_URL=url)
        assert ran.code == 0, ran.err
        pages.append(
            re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC(?=[.<])", "", (program.home / "page.html").read_text())
        )
    assert pages[0] == pages[1]


def test_it_is_put_in_its_place_in_one_step_and_read_by_whom_the_umask_lets(recorded: Program, tmp_path: Path) -> None:
    file, link = tmp_path / "page.html", tmp_path / "link.html"
    file.write_text("<!doctype html>before")
    link.symlink_to(file)
    before = file.stat().st_ino
    ran = recorded.run("report", "--html", str(link), *UNTIL)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"the page is {link}\n"
    assert file.stat().st_ino != before, "it was written beside and renamed"
    umask = os.umask(0)
    os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, file]
    content = file.read_bytes()
    assert b"/" + str(recorded.home).encode() not in content
    secret = recorded.environ["BINGX_API_SECRET"].encode()
    assert secret not in content
    assert recorded.environ["BINGX_API_KEY"].encode() not in content


@pytest.mark.parametrize("place", ["a directory", "nowhere", "a device", "locked", "full"])
def test_what_cannot_be_written_is_one_line_with_the_remedy(recorded: Program, tmp_path: Path, place: str) -> None:
    if place == "locked":
        tmp_path.chmod(0o500)
    file = {
        "a directory": tmp_path,
        "nowhere": tmp_path / "not" / "there.html",
        "a device": Path("/dev/full"),
        "locked": tmp_path / "page.html",
        "full": tmp_path / ("x" * 300),
    }[place]
    ran = confined(recorded, "report", "--html", str(file), *UNTIL)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (73, "", 1), ran.err
    assert "--html names another place" in ran.err
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_page_is_not_written_over(recorded: Program, tmp_path: Path) -> None:
    database = recorded.state / "balances.db"
    link, empty = tmp_path / "link.html", tmp_path / "empty.html"
    link.symlink_to(database)
    empty.touch()
    for file in (database, link):
        before = file.read_bytes()
        ran = recorded.run("report", "--html", str(file))
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (73, "", 1)
        assert f"{file} is there and is no page" in ran.err
        assert file.read_bytes() == before
    assert recorded.run("report", "--html", str(empty), *UNTIL).code == 0
    assert empty.stat().st_size


def test_a_report_that_fails_leaves_the_page_as_it_was(recorded: Program, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<!doctype html>before")
    ran = recorded.run("report", "--html", str(file), "--account", "nobody")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
    assert (file.read_text(), list(tmp_path.iterdir())) == ("<!doctype html>before", [file])


def test_a_page_and_a_format_exclude_each_other(recorded: Program, tmp_path: Path) -> None:
    ran = recorded.run("report", "--html", str(tmp_path / "page.html"), "--format", "json")
    assert (ran.code, ran.out) == (2, "")
    assert "--format" in ran.err
    assert list(tmp_path.iterdir()) == []
