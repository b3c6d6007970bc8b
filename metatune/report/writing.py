"""Writing the report of a study."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from metatune.errors import InputError
from metatune.experience.store import ExperienceStore
from metatune.optimizers.threads import one_thread
from metatune.report.cost import cost
from metatune.report.curves import curves
from metatune.report.estimates import estimate, read_model
from metatune.report.experience import experience
from metatune.report.failures import failures
from metatune.report.known import Known, read_known
from metatune.report.listing import listing
from metatune.report.markup import Section
from metatune.report.overview import overview
from metatune.report.page import render
from metatune.report.parameters import parameters
from metatune.report.progress import progress

Tell = Callable[[str], None]


def report(store: ExperienceStore, study: str, tell: Tell = lambda what: None) -> str:
    """The report of a study as one self-contained HTML page, the same for the same trials.

    `tell` is told what is being done. Raises StudyError for an unknown study.
    """
    tell("reading")
    known = read_known(store, study)
    with one_thread():
        return _page(store, known, tell)


def write_report(
    store: ExperienceStore, study: str, path: Path | str, tell: Tell = lambda what: None
) -> Path:
    """Write the report of a study to `path`, which it gives back; see `report`.

    Raises StudyError for an unknown study and InputError where `path` cannot be written.
    """
    page, path = report(store, study, tell), Path(path)
    try:
        path.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _page(store: ExperienceStore, known: Known, tell: Tell) -> str:
    sections: list[Section] = overview(known)
    if known.trials:
        tell("estimating random search and a search without memory")
        estimates = estimate(known, read_model(store, known))
        sections.append(progress(known, estimates))
        tell("drawing")
        sections += [curves(known), parameters(known), experience(known)]
        sections += [failures(known), cost(known), listing(known)]
    task = known.study.task
    return render(
        f"Study {known.study.name}",
        f"task {task.name}: {task.direction} {task.metric}",
        sections,
        f"Written by metatune {version('metatune')}. The page has all it needs in itself.",
    )
