"""An exported journal in optuna-dashboard, as a real browser shows it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import needs_browser, open_page
from small_studies import told

from metatune.export.optuna_journal import to_text
from metatune.trial import TrialState

pytestmark = [
    pytest.mark.slow,
    needs_browser,
    pytest.mark.skipif(
        find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed"
    ),
]
_SERVER = """
import sys
from wsgiref.simple_server import make_server
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import wsgi
app = wsgi(JournalStorage(JournalFileBackend(sys.argv[1])))
server = make_server("127.0.0.1", 0, app)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard of ten trials that ended in every way."""
    journal = tmp_path / "journal.log"
    journal.write_text(to_text(*told(list(TrialState) * 2)))
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, journal],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.communicate()


def test_the_dashboard_shows_every_trial_and_says_no_error(dashboard: str) -> None:
    for page, shown in {
        "": ["shop-0"],
        "/dashboard/studies/0": ["Best Trial (number=6)", "0.506", "Study User Attributes"],
        "/dashboard/studies/0/trials": [
            "10 Trials", "Trial 9", "Running", "Complete", "Pruned", "Fail", "past_tasks",
        ],
        "/dashboard/studies/0/analytics": ["Slice", "Contour"],
    }.items():  # fmt: skip
        opened = open_page(dashboard + page, 15_000)
        # On a busy machine Chromium remarks that the network is slow.
        said = [line for line in opened.console if not line.startswith("Slow network")]
        assert said == [], page
        for text in shown:
            assert text in opened.document, (page, text)
