"""A headless Firefox driven by WebDriver BiDi, used as `browser.Browser` is."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import browser
import websocket

PREFERENCES = {
    "network.proxy.type": 1,  # all goes to a port where nobody listens: the network is cut
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "dom.w3c_touch_events.enabled": 1,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}
DARK, CALM = "layout.css.prefers-color-scheme.content-override", "ui.prefersReducedMotion"
KEYS = {"Enter": "\ue007", "ArrowRight": "\ue014", "ArrowLeft": "\ue012", "Tab": "\ue004"}


def firefox() -> str | None:
    """Return the path of a Firefox, from NNLIB_FIREFOX or the usual names."""
    named = os.environ.get("NNLIB_FIREFOX")
    return named or shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox(browser.Browser):
    """One page in a Firefox whose network is cut."""

    def __init__(self, dark: bool = False, calm: bool = False) -> None:
        self.preferred = dark, calm
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        settings = PREFERENCES | {DARK: int(not dark), CALM: int(calm)}
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in settings.items()]
        Path(self.folder.name, "user.js").write_text("\n".join(lines))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [firefox(), "--headless", "--no-remote", "--profile", self.folder.name,
             f"--remote-debugging-port={port}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.events: list[dict] = []
        self.count = 0
        self.socket = self._connected(f"ws://127.0.0.1:{port}/session")
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self.context = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def _connected(self, address: str) -> websocket.WebSocket:
        for _ in range(200):
            try:
                return websocket.create_connection(address, timeout=60, suppress_origin=True)
            except OSError:
                time.sleep(0.2)
        raise AssertionError("Firefox does not answer")

    def _here(self, method: str, **params: Any) -> dict:
        return self.call(method, context=self.context, **params)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        target = {"context": self.context}
        answer = self.call("script.evaluate", expression=script, target=target, awaitPromise=True)
        assert answer["type"] == "success", answer
        return _value(answer["result"])

    def prefer(self, dark: bool, calm: bool = False) -> None:
        """Say what the reader's system prefers, which a Firefox reads when it starts."""
        if (dark, calm) != self.preferred:
            self.close()
            self.__init__(dark, calm)

    def visit(self, url: str, width: int = 1280, height: int = 900) -> None:
        """Load an address and wait until its page says that it is loaded."""
        self.resize(width, height)
        self.events.clear()
        self._here("browsingContext.navigate", url=url, wait="complete")

    def resize(self, width: int, height: int = 900) -> None:
        """Make the window as wide and high as this."""
        self._here("browsingContext.setViewport", viewport={"width": width, "height": height})

    def drag(self, path: Sequence[tuple[float, float]]) -> None:
        """Press the mouse button at the first point, move through the others, and let go."""
        self._point("mouse", path)

    def touch(self, path: Sequence[tuple[float, float]]) -> None:
        """Put a finger down at the first point, move it through the others, and lift it."""
        self._point("touch", path)

    def _point(self, kind: str, path: Sequence[tuple[float, float]]) -> None:
        moves = [{"type": "pointerMove", "x": round(x), "y": round(y)} for x, y in path]
        down, up = ({"type": f"pointer{what}", "button": 0} for what in ("Down", "Up"))
        actions = [moves[0], down, *moves[1:], up]
        source = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}}
        self._here("input.performActions", actions=[source | {"actions": actions}])

    def press(self, key: str, code: int = 0, modifiers: int = 0) -> None:
        """Press and release a key."""
        steps = [{"type": f"key{way}", "value": KEYS.get(key, key)} for way in ("Down", "Up")]
        self._here("input.performActions", actions=[{"type": "key", "id": "k", "actions": steps}])

    def choose_file(self, element: str, file: Path) -> None:
        """Choose a file in a file input, as its dialogue would."""
        target = {"context": self.context}
        found = self.call("script.evaluate", expression=element, target=target, awaitPromise=False)
        node = {"sharedId": found["result"]["sharedId"]}
        self._here("input.setFiles", element=node, files=[str(file)])

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for, data and blob aside."""
        sent = [e for e in self.events if e["method"] == "network.beforeRequestSent"]
        urls = [event["params"]["request"]["url"] for event in sent]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def problems(self) -> list[dict]:
        """Return script errors and what the browser logged as an error."""
        logged = [e["params"] for e in self.events if e["method"] == "log.entryAdded"]
        return [entry for entry in logged if entry["level"] == "error"]

    def screenshot(self, path: Path, full: bool = True) -> None:
        """Save what the page looks like, all of it."""
        shot = self._here("browsingContext.captureScreenshot",
                          origin="document" if full else "viewport")  # fmt: skip
        path.write_bytes(base64.b64decode(shot["data"]))


def _value(told: dict) -> Any:
    """Return a value of JavaScript as BiDi tells it."""
    value = told.get("value")
    if told["type"] in ("array", "nodelist", "htmlcollection"):
        return [_value(each) for each in value or []]
    if told["type"] == "object":
        return {name: _value(each) for name, each in value or []}
    if told["type"] == "node":
        return True
    return float(value) if told["type"] == "number" and isinstance(value, str) else value
