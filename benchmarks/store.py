"""What a large store costs: reading, appending to and compacting 1,000,000 trials on 1,000 tasks.

All tasks are of one space, so that every one of them is a past task of a new search there, which
reads at its beginning: how many trials each has, which it pins, and the trials that its model is
fitted to, at most 1,000 of each of 64 tasks. Every study knows all before it, as it does where
each search began with what the ones before had left.

The store is what compaction leaves: one file a task, written by the store's own writer, with nine
reports a trial. The digest of a row is drawn, where the product hashes its content, and files are
not synchronised, to save time; then the store is compacted once, which finds nothing to merge and
makes the index. Times are wall times in a process of its own that has imported all it needs; its
peak of resident memory counts the imports.

`--quick` keeps the 1,000,000 trials and leaves out the 10,000,000 and larger merges.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import optuna
import pyarrow as pa
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from results import Row, arguments, finish

from metatune import Categorical, ExperienceStore, Float, Integer, SearchSpace, Study, Task
from metatune.experience.records import SCHEMA
from metatune.experience.sealed import seal
from metatune.experience.study_files import trial_folder
from metatune.experience.trial_files import trial_file_name, write_parquet
from metatune.optimizers.past_surrogate import MOST_TRIALS
from metatune.optimizers.transfer_model import MOST_TASKS
from metatune.orchestration.learning import StoreMemory, known_experience
from metatune.trial import Report, Suggestion, Trial, TrialState

SPACE = SearchSpace(
    {
        "learning_rate": Float(1e-5, 1e-1, log=True),
        "weight_decay": Float(1e-6, 1e-1, log=True),
        "optimizer": Categorical(("sgd", "adamw")),
        "width": Integer(16, 1024, log=True),
        "depth": Integer(1, 8),
        "dropout": Float(0.0, 0.6),
    }
)
REPORTS = 9
APPENDS = 100
PEER_TRIALS = 2000
Told = TypeVar("Told")


def rows(study: str, count: int, rng: np.random.Generator) -> pa.Table:
    """Finished trials of a study, as the store keeps them."""
    lr, wd = (10 ** rng.uniform(low, -1, count) for low in (-5, -6))
    others = rng.integers((16, 1), (1025, 9), (count, 2)), rng.uniform(0.0, 0.6, count)
    drawn = zip(*(column.tolist() for column in (lr, wd, *others)), strict=True)
    configs = [
        f'{{"learning_rate": {a:.12g}, "weight_decay": {b:.12g}, "optimizer": "adamw", '
        f'"width": {width}, "depth": {depth}, "dropout": {c:.12g}}}'
        for a, b, (width, depth), c in drawn
    ]
    values = rng.uniform(0.1, 2.0, (count, REPORTS))
    seconds = np.cumsum(rng.uniform(0.1, 0.2, (count, REPORTS)), axis=1)
    steps = np.tile(np.arange(1, REPORTS + 1), (count, 1))
    whole = np.iinfo(np.int64)
    columns: dict[str, Any] = {
        "study": [study] * count,
        "number": np.arange(count),
        "revision": np.ones(count, np.int64),
        "digest": rng.integers(whole.min, whole.max, count),
        "state": ["COMPLETE"] * count,
        "seed": rng.integers(0, 2**32, count),
        "config": configs,
        "optimizer": ["transfer"] * count,
        "tasks": ["{}"] * count,
        "predicted": values[:, 0],
        "uncertainty": values[:, 1],
        "guarded": np.zeros(count, bool),
        "curve_step": _lists(steps, pa.int64()),
        "curve_value": _lists(values, pa.float64()),
        "curve_seconds": _lists(seconds, pa.float64()),
        "value": values[:, -1],
        "finished_index": np.arange(count),
        "cost": seconds[:, -1],
        "training": ["{}"] * count,
    }
    arrays = [pa.array(columns.get(f.name, [None] * count), f.type) for f in SCHEMA]
    return pa.table(arrays, schema=SCHEMA)


def _lists(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    offsets = pa.array(np.arange(0, values.size + 1, values.shape[1]), pa.int32())
    field = pa.field("element", kind)
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), kind), pa.list_(field))


def study_of(index: int, trials: int) -> Study:
    """The study of one task, which knows all before it."""
    known = {f"study-{before:05d}": trials for before in range(index)}
    task = Task(f"task-{index:05d}", metafeatures={"rows": float(index)})
    return Study(f"study-{index:05d}", task, SPACE, index, trials, "transfer", experience=known)


def make_tasks(root: str, indices: range, trials: int, files: int) -> None:
    """Write the studies and trials of some tasks, in so many files each."""
    store = ExperienceStore(root)
    for index in indices:
        study = study_of(index, trials)
        record = Path(store.path("studies", f"{study.name}.json"))
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(seal(study.to_dict()))
        folder = Path(store.path(*trial_folder(study)))
        folder.mkdir(parents=True)
        table = rows(study.name, trials, np.random.default_rng(index))
        for part in range(files):
            piece = table.slice(part * trials // files, trials // files)
            sink = pa.BufferOutputStream()
            write_parquet(sink, [piece], compression="zstd")
            data = sink.getvalue()
            name = trial_file_name(hashlib.sha256(data).hexdigest())
            (folder / name).write_bytes(data)


def make(root: Path, tasks: int, trials: int, files: int = 1) -> None:
    """A store of so many tasks with so many trials each."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        halves = (range(0, tasks, 2), range(1, tasks, 2))
        list(pool.map(make_tasks, [str(root)] * 2, halves, [trials] * 2, [files] * 2))


