"""Studies in an Optuna storage: a database or a journal file, which are never written to."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from metatune.errors import DataError, SpaceError
from metatune.experience.choices import held_value
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut, OwnRecord
from metatune.experience.history.optuna_journal import Journal, is_journal
from metatune.experience.history.passwords import hide_password
from metatune.experience.history.runs import as_number, is_whole
from metatune.experience.history.servers import read_only
from metatune.experience.marks import mark_of
from metatune.parameters import Categorical, Float, Integer, Parameter
from metatune.task import Direction, Report
from metatune.trial import TrialState

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.study._frozen import FrozenStudy
    from optuna.trial import FrozenTrial

TOOL = "optuna"
_SERVERS = ("postgresql", "mysql", "mariadb", "oracle", "mssql")
_SQLITE = b"SQLite format 3\x00"
_VERSIONS = ("version_info", "alembic_version")
_TABLES = {"studies", "trials", *_VERSIONS}
_METRIC_NAMES = "study:metric_names"
# Among the user attributes of a study that metatune exported.
_EXPORTED = {"task", "metric", "measure", "space", "optimizer", "pruner"}


def recognizes(address: str) -> bool:
    """Whether `address` is a database URL, a SQLite file with Optuna's tables or a journal."""
    scheme, separator, rest = address.partition("://")
    if separator:
        name = scheme.partition("+")[0].lower()
        path = Path(unquote(rest.removeprefix("/").partition("?")[0]))
        return name in _SERVERS or (name == "sqlite" and _may_be_optuna(path))
    path = Path(address)
    return path.is_file() and (is_journal(path) or (_is_sqlite(path) and _may_be_optuna(path)))


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _may_be_optuna(path: Path) -> bool:
    """Whether a SQLite file has Optuna's tables, or cannot be asked, which `read` then tells."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {"studies", "trials"} <= {name for (name,) in found}
    except sqlite3.Error:
        return True


def read(address: str, metric: str | None = None) -> list[FoundStudy]:
    """The studies of a storage: a database URL, the path of a SQLite file or of a journal.

    Optuna does not name what a study with a single value measures unless it was told to: it is
    `metric` then, `value` by default. Of several metrics one is read, named as Optuna names it
    (`values_0`, ...) where it was not told; without a `metric` such a study is given without
    trials. A trial that violates a constraint is FAILED. Of user attributes only those are read
    that metatune writes when it exports a study.

    Raises DataError for a storage that is not there, cannot be read or has an older schema.
    """
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of choices that are lists, and experimental parts
            if "://" in address or not is_journal(Path(address)):
                return _read_database(address, metric)
            return _read_journal(Path(address), metric)
    finally:
        optuna.logging.set_verbosity(level)


def _read_journal(path: Path, metric: str | None) -> list[FoundStudy]:
    journal = Journal(path)
    storage = journal.storage()
    found = [_study(storage, one, metric, journal.broken) for one in storage.get_all_studies()]
    if not found:
        raise DataError(
            f"Optuna journal {path}: has no study{journal.damage and '; '}{journal.damage}"
        )
    if journal.damage:
        damage = LeftOut(f"the end of {path.name}", journal.damage)
        found[0] = replace(found[0], left_out=(damage, *found[0].left_out))
    return found


def _read_database(address: str, metric: str | None) -> list[FoundStudy]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    found = []
    with _database(address) as storage:
        for study in storage.get_all_studies():
            name = study.study_name
            try:
                found.append(_study(storage, study, metric))
            except (SQLAlchemyError, StorageInternalError) as error:
                lost = LeftOut(f"study {name!r}", f"cannot be read: {_line(error)}")
                found.append(FoundStudy(name, name, TOOL, (), left_out=(lost,)))
    if not found:
        raise DataError(f"Optuna storage {hide_password(address)}: has no study")
    return found


@contextmanager
def _database(address: str) -> Iterator[RDBStorage]:
    """An Optuna database that is open for reading; nothing in it is made, migrated or changed."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    url, options = _read_only(address)
    where = f"Optuna storage {hide_password(address)}"
    try:
        _check_tables(url, options, where)
        storage = _opened(url, options, where)
        try:
            yield storage
        finally:
            storage.engine.dispose()
    except (SQLAlchemyError, StorageInternalError) as error:
        raise DataError(f"{where}: cannot be read: {_line(error)}") from None


