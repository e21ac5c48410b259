"""A real Chromium, spoken to through two pipes: its DevTools protocol, and nothing between."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PATIENCE_SECONDS = 60.0
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

# The pipes of the protocol are descriptors 3 and 4.
START = 'exec "${@:3}" 3<&"$1" 4>&"$2"'
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which it refuses to have where root starts it; it sees nothing but files of ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
)


@dataclass
class Page:
    """A tab, and all that it has said since it was opened."""

    browser: "Browser"
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A call of the protocol, and its result."""
        return self.browser.call(method, self.session, **parameters)

    def run(self, script: str) -> Any:  # noqa: ANN401 - JSON
        """The value of an expression; of what it promises, when it has come."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.run(script):
            assert time.monotonic() < deadline, f"{script} never came true; {self.complaints}"
            time.sleep(0.05)

    def open(self, url: str) -> None:
        """Load a page to its end."""
        went = self.call("Page.navigate", url=url)
        assert "errorText" not in went, f"{url}: {went['errorText']}"
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int = 900, *, mobile: bool = False) -> None:
        """As wide as a phone, a tablet or a desk."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, scheme: str) -> None:
        """Light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, file: Path, height: int | None = None) -> None:
        """What is seen of it, from its top, as far down as it goes."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        taken = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def pdf(self, **options: Any) -> bytes:
        """The page on paper."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True, **options)["data"])

    def hear(self, method: str, told: dict[str, Any]) -> None:
        """An event."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(f"{told['entry']['level']}: {told['entry']['text']}")
            case "Runtime.consoleAPICalled" if told["type"] in {"error", "warning", "assert"}:
                self.complaints.append(f"{told['type']}: {[each.get('value') for each in told['args']]}")
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.complaints.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
            case _:
                pass


class Browser:
    """Calls go out on one pipe; results and events come in on the other, each with a NUL behind it."""

    def __init__(self, out: int, into: int) -> None:
        self._out, self._into = out, into
        self._buffer = b""
        self._number = 0
        self._pages: dict[str, Page] = {}

    def new_page(self) -> Page:
        """An empty tab, in place of those that were open."""
        for page in self._pages.values():
            page.call("Page.close")
        self._pages.clear()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """A call of the protocol, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while (answer := self._next()).get("id") != self._number:
            if page := self._pages.get(answer.get("sessionId", "")):
                page.hear(answer["method"], answer["params"])
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._into], [], [], PATIENCE_SECONDS)[0], "the browser is silent"
            more = os.read(self._into, 1 << 20)
            assert more, "the browser has ended"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told


@contextmanager
def started(home: Path) -> Iterator[Browser]:
    """A Chromium with a profile of its own, for as long as the block lasts."""
    assert CHROMIUM is not None
    read_calls, calls = os.pipe()
    answers, write_answers = os.pipe()
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TZ": "America/New_York"}
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={home / 'profile'}"]
    process = subprocess.Popen(
        ["bash", "-c", START, "bash", str(read_calls), str(write_answers), *command],
        pass_fds=(read_calls, write_answers),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_calls)
    os.close(write_answers)
    browser = Browser(calls, answers)
    try:
        yield browser
        browser.call("Browser.close")
        process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(calls)
        os.close(answers)
