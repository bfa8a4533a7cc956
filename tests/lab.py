"""JupyterLab started as a user starts it, by `make lab`, and spoken to as its pages do."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote

import browser
import nbformat

ROOT = Path(__file__).parents[1]
STARTS_WITHIN = 60.0  # seconds
BAR, ENTRY = ".lm-MenuBar-itemLabel", ".lm-Menu-itemLabel"
KERNEL, UNSAVED = ".jp-Toolbar-kernelName", ".jp-mod-current.jp-mod-dirty"


def missing() -> str:
    """Return why no server can be started here, or nothing."""
    if not shutil.which("make"):
        return "no make here"
    return "" if (ROOT / ".venv" / ".installed").exists() else "no .venv here: run make env first"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _environment(home: Path) -> dict[str, str]:
    """Return the environment without what an outer make or the user's own Jupyter put into it."""
    foreign = ("JUPYTER", "IPYTHON", "MAKE", "MFLAGS", "NNLIB_FIGURES", "PYTEST")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    return kept | {name: str(home / name.lower()) for name in places}


class Lab:
    """A server whose files are those below `root`, with nothing of the user's own settings.

    `root` must hold a folder `notebooks`. A context manager: the server and its kernels end
    with the block.
    """

    def __init__(self, root: Path, home: Path) -> None:
        self.port, self.token = _free_port(), secrets.token_hex(16)
        self.address = f"http://127.0.0.1:{self.port}"
        options = (
            f"--no-browser --ip=127.0.0.1 --port={self.port} --ServerApp.port_retries=0"
            f" --IdentityProvider.token={self.token} --ServerApp.root_dir={root} --allow-root"
            f" --LabApp.workspaces_dir={home}/workspaces --LabApp.user_settings_dir={home}/settings"
        )
        self.log = home / "lab.log"
        home.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["make", "lab", f"ARGS={options}"], cwd=ROOT, env=_environment(home),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> "Lab":
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("api/status")
            except URLError:
                time.sleep(0.1)
            else:
                return self
        self.__exit__()
        raise AssertionError(f"make lab did not start: {self.log.read_text()[-2000:]}")

    def __exit__(self, *_: object) -> None:
        try:
            self._ask("api/shutdown", "POST")
            self.process.wait(30)
        except (URLError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()

    def _ask(self, path: str, method: str = "GET") -> bytes:
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.address}/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def get(self, path: str) -> bytes:
        """Return what stands at an address; raises URLError where the server says no."""
        return self._ask(path)

    def running(self) -> list[dict]:
        """Return the sessions: which notebook has which kernel, and whether it is busy."""
        return json.loads(self.get("api/sessions"))

    def end_kernel(self, notebook: str) -> None:
        """End a notebook's kernel."""
        for session in self.running():
            if session["path"] == notebook:
                self._ask(f"api/sessions/{session['id']}", "DELETE")

    def page(self, notebook: str) -> str:
        """Return the address of Lab with one notebook open, in a workspace of its own."""
        workspace = secrets.token_hex(4)
        where = f"lab/workspaces/{workspace}/tree/{quote(notebook)}"
        return f"{self.address}/{where}?token={self.token}"


class Notebook:
    """A notebook open in a browser, worked with mouse and keys as a reader does."""

    def __init__(
        self, server: Lab, window: browser.Browser, root: Path, name: str, width: int = 1280
    ) -> None:
        self.server, self.window = server, window
        self.path, self.where = root / "notebooks" / f"{name}.ipynb", f"notebooks/{name}.ipynb"
        window.visit(server.page(self.where), width, height=1000)
        window.wait(f"document.querySelector('{KERNEL}')?.textContent.startsWith('Python')", 60)
        window.wait("document.querySelector('.jp-Notebook .jp-Cell')")
        self.until(self._kernel_listens)

    def until(self, true: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until something holds; fail where it never does."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"not within {seconds} s: {true}"
            self.window.pause(0.1)

    def state(self) -> str:
        """Return what the kernel is doing: idle, busy, …"""
        kernels = [s["kernel"] for s in self.server.running() if s["path"] == self.where]
        return kernels[0]["execution_state"] if kernels and kernels[0]["connections"] else ""

    def _kernel_listens(self) -> bool:
        return self.state() == "idle"

    def menu(self, *labels: str) -> None:
        """Choose an entry of the menu bar, as ("Run", "Run All Cells")."""
        bar, *entries = labels
        self.window.click(f"[...document.querySelectorAll('{BAR}')]{_saying(bar)}")
        for entry in entries:
            self.window.click(f"[...document.querySelectorAll('{ENTRY}')]{_saying(entry)}")

    def run_all(self, seconds: float = 60.0) -> nbformat.NotebookNode:
        """Run all cells, wait for the last or for an error, and return what was saved then.

        The cells must not have run before.
        """
        self.menu("Run", "Run All Cells")
        self.until(lambda: self.state() == "idle" and _ended(self.saved()), seconds)
        return self.saved()

    def run_cell(self, number: int) -> None:
        """Run one cell, counted from 0, without waiting for it."""
        self.window.click(f"document.querySelectorAll('.jp-Notebook .jp-Cell')[{number}]")
        self.window.press("Enter", 13, browser.CONTROL)

    def saved(self) -> nbformat.NotebookNode:
        """Save with Ctrl+S and return what is in the file."""
        before = self.path.stat().st_mtime_ns
        self.until(lambda: self._save() and self.path.stat().st_mtime_ns != before)
        return nbformat.reads(self.server.get(f"files/{self.where}").decode(), as_version=4)

    def _save(self) -> bool:
        """Press Ctrl+S and wait until nothing is left to save, or it will not go away."""
        self.window.press("s", 83, browser.CONTROL)
        self.window.pause(0.3)
        return self.window.evaluate(f"!document.querySelector('{UNSAVED}')")


def _ended(nb: nbformat.NotebookNode) -> bool:
    """Return whether every cell with code has run, or one has failed."""
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    return all(cell.execution_count for cell in code) or bool(errors(nb))


def errors(nb: nbformat.NotebookNode) -> list[str]:
    """Return the errors in a notebook's outputs, by cell."""
    return [
        f"cell {number}: {output.ename}: {output.evalue}"
        for number, cell in enumerate(nb.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def _saying(text: str) -> str:
    return f".find(node => node.textContent === {json.dumps(text)})"
