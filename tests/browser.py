"""A headless Chromium driven by its own protocol: just what tests of pages and of Lab need."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--remote-allow-origins=*", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
CONTROL = 2  # as a modifier of keys


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
    """One page in a browser whose network is cut; servers of this machine are all it reaches."""

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

    def _send(self, method: str, **params: Any) -> int:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        return self.count

    def call(self, method: str, **params: Any) -> dict:
        """Send a command and return its result; events that arrive meanwhile are kept."""
        sent = self._send(method, **params)
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == sent:
                assert "error" not in message, message
                return message["result"]
            if "method" in message:
                self.events.append(message)
            if message.get("method") == "Page.javascriptDialogOpening":  # nothing is to be kept
                self._send("Page.handleJavaScriptDialog", accept=True)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, path: Path, width: int = 1280, dark: bool = False, calm: bool = False) -> None:
        """Load a file at a window width, in the light or the dark, with less motion if `calm`."""
        self.prefer(dark, calm)
        self.visit(path.resolve().as_uri(), width)
        self.evaluate("document.fonts.ready.then(() => true)")

    def prefer(self, dark: bool, calm: bool = False) -> None:
        """Say what the reader's system prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if calm else ""}
        self.call("Emulation.setEmulatedMedia", features=[scheme, motion])

    def visit(self, url: str, width: int = 1280, height: int = 900) -> None:
        """Load an address and wait until its page says that it is loaded."""
        self.events.clear()
        self.resize(width, height)
        self.call("Page.navigate", url=url)
        for _ in range(300):
            if any(event["method"] == "Page.loadEventFired" for event in self.events):
                break
            self.pause(0.05)

    def without_scripts(self, path: Path) -> None:
        """Load a file as where JavaScript is off."""
        self.call("Emulation.setScriptExecutionDisabled", value=True)
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.call("Page.getFrameTree")  # no script can wait here
        self.call("Emulation.setScriptExecutionDisabled", value=False)

    def resize(self, width: int, height: int = 900) -> None:
        """Make the window as wide and high as this; a narrow one is a phone's."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip

    def pause(self, seconds: float) -> None:
        """Let the page go on for a while."""
        self.evaluate(f"new Promise(done => setTimeout(done, {1000 * seconds}))")

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """Return the value of an expression as soon as it is true; fail where it never is."""
        value = f"(found => found instanceof Node || found)({script})"  # nodes have no value
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.evaluate(value):
                return found
            self.pause(0.05)
        raise AssertionError(f"not within {seconds} s: {script}")

    def box(self, element: str) -> tuple[float, float, float, float]:
        """Return left, top, width and height of an element, given by an expression, in view.

        Waits until it is there and has come to rest.
        """
        self.wait(f"({element})?.getClientRects().length")
        measured = f"""(node => {{ node.scrollIntoView({{block: 'nearest', inline: 'nearest'}});
            const box = node.getBoundingClientRect();
            return [box.left, box.top, box.width, box.height]; }})({element})"""
        before, box = None, self.evaluate(measured)
        while box != before:
            self.pause(0.1)
            before, box = box, self.evaluate(measured)
        return tuple(box)

    def click(self, element: str) -> None:
        """Click into the middle of an element with the mouse."""
        left, top, width, height = self.box(element)
        self.drag([(left + width / 2, top + height / 2)])

    def drag(self, path: Sequence[tuple[float, float]]) -> None:
        """Press the mouse button at the first point, move through the others, and let go."""
        self.press_mouse(path)
        self.release_mouse(path[-1])

    def press_mouse(self, path: Sequence[tuple[float, float]]) -> None:
        """Press the mouse button at the first point, and move through the others."""
        self._mouse("mouseMoved", *path[0])
        self._mouse("mousePressed", *path[0], button="left", buttons=1, clickCount=1)
        for x, y in path[1:]:
            self._mouse("mouseMoved", x, y, button="left", buttons=1)

    def release_mouse(self, point: tuple[float, float]) -> None:
        """Let the mouse button go."""
        self._mouse("mouseReleased", *point, button="left", clickCount=1)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def touch(self, path: Sequence[tuple[float, float]]) -> None:
        """Put a finger down at the first point, move it through the others, and lift it."""
        for number, (x, y) in enumerate(path):
            kind = "touchMove" if number else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, code: int, modifiers: int = 0) -> None:
        """Press and release a key, perhaps with CONTROL held down."""
        about = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        written = {"text": "\r"} if key == "Enter" and not modifiers else {}  # else it is no press
        kind = "keyDown" if written else "rawKeyDown"
        self.call("Input.dispatchKeyEvent", type=kind, **about, **written)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def choose_file(self, element: str, file: Path) -> None:
        """Choose a file in a file input, as its dialogue would."""
        node = self.call("Runtime.evaluate", expression=element)["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=node)

    def download_into(self, folder: Path) -> None:
        """Keep what the page downloads."""
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

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

    def thrown(self) -> list[str]:
        """Return the errors that no script on the page caught."""
        thrown = [e for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        return [str(event["params"]["exceptionDetails"])[:500] for event in thrown]

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
