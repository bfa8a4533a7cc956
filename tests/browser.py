"""A headless Chromium driven by its own protocol: just what tests of pages need."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--remote-allow-origins=*", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


def chromium() -> str | None:
    """Return the path of a Chromium, from NNLIB_CHROMIUM or the usual names."""
    named = os.environ.get("NNLIB_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def axe() -> Path | None:
    """Return the path of axe-core's script, from NNLIB_AXE or a node_modules above."""
    named = os.environ.get("NNLIB_AXE")
    if named:
        return Path(named)
    here = Path(__file__).resolve()
    places = (above / "node_modules" / "axe-core" / "axe.min.js" for above in here.parents)
    return next((path for path in places if path.is_file()), None)


class Browser:
    """One page in a browser whose network is cut."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={self.folder.name}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.events: list[dict] = []
        self.count = 0
        self.socket = websocket.create_connection(self._address(), timeout=60)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _address(self) -> str:
        port_file = Path(self.folder.name, "DevToolsActivePort")
        for _ in range(300):
            if port_file.is_file() and len(port_file.read_text().split()) == 2:
                break
            time.sleep(0.1)
        port, path = port_file.read_text().split()
        browser = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=60)
        browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
        targets = json.loads(browser.recv())["result"]["targetInfos"]
        browser.close()
        page = next(target for target in targets if target["type"] == "page")
        return f"ws://127.0.0.1:{port}/devtools/page/{page['targetId']}"

    def call(self, method: str, **params: Any) -> dict:
        """Send a command and return its result; events that arrive meanwhile are kept."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, path: Path, width: int = 1280, dark: bool = False) -> None:
        """Load a file at a window width, in the light or the dark."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        for _ in range(300):
            if any(event["method"] == "Page.loadEventFired" for event in self.events):
                break
            self.evaluate("new Promise(done => setTimeout(done, 50))")
        self.evaluate("document.fonts.ready.then(() => true)")

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for, data and blob aside."""
        sent = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        urls = [event["params"]["request"]["url"] for event in sent]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def problems(self) -> list[dict]:
        """Return script errors and what the browser logged as an error."""
        bad = {"Runtime.exceptionThrown", "Network.loadingFailed"}
        logged = [e for e in self.events if e["method"] == "Log.entryAdded"]
        errors = [e for e in logged if e["params"]["entry"]["level"] == "error"]
        return [event for event in self.events if event["method"] in bad] + errors

    def violations(self) -> list[str]:
        """Return what axe-core objects to on the page, one line for each kind."""
        self.evaluate(axe().read_text(encoding="utf-8") + "; true")
        found = self.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html'][:200]} ({len(v['nodes'])})" for v in found]

    def screenshot(self, path: Path, full: bool = True) -> None:
        """Save what the page looks like, all of it."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()