def _check_tables(url: str, options: Mapping[str, Any], where: str) -> None:
    """Raise DataError for a database that Optuna would write to on opening it: one that it has not
    made, or that does not say which version did."""
    from sqlalchemy import create_engine, inspect, text

    try:
        engine = create_engine(url, **options)
    except ImportError as error:
        raise DataError(f"{where}: its database driver is not installed: {error}") from None
    try:
        missing = _TABLES - set(inspect(engine).get_table_names())
        if missing:
            raise DataError(
                f"{where}: has no table {sorted(missing)[0]!r}, so is not Optuna's; for MLflow's "
                f"say --from mlflow"
            )
        with engine.connect() as connection:
            for table in _VERSIONS:
                if connection.execute(text(f"SELECT * FROM {table}")).first() is None:
                    raise DataError(f"{where}: does not say which Optuna wrote it")
    finally:
        engine.dispose()


def _opened(url: str, options: dict[str, Any], where: str) -> RDBStorage:
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url, engine_kwargs=options, skip_table_creation=True)
    except RuntimeError as error:  # Optuna's word for a schema of another version
        if "storage upgrade" not in str(error):
            raise DataError(f"{where}: was written by a newer Optuna; update Optuna here") from None
        raise DataError(
            f"{where}: was written by an older Optuna; on a copy of it, run: optuna storage "
            f"upgrade --storage URL"
        ) from None


def _read_only(address: str) -> tuple[str, dict[str, Any]]:
    """A URL and options of SQLAlchemy that open a database for reading, and do not create it."""
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if "://" not in address:
        path = Path(address)
    else:
        try:
            url = make_url(address)
        except (ArgumentError, ValueError) as error:  # the latter for a port
            raise DataError(
                f"Optuna storage {hide_password(address)}: no URL: {_line(error)}"
            ) from None
        backend = url.get_backend_name()
        if backend != "sqlite":
            return address, read_only(backend)
        path = Path((url.database or "").removeprefix("file:").partition("?")[0])
    if not path.is_file():
        raise DataError(f"Optuna storage {address}: there is no file {str(path)!r}")
    if not _is_sqlite(path):
        raise DataError(f"Optuna storage {address}: {path} is no SQLite database")
    query = {"mode": "ro", "uri": "true"}
    # Quoted for SQLite, and because Optuna fills in what stands in braces.
    opened = URL.create("sqlite", database=f"file:{quote(str(path.resolve()))}", query=query)
    return opened.render_as_string(), {}


def _line(error: BaseException) -> str:
    """The first line of what an exception, or what caused it in a database, says."""
    from optuna.exceptions import StorageInternalError

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]


def _study(
    storage: BaseStorage,
    study: FrozenStudy,
    metric: str | None,
    broken: Mapping[int, str] = MappingProxyType({}),
) -> FoundStudy:
    """A study with what is optimized in it; `broken` trials, by Optuna's id, are left out."""
    name, objectives = study.study_name, len(study.directions)
    named = study.system_attrs.get(_METRIC_NAMES)
    if named is None:
        several = [f"values_{index}" for index in range(objectives)]
        named = several if objectives > 1 else [metric or "value"]
    objective = (
        0 if objectives == 1 else named.index(metric) if metric and metric in named else None
    )
    if objective is None:
        return FoundStudy(name, name, TOOL, (), metrics=tuple(named))
    direction: Direction = "maximize" if study.directions[objective].value == 2 else "minimize"
    trials, left_out = _trials(storage, storage.get_study_id_from_name(name))
    mark = mark_of(name, next((t.datetime_start for t in trials if t.number == 0), None))
    was_exported = study.user_attrs.keys() >= _EXPORTED
    parameters, notes = _parameters(trials)
    found = []
    for trial in trials:
        if trial._trial_id in broken:
            left_out.append(LeftOut(f"trial {trial.number}", broken[trial._trial_id]))
        elif trial.state.name == "WAITING":
            left_out.append(LeftOut(f"trial {trial.number}", "has not begun"))
        else:
            own = _exported(name, trial) if was_exported else OwnRecord(trial.number, mark)
            found.append(_trial(trial, objective, own, keep_curve=objectives == 1))
    return FoundStudy(
        key=name,
        name=name,
        tool=TOOL,
        trials=tuple(found),
        metric=named[objective],
        direction=direction,
        metrics=tuple(named),
        parameters=parameters,
        left_out=tuple(left_out),
        notes=notes,
    )


