"""A sample of the trials of past tasks, for stores that hold more than can be learned from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metatune.experience.files import Files
from metatune.experience.past import thinned
from metatune.experience.reading import (
    Found,
    checked_if_damaged,
    find_rows,
    holding,
    warn_of,
)
from metatune.experience.records import KEYS, columns_of, to_trials
from metatune.experience.study_files import trial_folder
from metatune.experience.trial_files import no_rows
from metatune.study import Study
from metatune.trial import Trial, TrialState

# What decides which trials are chosen, and what is read of those.
_LIGHT = (*KEYS, "state", "value", "finished_index")
_CHOSEN = tuple(columns_of(("value", "finished_index", "cost")))
# Files of a folder that together have no more bytes are read once, and whole.
_AT_ONCE_BYTES = 4 << 20

Medians = dict[tuple[str, ...], float]
Index = npt.NDArray[np.int64]


def sample_trials(
    files: Files,
    studies: Mapping[str, Study],
    keys: Mapping[str, tuple[str, ...]],
    cutoff: Mapping[str, int] | None,
    most: int,
) -> tuple[list[Trial], Medians]:
    """At most `most` finished trials of each past task and space, and the median of the finite
    values of all its trials, lower is better, where not all are chosen; by `keys`, those of
    `past_keys`.

    Chosen are those that `thinned` keeps of all by value, failed ones last, with a `finished_index`
    below their study's `cutoff`. Folder by folder, a few light columns are read of all trials, and
    configurations of those chosen. Damaged files are left out with one ExperienceWarning.
    """
    by_folder: dict[tuple[str, ...], dict[str, Study]] = defaultdict(dict)
    for name, study in sorted(studies.items()):
        by_folder[trial_folder(study)][name] = study

    def read(check_each: bool) -> tuple[list[Found], list[Trial], Medians]:
        medians: Medians = {}
        found = [
            _sample_folder(_Folder(files, parts, of, check_each), keys, cutoff, most, medians)
            for parts, of in sorted(by_folder.items())
        ]
        rows = pa.concat_tables([no_rows(_CHOSEN), *(of_folder.rows for of_folder in found)])
        return found, to_trials(rows), medians

    found, trials, medians = checked_if_damaged(read)
    errors = [error for of_folder in found for error in of_folder.errors]
    warn_of(errors, sum(of_folder.count for of_folder in found), stacklevel=4)
    return trials, medians


@dataclass(frozen=True)
class _Folder:
    """The files in one folder, the studies wanted of it, and whether their JSON is checked."""

    files: Files
    parts: tuple[str, ...]
    studies: Mapping[str, Study]
    check_each: bool


def _sample_folder(
    folder: _Folder,
    keys: Mapping[str, tuple[str, ...]],
    cutoff: Mapping[str, int] | None,
    most: int,
    medians: Medians,
) -> Found:
    files, check = folder.files, folder.check_each
    entries = partial(files.entries, *folder.parts)
    at_once = check or sum(entry.size for entry in entries()) <= _AT_ONCE_BYTES
    found = find_rows(files, entries, _CHOSEN if at_once else _LIGHT, check_each=check)
    light = holding(found.rows)
    light = light.filter(pa.array(_is_past(light, folder.studies, cutoff)))
    rows = pa.array(_chosen(light, folder.studies, keys, most, medians), pa.int64())
    chosen = light.take(rows)
    if not at_once:
        digests = chosen["digest"].combine_chunks()
        chosen = holding(find_rows(files, entries, _CHOSEN, digests=digests).rows)
    return replace(found, rows=chosen)


def _is_past(
    table: pa.Table, studies: Mapping[str, Study], cutoff: Mapping[str, int] | None
) -> npt.NDArray[np.bool_]:
    """Which trials [n] have ended, in one of the studies, before its cutoff."""
    study = _positions(table, studies)
    is_past = (study >= 0) & pc.not_equal(table["state"], str(TrialState.RUNNING)).to_numpy()
    if cutoff is not None:
        finished = table["finished_index"].fill_null(-1).to_numpy()
        limits = np.asarray([cutoff[name] for name in studies])
        is_past &= (finished >= 0) & (finished < limits[study])
    mask: npt.NDArray[np.bool_] = is_past
    return mask


def _positions(table: pa.Table, studies: Mapping[str, Study]) -> Index:
    """Which of the studies each row [n] is of; -1 for none of them."""
    index = pc.index_in(table["study"], pa.array(studies, pa.string()))
    positions: Index = index.fill_null(-1).to_numpy().astype(np.int64)
    return positions


def _chosen(
    table: pa.Table,
    studies: Mapping[str, Study],
    keys: Mapping[str, tuple[str, ...]],
    most: int,
    medians: Medians,
) -> list[int]:
    """Rows of the trials chosen; medians of what is thinned out are added."""
    study = _positions(table, studies)
    values = _outcomes(table, np.asarray([s.task.flip(1.0) for s in studies.values()])[study])
    own = [keys[name] for name in studies]
    groups = {key: number for number, key in enumerate(dict.fromkeys(own))}
    group = np.asarray([groups[key] for key in own])[study]
    ranked = np.lexsort((table["number"].to_numpy(), study, values, group))
    chosen: list[int] = []
    for key, number in groups.items():
        rows = ranked[group[ranked] == number]
        chosen += rows[thinned(len(rows), most)].tolist()
        finite = values[rows][np.isfinite(values[rows])]
        if len(rows) > most and len(finite):
            medians[key] = float(np.median(finite))
    return chosen


def _outcomes(table: pa.Table, signs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values [n], lower is better, infinite where a trial failed or had no finite one."""
    values = signs * table["value"].fill_null(math.nan).to_numpy()
    failed = pc.equal(table["state"], str(TrialState.FAILED)).to_numpy()
    outcomes: npt.NDArray[np.float64] = np.where(np.isfinite(values) & ~failed, values, np.inf)
    return outcomes
