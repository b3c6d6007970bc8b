"""The experience store: studies, their trials, and who runs them, in a folder or on S3.

    studies/<study>.json                          a sealed record with its task and space
    trials/<task>/<space id>/<id>-<hash>.parquet  one file an append, or merged from several
    models/<space id>/<model id>.safetensors      arrays of a fitted model, beside its sealed record
    leases/<study>/<holder>.json                  who runs the study
    index.json                                    what merged files hold; can be made again
    aliases.toml                                  names that mean the same, if the user says some

Any number of processes on any number of machines may append, read and compact at a time; nothing
is locked and no server runs.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from metatune.errors import DamagedFileError, StoreAddressError, StoreError, StudyError
from metatune.experience import compaction, verification
from metatune.experience.aliases import Aliases, renamed, renamed_space
from metatune.experience.compaction import Compaction
from metatune.experience.files import Files, file_name
from metatune.experience.index import finished, indexed, read_index
from metatune.experience.lease import Lease
from metatune.experience.model_files import Arrays, read_model, read_models, write_model
from metatune.experience.past import PastTask, largest, past_keys
from metatune.experience.reading import read_rows, read_trials
from metatune.experience.records import KEYS, columns_of, to_table
from metatune.experience.sampling import Medians, sample_trials
from metatune.experience.sealed import to_json
from metatune.experience.study_files import (
    Studies,
    study_path,
    trial_folder,
    write_study,
)
from metatune.experience.trial_files import encode
from metatune.experience.verification import Damage
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Trial, TrialState

# What optimizers learn from; tracebacks and folders to resume from are not.
_PAST_FIELDS = ("curve", "value", "finished_index", "cost", "population", "training")


class ExperienceStore:
    """What is known, at `uri`: a folder, `file:///folder` or `s3://bucket/prefix?region=...`.

    Raises StoreAddressError for an address that is none. Nothing is made or asked until something
    is written or read; a store that does not exist yet is empty. What an `append` or `put_study`
    has written is there whole or not at all, and durable when it returns.

    Reads go on without damaged files and warn of them once (ExperienceWarning); where every file
    asked for is of a newer metatune they raise SchemaVersionError. Any other failure of the file
    system is a StoreError, before the first write has worked a StoreAddressError.
    """

    def __init__(self, uri: str | Path) -> None:
        self._files = Files(uri)
        self._studies = Studies(self._files)
        self._folders: dict[str, str] = {}
        self._aliases: Aliases | None = None

    def __repr__(self) -> str:
        return f"ExperienceStore({self.uri!r})"

    @property
    def uri(self) -> str:
        """What opens the same store again, from any working directory."""
        return self._files.uri

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine's file system."""
        return self._files.is_local

    @property
    def filesystem(self) -> fs.FileSystem:
        """The pyarrow file system that the store is in."""
        return self._files.filesystem

    def path(self, *parts: str) -> str:
        """The path of `parts` under the root of the store, inside `filesystem`."""
        return self._files.path(*parts)

    def check_writable(self) -> None:
        """Write a small file and delete it; raises StoreAddressError naming the reason."""
        probe = self.path("studies", f".{uuid4().hex}.tmp")
        try:
            self._files.write(probe, [b"probe"])
            self._files.delete(probe)
        except (StoreError, StoreAddressError) as error:
            raise StoreAddressError(f"store {self.uri!r} is not writable: {error}") from error

    def put_study(self, study: Study) -> None:
        """Create a study, or replace it, as when its budget grows.

        Raises StudyError if it has another task or space than its trials so far.
        """
        folder = self.path(*trial_folder(study))
        try:
            old = self.find_study(study.name)
        except DamagedFileError:
            old = None  # replacing it is the only repair
        if old is not None and self.path(*trial_folder(old)) != folder:
            raise StudyError(
                f"study {study.name!r} is of task {old.task.name!r} and space {old.space.id}, not "
                f"{study.task.name!r} and {study.space.id}; give the new one another name"
            )
        write_study(self._files, study)

    def study(self, name: str) -> Study:
        """The study of that name; raises StudyError naming the nearest if there is none."""
        study = self.find_study(name)
        if study is None:
            names = [known.name for known in self.studies()]
            near = difflib.get_close_matches(name, names) or names[:5]
            known = f"is it one of {near}?" if near else "the store has none yet"
            raise StudyError(f"study {name!r} is unknown in {self.uri}; {known}")
        return study

    def find_study(self, name: str) -> Study | None:
        """The study of that name, or None. Raises DamagedFileError or SchemaVersionError if it is
        there and cannot be read."""
        try:
            return self._studies.read(study_path(self._files, name))
        except FileNotFoundError:
            return None

    def whole(self, name: str) -> tuple[Study, list[Trial]]:
        """The study of that name and its trials by number; where it is a part of a search, all
        parts of that, as a study with the space of its last trial. Raises StudyError if there is
        none of that name."""
        study = self.study(name)
        parts = {name: study}
        if study.part_of:
            parts = {part.name: part for part in self.studies() if part.part_of == study.part_of}
        trials = [trial for part in parts for trial in self.trials(study=part)]
        trials.sort(key=lambda trial: trial.number)
        return (parts[trials[-1].study] if trials else study), trials

    def studies(self) -> list[Study]:
        """Every study, by name."""
        return self._studies.read_all()

    def tasks(self) -> list[Task]:
        """Every task that some study is of, by name; alike ones are given once."""
        tasks = {to_json(s.task.to_dict(), sort_keys=True): s.task for s in self.studies()}
        return [task for _, task in sorted(tasks.items(), key=lambda item: (item[1].name, item[0]))]

    def append(self, trials: Sequence[Trial], check: Callable[[], None] = lambda: None) -> None:
        """Record trials, or later revisions of them; durable when this returns. `check` is called
        before each attempt to write, and may raise.

        The trials of one task and space are recorded all or none. Raises StudyError for a study
        that was never put, and StoreError naming a value that cannot be stored; neither records
        anything.
        """
        groups: dict[str, list[Trial]] = defaultdict(list)
        for trial in trials:
            groups[self._folder(trial.study)].append(trial)
        contents = {folder: encode(to_table(group)) for folder, group in groups.items()}
        for folder, (name, data) in contents.items():
            self._files.write(f"{folder}/{name}", [data], check)

    def _folder(self, study: str) -> str:
        if study not in self._folders:
            found = self.find_study(study)
            if found is None:
                raise StudyError(f"study {study!r} is unknown in {self.uri}; put_study it first")
            self._folders[study] = self.path(*trial_folder(found))
        return self._folders[study]

    def trials(
        self,
        study: str | None = None,
        task: str | None = None,
        states: Collection[TrialState] | None = None,
        columns: Collection[str] | None = None,
    ) -> list[Trial]:
        """The last revision of each trial as recorded, in order of study and number.

        Only those of one `study`, of one `task` by name, and in `states`, where given. `columns`
        names the fields of a Trial that are read, all if None: curve, value, finished_index, cost,
        population, checkpoint, error and training take their default where left out, the others
        are always read. Raises InputError for an unknown one.
        """
        names = columns_of(columns)
        parts = self._parts(study, task)
        if parts is None:
            return []
        wanted = None if states is None else pa.array([str(s) for s in states], pa.string())

        def keep(rows: pa.Table) -> pa.Table:
            return rows if wanted is None else rows.filter(pc.is_in(rows["state"], wanted))

        return read_trials(
            self._files, lambda: self._files.entries(*parts), names, study, keep, stacklevel=3
        )

    def _parts(self, study: str | None, task: str | None) -> tuple[str, ...] | None:
        """The smallest folder with all trials of a study and task; None if there are none."""
        wide = ("trials",) if task is None else ("trials", file_name(task, "task"))
        if study is None:
            return wide
        try:
            found = self.find_study(study)
        except DamagedFileError:
            return wide  # its trials are all there, whatever became of its record
        if found is None or (task is not None and task != found.task.name):
            return None
        return trial_folder(found)

    def aliases(self) -> Aliases:
        """Which names of parameters mean the same: the shipped table and the store's own, as it
        was when first asked for. Raises InputError where the store's own is none."""
        if self._aliases is None:
            self._aliases = Aliases.load(self._files)
        return self._aliases

    def other_names(self, space: SearchSpace, studies: Collection[str]) -> dict[str, str]:
        """Names of parameters in these studies that mean the same as one of `space` that is called
        otherwise, with the name there."""
        aliases = self.aliases()
        found: dict[str, str] = {}
        for study in self.studies():
            if study.name in studies:
                found |= aliases.between(study.space.names, space.names)
        return found

    def cutoff(
        self,
        space: SearchSpace | None = None,
        without: Collection[str] = (),
        aliases: Aliases | None = None,
    ) -> dict[str, int]:
        """How many finished trials each study has, by name; studies with none are left out.

        `space` leaves only studies of spaces that share with it a parameter of the same kind and
        of a name that means the same, by `aliases` or else those of the store.
        """
        folders = names = None
        if space is not None:
            aliases = aliases or self.aliases()
            related = [s for s in self.studies() if _overlap(space, s.space, aliases)]
            folders = {self.path(*trial_folder(study)) for study in related}
            names = {study.name for study in related}
        entries = self._files.entries("trials")
        entries = [e for e in entries if folders is None or e.folder in folders]
        known = indexed(read_index(self._files), entries, self._files)
        rest = {entry.folder for entry in entries if entry.folder not in known}
        rows = read_rows(
            self._files,
            lambda: [e for e in self._files.entries("trials") if e.folder in rest] if rest else [],
            (*KEYS, "finished_index"),
            others=len(known),
            stacklevel=3,
        )
        counts = {study: n for of_folder in known.values() for study, n in of_folder.items()}
        counts |= finished(rows)
        return {
            study: counts[study]
            for study in sorted(counts)
            if study not in without and (names is None or study in names)
        }

    def past_tasks(
        self,
        space: SearchSpace | None = None,
        cutoff: Mapping[str, int] | None = None,
        without: Collection[str] = (),
        most: int | None = None,
        aliases: Aliases | None = None,
        most_tasks: int | None = None,
    ) -> list[PastTask]:
        """What optimizers learn from: finished trials, lower is better, by task and space.

        Trials of one task name, data hash and way to measure in one space make one PastTask, which
        has the task record of its first study by name; past tasks are in order of these. `space`
        leaves only spaces that share with it a parameter of the same kind and of a name that means
        the same, by `aliases` or else those of the store, and gives them the names of `space`;
        `cutoff` leaves only its studies, and of each the trials with a `finished_index` below its
        number; `without` leaves studies out. Errors and checkpoints of trials are not read.

        Of a past task with more than `most` trials, those are read that `sampling.sample_rows`
        chooses. Curves are then not read either. Of more than `most_tasks` past tasks, those are
        read that have most finished trials, more than `most` counting as that many.
        """
        aliases = aliases or self.aliases()
        studies = {
            study.name: study
            for study in self.studies()
            if study.name not in without
            and (cutoff is None or study.name in cutoff)
            and (space is None or _overlap(space, study.space, aliases))
        }
        keys = past_keys(studies.values())
        if most_tasks is not None:
            counts = self.cutoff(space, without, aliases) if cutoff is None else cutoff
            studies = largest(studies, keys, counts, most, most_tasks)
        medians: Medians = {}
        if most is None:
            trials = self._past_trials(studies, cutoff)
        else:
            trials, medians = sample_trials(self._files, studies, keys, cutoff, most)
        groups: dict[tuple[str, ...], list[Trial]] = defaultdict(list)
        for trial in trials:
            groups[keys[trial.study]].append(trial)
        past = []
        widths = {name: len(study.space) for name, study in studies.items()}
        for key, members in sorted(groups.items()):
            first = studies[members[0].study]
            last = max(members, key=lambda trial: (widths[trial.study], trial.number))
            theirs = studies[last.study].space
            inward = tuple(trial.inward(first.task) for trial in members)
            found = PastTask(first.task, theirs, inward, medians.get(key))
            names = {} if space is None else aliases.between(theirs.names, space.names)
            past.append(renamed(found, names))
        return past

    def _past_trials(
        self, studies: Mapping[str, Study], cutoff: Mapping[str, int] | None
    ) -> list[Trial]:
        """All trials of these studies that have ended, below the cutoff of each."""
        folders = {self.path(*trial_folder(study)) for study in studies.values()}

        def keep(rows: pa.Table) -> pa.Table:
            known = pc.is_in(rows["study"], pa.array(studies, pa.string()))
            return rows.filter(pc.and_(known, pc.not_equal(rows["state"], str(TrialState.RUNNING))))

        trials = read_trials(
            self._files,
            lambda: [e for e in self._files.entries("trials") if e.folder in folders],
            columns_of(_PAST_FIELDS),
            None,
            keep,
            stacklevel=4,
        )
        if cutoff is None:
            return trials
        return [t for t in trials if _is_before(t.finished_index, cutoff[t.study])]

    def put_model(
        self, space_id: str, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> str:
        """Keep a model that was fitted for a space; its id, a hash of what it is.

        `record` is plain JSON. Arrays are written first, then the record. Putting the same model
        again changes nothing, and repairs what was damaged. Raises StoreError for what cannot be
        stored.
        """
        return write_model(self._files, space_id, record, arrays)

    def model(self, space_id: str, model: str) -> tuple[dict[str, Any], Arrays]:
        """Record and arrays of a model. Raises StoreError if it is not there, DamagedFileError or
        SchemaVersionError if it cannot be used."""
        return read_model(self._files, space_id, model)

    def models(self, space_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Id and record of every model for a space, in the order of being written."""
        return read_models(self._files, space_id)

    def compact(self, grace_seconds: float = 60.0) -> Compaction:
        """Merge the small files of each task and space into one, as `compaction.compact` does."""
        return compaction.compact(self._files, grace_seconds)

    def verify(self) -> list[Damage]:
        """Every file that is not what was written, as `verification.verify` does."""
        return verification.verify(self._files)

    def lease(
        self, study: str, heartbeat_seconds: float = 10.0, stale_seconds: float = 60.0
    ) -> Lease:
        """The right to run a study, to be entered with `with`: see Lease."""
        return Lease(self._files, study, heartbeat_seconds, stale_seconds)


def _overlap(one: SearchSpace, other: SearchSpace, aliases: Aliases) -> bool:
    """Whether some parameter has a name that means the same, and the same kind, in both."""
    known = renamed_space(other, aliases.between(other.names, one.names)).parameters
    return any(type(p) is type(known.get(name)) for name, p in one.parameters.items())


def _is_before(finished_index: int | None, cutoff: int) -> bool:
    return finished_index is not None and finished_index < cutoff
