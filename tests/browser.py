"""A real headless browser for tests: Chromium or Chrome, where one is installed.

No driver is needed: Chromium itself writes out the document as it stands once scripts have run,
what they said on the console, and every address that was asked for.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"none of {', '.join(_NAMES)} is installed"
)

_QUIET = (
    "--headless",
    "--no-sandbox",  # it does not start as root otherwise; the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
# [process:thread:date/time:LEVEL:CONSOLE:line] "text", source: address (line)
_CONSOLE = re.compile(
    r'^\[[^\]\n]*:CONSOLE[:(]\d+\)?\] "(.*?)", source: ([^\n]*) \(\d+\)$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Opened:
    """A page after its scripts have run: the document as HTML, what was said on the console
    (errors that nobody caught among it), and the http addresses asked for by the page."""

    document: str
    console: list[str]
    requests: list[str]


def open_page(address: str, milliseconds: int = 5000, dark: bool = False) -> Opened:
    """Open `address` in a new headless browser of 1280 x 800 pixels and let its scripts run for
    so many virtual milliseconds, in which network traffic is waited for and timers are not."""
    assert BROWSER is not None, "mark the test with needs_browser"
    with TemporaryDirectory(prefix="metatune-test-browser-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "requests.json")
        done = subprocess.run(
            [
                BROWSER,
                *_QUIET,
                f"--user-data-dir={folder}/profile",
                f"--log-net-log={log}",
                "--window-size=1280,800",
                *(["--blink-settings=preferredColorScheme=0"] if dark else []),
                f"--virtual-time-budget={milliseconds}",
                "--enable-logging=stderr",
                "--dump-dom",
                address,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        said = [
            text
            for text, source in _CONSOLE.findall(done.stderr)
            if not source.startswith("chrome:")  # pages of the browser's own
        ]
        return Opened(done.stdout, said, _requests(log))


def _requests(log: Path) -> list[str]:
    """Addresses in a log of Chromium's network stack that a page asked for over http; those that
    the browser asks for by itself have no origin as their initiator."""
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    jobs = [event["params"] for event in events if "initiator" in event.get("params", {})]
    asked = {job["url"] for job in jobs if job["initiator"] != "not an origin"}
    return sorted(address for address in asked if address.startswith(("http:", "https:")))
