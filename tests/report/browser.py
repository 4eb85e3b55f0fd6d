"""A headless Chromium, told over a pipe what to do: what a page is after its script has run, and how it looks."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--proxy-server=127.0.0.1:9", "--in-process-gpu"),
)

# Chromium reads from descriptor 3 and writes to 4.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for number, end in enumerate(ends, 3):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program() -> str | None:
    """A Chromium of this machine, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab. said: errors of the page and of its policy, requests to a network, in words."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._left, self._count, self._session = to, back, b"", 0, None
        self.said: list[str] = []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{part}.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the DevTools protocol and returns what it gives."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while (message := self._next()).get("id") != self._count:
            self._heard(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            more = os.read(self._back, 2**20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._left += more
        text, self._left = self._left.split(b"\0", 1)
        return json.loads(text)

    def _heard(self, message: dict[str, Any]) -> None:
        about = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.said.append(json.dumps(about["exceptionDetails"])[:500])
        elif message.get("method") == "Log.entryAdded":
            self.said.append(about["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            address = about["request"]["url"]
            if not address.startswith(("data:", "file:")):
                self.said.append(f"request: {address}")
        elif message.get("method") == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Loads a file, in a window of that size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", features=[scheme])
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._loaded = False
        self.do("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._heard(self._next())

    def value(self, expression: str) -> Any:
        """What JavaScript gives, as JSON."""
        found = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:800])
        return found["result"].get("value")

    def press(self, kind: str, x: float, y: float) -> None:
        """mousePressed, mouseMoved or mouseReleased at a point of the window."""
        self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Writes the page, or the window alone, as PNG."""
        shot = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """A browser of its own, with a profile that goes with it."""
    (read_there, to), (back, write_there) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [sys.executable, "-I", "-S", "-c", START, str(read_there), str(write_there), program, *OPTIONS]
        words.append(f"--user-data-dir={profile}")
        child = subprocess.Popen(
            words, pass_fds=(read_there, write_there), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(read_there)
        os.close(write_there)
        try:
            yield Browser(to, back)
        finally:
            child.kill()
            child.wait()
            os.close(to)
            os.close(back)