def _measured(work: Callable[..., Told], given: tuple[Any, ...]) -> tuple[Told, float]:
    told = work(*given)
    # What getrusage tells counts the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    return told, int(status.partition("VmHWM:")[2].split()[0]) / 1024


def alone(work: Callable[..., Told], *given: Any) -> tuple[Told, float]:
    """What `work` gives in a process of its own, and the most memory that had, in MiB."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, work, given).result()


def read(root: str) -> tuple[float, float]:
    """Seconds, of the clock and of processors, in which a new search has read what it learns
    from."""
    began, worked = time.perf_counter(), time.process_time()
    store = ExperienceStore(root)
    experience = known_experience(store, SPACE)
    past = StoreMemory(store, SPACE, experience).sample()
    seconds = time.perf_counter() - began, time.process_time() - worked
    if min(len(past), MOST_TASKS) != MOST_TASKS or any(len(p.trials) > MOST_TRIALS for p in past):
        raise RuntimeError(f"{len(past)} past tasks were read")
    return seconds


def compact(root: str, grace_seconds: float) -> float:
    """Seconds of a compaction."""
    began = time.perf_counter()
    ExperienceStore(root).compact(grace_seconds)
    return time.perf_counter() - began


def trial(study: str, number: int) -> Trial:
    """A finished trial with a curve."""
    curve = tuple(Report(step, 1.0 / step, float(step)) for step in range(1, REPORTS + 1))
    config = SPACE.build(lambda _, parameter: parameter.from_unit(0.5))
    return Trial(
        study,
        number,
        Suggestion(config, "random"),
        seed=number,
        state=TrialState.COMPLETE,
        curve=curve,
        value=curve[-1].value,
        finished_index=number,
        cost=curve[-1].seconds,
    )


def append(root: str, study: str) -> tuple[float, float, float]:
    """Median and 95th percentile of the milliseconds of an append, and how many operations of the
    file system each takes."""
    calls = ("open", "os.scandir", "os.listdir", "os.rename", "os.mkdir", "os.remove")
    counted = [0]

    def count(event: str, _: Any) -> None:
        counted[0] += event in calls

    store = ExperienceStore(root)
    store.append([trial(study, 10**7)])
    sys.addaudithook(count)
    before, times = counted[0], []
    for number in range(APPENDS):
        began = time.perf_counter()
        store.append([trial(study, 10**7 + 1 + number)])
        times.append(1000 * (time.perf_counter() - began))
    operations = (counted[0] - before) / APPENDS
    return statistics.median(times), float(np.quantile(times, 0.95)), operations


def appends(folder: Path, large: Path) -> list[Row]:
    """Rows of appending to stores of three sizes, in turns of `APPENDS`."""
    stores = {"0 trials": folder / "empty", "10,000 trials": folder / "small"}
    make(stores["10,000 trials"], 10, 1000)
    ExperienceStore(stores["0 trials"]).put_study(study_of(0, 0))
    stores["1,000,000 trials"] = large
    found = {size: alone(append, str(at), "study-00000")[0] for size, at in stores.items()}
    empty = found["0 trials"]
    return [
        Row(f"append to {size}", metric, figures[index], "append to 0 trials", empty[index])
        for size, figures in found.items()
        for index, metric in enumerate(("median_ms", "p95_ms", "operations"))
    ]


def large_reads(case: str, root: Path, most_seconds: float) -> list[Row]:
    """Rows of what a new search reads from a store."""
    (seconds, worked), memory = alone(read, str(root))
    return [
        Row(case, "seconds", seconds, "bar", most_seconds),
        Row(case, "processor_seconds", worked, "bar", most_seconds),
        Row(case, "peak_mib", memory, "bar", 1024.0),
    ]


def compactions(folder: Path, large: Path, trials: int, first: tuple[float, float]) -> list[Row]:
    """Rows of compacting the large store again, and a folder of one task in many files."""
    seconds, memory = alone(compact, str(large), 0.0)
    one = folder / "one-task"
    alone(make_tasks, str(one), range(1), trials, 100)
    merged = alone(compact, str(one), 0.0)
    case = f"compact {trials:,} trials of one task in 100 files"
    new = f"compact 1,000,000 trials, {APPENDS + 1} files new"
    return [
        Row(new, "seconds", seconds, "the first compaction", first[0]),
        Row(new, "peak_mib", memory, "bar", 1024.0),
        Row(case, "seconds", merged[0], "the first compaction", first[0]),
        Row(case, "peak_mib", merged[1], "bar", 1024.0),
    ]


def optuna_read(file: str) -> float:
    """Seconds in which Optuna has read a study from a journal."""
    began = time.perf_counter()
    storage = JournalStorage(JournalFileBackend(file))
    found = len(optuna.load_study(study_name="s", storage=storage).trials)
    if found != PEER_TRIALS:
        raise RuntimeError(f"Optuna read {found} trials")
    return time.perf_counter() - began


def study_read(root: str) -> float:
    """Seconds in which the store has read a study with its curves."""
    began = time.perf_counter()
    found = len(ExperienceStore(root).trials(study="study-00000"))
    if found != PEER_TRIALS:
        raise RuntimeError(f"{found} trials were read")
    return time.perf_counter() - began


def peer(folder: Path) -> list[Row]:
    """The row of reading one study, here and in Optuna's journal."""
    root, journal = folder / "peer", str(folder / "journal.log")
    make_tasks(str(root), range(1), PEER_TRIALS, 1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="s", storage=JournalStorage(JournalFileBackend(journal)))
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={"x": 0.5},
                distributions={"x": optuna.distributions.FloatDistribution(0.0, 1.0)},
                intermediate_values={step: 1.0 / step for step in range(1, REPORTS + 1)},
                value=1.0,
            )
            for _ in range(PEER_TRIALS)
        ]
    )
    case = f"read one study of {PEER_TRIALS:,} trials"
    ours, theirs = alone(study_read, str(root))[0], alone(optuna_read, journal)[0]
    return [Row(case, "seconds", ours, "Optuna, journal file", theirs)]


def main() -> None:
    """Print the table."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = folder / "large"
        make(large, 1000, 1000)
        first = alone(compact, str(large), 0.0)
        table = large_reads("read for a search, 1,000,000 trials, 1,000 tasks", large, 2.0)
        table += appends(folder, large)
        table += compactions(folder, large, 100_000 if options.quick else 1_000_000, first)
        case = "compact 1,000,000 trials for the first time"
        table += [Row(case, "peak_mib", first[1], "bar", 1024.0), *peer(folder)]
        if not options.quick:
            shutil.rmtree(large)
            make(large, 1000, 10_000)
            alone(compact, str(large), 0.0)
            table += large_reads("read for a search, 10,000,000 trials, 1,000 tasks", large, 20.0)
    finish(table, "the experience store", options.json)


if __name__ == "__main__":
    main()
