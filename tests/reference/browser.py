"""A real browser for pages: Chromium without a window, driven by its DevTools protocol.

It speaks over a pair of pipes (`--remote-debugging-pipe`: JSON, each message ended by NUL), so that
nothing is needed but the browser. https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""What a Chromium is called on the path; BROWSER_FOR_TESTS names another."""
WAIT = 60.0


def find_browser() -> str | None:
    """A Chromium that is installed here."""
    named = os.environ.get("BROWSER_FOR_TESTS")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Browser:
    """One page in a browser, and what happened in it that shouldn't."""

    to: int
    back: int
    session: str = ""
    asked: int = 0
    unread: bytes = b""
    requests: list[str] = field(default_factory=list[str])
    """The addresses that were asked for."""
    complaints: list[str] = field(default_factory=list[str])
    """Uncaught errors, and what the browser has to say of the page."""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self.asked += 1
        message: dict[str, Any] = {"id": self.asked, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self.asked:
                assert "error" not in heard, heard
                return heard["result"]

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.back], [], [], WAIT)
            assert ready, "the browser says nothing"
            more = os.read(self.back, 1 << 16)
            assert more, "the browser has gone"
            self.unread += more
        line, self.unread = self.unread.split(b"\0", 1)
        heard = json.loads(line)
        self._note(heard.get("method"), heard.get("params", {}))
        return heard

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("text", "an error"))
        elif method in ("Log.entryAdded", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(params))

    def open(self, page: Path, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        """Show a page in a window of a size, light or dark."""
        if not self.session:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=page.resolve().as_uri())
        while self.run("document.readyState") != "complete":
            pass

    def run(self, script: str) -> Any:
        """What an expression is in the page; one that is a promise is waited for."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, query: str) -> str:
        """The text that is seen of an element."""
        return self.run(f"document.querySelector({json.dumps(query)}).innerText")

    def middle(self, query: str) -> tuple[float, float]:
        """Where an element is, once it has been scrolled into sight."""
        # What scrolling sets going has been done when the second frame is drawn.
        x, y = self.run(
            f"(async () => {{ const e = document.querySelector({json.dumps(query)});"
            "e.scrollIntoView({block: 'center', inline: 'center'});"
            "for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        return x, y

    def point(self, query: str) -> None:
        """Move the mouse onto an element."""
        self._mouse("mouseMoved", *self.middle(query))

    def click(self, query: str) -> None:
        """Click it."""
        x, y = self.middle(query)
        self._mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x, y, button="left", clickCount=1)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, *keys: str) -> None:
        """Press keys, by the names that scripts know them by."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for key in keys:
            for kind in ("rawKeyDown", "keyUp"):
                code = codes[key]
                self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path, whole: bool = False) -> None:
        """Save what is seen as PNG, or the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(command: str, profile: Path, options: Sequence[str] = ()) -> Generator[Browser]:
    """A browser for as long as the block runs, with a new profile in a folder."""
    to_read, to = _pipe()
    back, back_write = _pipe()
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run")
    flags += ("--disable-dev-shm-usage", "--disable-background-networking", "--mute-audio")
    # The browser reads from its descriptor 3 and writes to 4; the shell puts them there.
    script = f'exec "$@" 3<&{to_read} 4>&{back_write}'
    profiled = (f"--user-data-dir={profile}", "--remote-debugging-pipe")
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", command, *flags, *profiled, *options],
        pass_fds=(to_read, back_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(back_write)
    try:
        yield Browser(to, back)
    finally:
        os.close(to)
        os.close(back)
        process.terminate()
        process.wait(20)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends aren't where the browser looks for them."""
    ends = os.pipe()
    far = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return far[0], far[1]