def _trials(storage: BaseStorage, study_id: int) -> tuple[list[FrozenTrial], list[LeftOut]]:
    """The trials of a study by number, and those that cannot be read."""
    try:
        trials = storage.get_all_trials(study_id, deepcopy=False)
        return sorted(trials, key=lambda trial: trial.number), []
    except (ValueError, LookupError, TypeError):
        pass  # one of them is damaged: ask for each
    trials, left_out = [], list[LeftOut]()
    while True:
        number = len(trials) + len(left_out)  # the numbers of a database have no gaps
        try:
            trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
        except KeyError:
            return trials, left_out
        try:
            trials.append(storage.get_trial(trial_id))
        except (ValueError, LookupError, TypeError) as error:
            left_out.append(LeftOut(f"trial {number}", f"cannot be read: {_line(error)}"))


def _exported(study: str, trial: FrozenTrial) -> OwnRecord | None:
    """What a trial of a study that metatune exported says of itself; None for one that was added
    to the study since."""
    number, seconds = trial.user_attrs.get("number"), as_number(trial.user_attrs.get("seconds"))
    if not is_whole(number) or seconds is None:
        return None
    return OwnRecord(number, study=study, seconds=seconds)


def _trial(
    trial: FrozenTrial, objective: int, own: OwnRecord | None, keep_curve: bool
) -> FoundTrial:
    state = TrialState.FAILED if trial.state.name == "FAIL" else TrialState(trial.state.name)
    steps = sorted(trial.intermediate_values.items()) if keep_curve else []
    seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
    value = trial.values[objective] if trial.values is not None else None
    if value is None and steps and state is TrialState.PRUNED:
        value = steps[-1][1]
    error = "failed in Optuna, which does not keep why" if state is TrialState.FAILED else None
    violated = {name: by for name, by in trial.constraints.items() if not by <= 0.0}
    if violated and state.finished and error is None:
        state, error = TrialState.FAILED, f"constraints violated: {violated}"
    return FoundTrial(
        key=str(trial.number),
        config={name: held_value(value) for name, value in trial.params.items()},
        state=state,
        # Optuna keeps no time of a report: what is known is when the trial ended.
        curve=tuple(Report(step, value, seconds) for step, value in steps),
        value=value,
        seconds=seconds,
        error=error,
        own=own,
    )


def _parameters(
    trials: Iterable[FrozenTrial],
) -> tuple[dict[str, Parameter], dict[str, str]]:
    """The parameters that were asked for, and notes on them; of ranges that changed the union."""
    asked: dict[str, dict[str, BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            asked.setdefault(name, {})[repr(distribution)] = distribution
    parameters, notes = {}, {}
    for name, distributions in asked.items():
        try:
            parameter, note = _parameter(list(distributions.values()))
        except SpaceError:
            continue  # never changes, or is too large: found again when it is inferred
        parameters[name] = parameter
        if note:
            notes[name] = note
    return parameters, notes


def _parameter(distributions: Sequence[BaseDistribution]) -> tuple[Parameter, str]:
    """One parameter that covers all `distributions`, and what it does not say of them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    choices = [d for d in distributions if isinstance(d, CategoricalDistribution)]
    floats = [d for d in distributions if isinstance(d, FloatDistribution)]
    integers = [d for d in distributions if isinstance(d, IntDistribution)]
    if choices:
        every = [choice for d in choices for choice in d.choices]
        kept = {repr(held_value(choice)): held_value(choice) for choice in every}
        if len(kept) == 1:
            raise SpaceError("a single choice")
        odd = any(not isinstance(c, str | int | float | None) for c in every)
        return Categorical(tuple(kept.values())), "choices other than plain values are texts" * odd
    ranges = floats or integers
    low, high = min(d.low for d in ranges), max(d.high for d in ranges)
    log = any(d.log for d in ranges)
    found = Float(low, high, log) if floats else Integer(int(low), int(high), log)
    parts = []
    if len({(d.low, d.high) for d in ranges}) > 1:
        parts.append(f"the union of {len(ranges)} ranges")
    steps = sorted({d.step for d in ranges if d.step is not None and (floats or d.step != 1)})
    if steps:
        parts.append(f"in steps of {', '.join(f'{step:g}' for step in steps)}")
    return found, "; ".join(parts)
