"""A server with hostile names in it, its page, and a browser, for the tests of the page."""

import csv
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from made_tables import make_table
from running_server import RunningServer

import penult
from penult.web.rendering import NAVIGATION

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><img src=x onerror=alert(1)>'\"&amp;{{7*7}}"
RIGHT_TO_LEFT = "\u202egnp.exe\u202c \u05d0\u05d1"
LONG = "x" * 10_000
WATCHED = """
addEventListener('securitypolicyviolation', (event) => {
  console.error('CSP ' + event.violatedDirective + ' ' + event.blockedURI);
});
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def hostile_table(directory: Path) -> Path:
    """A small table whose class and attribute have names that a page could stumble over."""
    table = make_table(directory, n_per_group=(14, 6, 6, 14))
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["y"] = {"dark": HOSTILE, "bright": LONG}[row["y"]]
        row["ground"] = {"red": RIGHT_TO_LEFT, "green": HOSTILE}[row["ground"]]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return table


class Page:
    """`penult web` in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "penult", "web", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip().rstrip("/")
        assert self.url.startswith("http"), self.url

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stdout.close()


class Site:
    """A server with a run, features, spectra, refits and more; its page; and the paths of that page."""

    def __init__(self, root: Path, tiny: dict) -> None:
        self.port, self.root, self.tiny = free_port(), root, tiny
        self.start()
        self.token = (root / "token").read_text().strip()
        self.client = self.server.connect()
        try:
            self.client.datasets.register("birds", str(hostile_table(root.parent / "images")))
            self._fill()
            self.page = Page("--server", f"localhost:{self.port}")
        except BaseException:
            self.client.close()
            self.server.kill()
            raise

    def start(self) -> None:
        """Start the server, or start it again where it was."""
        self.server = RunningServer(self.root, "--port", str(self.port))

    def finetune(self, epochs: int, seed: int = 0):
        return self.client.finetune(dataset="birds", epochs=epochs, seed=seed, note=HOSTILE, tags=[], **self.tiny)

    def _fill(self) -> None:
        client = self.client
        self.run = self.finetune(1).wait()
        first, last = (client.extract(one).wait() for one in (self.run.checkpoints[0], self.run.checkpoints[-1]))
        self.sets = last
        for one in (first, last):
            self.spectra = client.spectra(one["train"], by="group", top_k=8, replicates=5)
        scored = {"test": last["test"], HOSTILE: last["val"]}
        client.refit(last["train"], preset="dfr_l2", evaluate=scored)
        grid = {"l2": [1e-4, 1e-2, 1]}
        self.refit = client.refit(last["train"], preset="erm", grid=grid, select={"on": last["val"]}, evaluate=scored)
        self.diagnosis = client.diagnose(last["test"], ["nc"])
        self.grouping = client.groupings.upload(last["train"], np.arange(40) % 2, names=[HOSTILE, LONG[:256]])
        client.evaluate_neighbours(last["test"], k=[1])

    @property
    def paths(self) -> list[str]:
        """One of every page."""
        run, sets = self.run, self.sets
        return [
            *(to for to, _ in NAVIGATION),
            f"/jobs/{run.id}",
            f"/runs/{run.id}",
            f"/results/{self.spectra.digest}",
            f"/results/{self.refit.digest}",
            f"/results/{self.diagnosis.digest}",
            f"/features/{sets['train'].digest}",
            f"/groupings/{self.grouping.digest}",
            f"/checkpoints/{run.checkpoints[-1].digest}",
            f"/compare?run={run.id}&refit={self.refit.digest}",
            "/datasets/birds",
            f"/neighbours?features={sets['train'].digest}",
            "/examples?dataset=birds&split=train&rows=0-3",
            f"/delete/run/{run.id}",
        ]

    def stop(self) -> None:
        self.page.stop()
        self.client.close()
        self.server.stop()


def axe_script() -> str | None:
    """The rules of accessibility, where they are installed."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        return None
    return (Path(found.origin).parent / "axe.min.js").read_text()


def users_token(root: Path, user: str, role: str) -> str:
    """A new token for a user."""
    command = [sys.executable, "-m", "penult_server", "token", "create", user, "--user", user, "--role", role]
    made = subprocess.run([*command, "--root", str(root)], capture_output=True, text=True, check=True)
    return made.stdout.strip()


def fresh(address: str, token: str) -> penult.Client:
    """A client as soon as the server knows a new token."""
    while True:
        try:
            return penult.connect(address, token=token)
        except penult.Unauthenticated:
            continue
