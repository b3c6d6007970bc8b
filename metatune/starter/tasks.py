"""The tasks of the starter experience: parts of the data sets of scikit-learn, and generated ones.

A task is called `source/part`: two tasks of one source are not independent of each other, so that
whoever holds one out has to hold out all of its source.
"""

from __future__ import annotations

from dataclasses import dataclass

from metatune.networks.data.loading import Dataset, prepare
from metatune.networks.data.reading import read
from metatune.networks.data.tables import Table
from metatune.starter import tables
from metatune.starter.generated import GENERATED
from metatune.starter.tables import Change


@dataclass(frozen=True)
class StarterTask:
    """A data set made from `source`: a built-in one, or the name of a generator.

    `what` says in words how, and `changes` are applied in turn.
    """

    source: str
    part: str
    what: str
    changes: tuple[Change, ...] = ()

    @property
    def name(self) -> str:
        """Source and part."""
        return f"{self.source}/{self.part}"

    @property
    def description(self) -> str:
        """From what it is derived, in words."""
        if self.is_generated:
            return f"generated: {self.what}"
        return f"derived from {self.source}: {self.what}"

    @property
    def is_generated(self) -> bool:
        """Whether it is drawn from a formula."""
        return self.source in GENERATED

    def table(self) -> Table:
        """Its table."""
        table = GENERATED[self.source][1]() if self.is_generated else read(self.source)
        for change in self.changes:
            table = change(table)
        return table

    def dataset(self) -> Dataset:
        """Its data set, ready to train on."""
        return prepare(self.table(), self.name)


def _whole(source: str) -> StarterTask:
    what = GENERATED[source][0] if source in GENERATED else "all of it"
    return StarterTask(source, "all", what)


_IMAGES = (
    _whole("digits"),
    StarterTask("digits", "classes-0-4", "digits 0 to 4", (tables.classes(*range(5)),)),
    StarterTask("digits", "parity", "even or odd", (tables.groups([0, 1] * 5),)),
    StarterTask("digits", "rows-400", "400 rows", (tables.rows(400, 1),)),
    StarterTask("digits", "noisy", "600 rows, noisy pixels", (
        tables.rows(600, 2), tables.noisy(0.8, 3))),
    StarterTask("digits", "top-half", "400 rows, upper half of the images", (
        tables.rows(400, 4), tables.top_half())),
    _whole("gratings"),
    _whole("spots"),
)  # fmt: skip

_TABLES = (
    _whole("iris"),
    StarterTask("iris", "petals", "the two petal columns", (tables.columns(2, 3),)),
    StarterTask("iris", "classes-1-2", "versicolor and virginica", (tables.classes(1, 2),)),
    StarterTask("iris", "useless", "with 6 columns of noise", (tables.useless_columns(6, 5),)),
    _whole("wine"),
    StarterTask("wine", "columns-0-5", "the first 6 columns", (tables.columns(*range(6)),)),
    StarterTask("wine", "classes-0-1", "classes 0 and 1", (tables.classes(0, 1),)),
    StarterTask("wine", "rows-90", "90 rows", (tables.rows(90, 6),)),
    StarterTask("wine", "noisy", "noise on each column", (tables.noisy(1.0, 7),)),
    _whole("breast_cancer"),
    StarterTask("breast_cancer", "means", "the 10 mean columns", (tables.columns(*range(10)),)),
    StarterTask("breast_cancer", "errors", "the 10 columns of standard errors", (
        tables.columns(*range(10, 20)),)),
    StarterTask("breast_cancer", "rows-150", "150 rows", (tables.rows(150, 8),)),
    StarterTask("breast_cancer", "wrong-labels", "a tenth of the labels wrong", (
        tables.wrong_labels(0.1, 9),)),
    StarterTask("digits", "classes-5-9", "digits 5 to 9", (tables.classes(*range(5, 10)),)),
    _whole("diabetes"),
    StarterTask("diabetes", "body", "age, sex, body mass index and blood pressure", (
        tables.columns(0, 1, 2, 3),)),
    StarterTask("diabetes", "serum", "the 6 serum columns", (tables.columns(*range(4, 10)),)),
    StarterTask("diabetes", "rows-150", "150 rows", (tables.rows(150, 10),)),
    StarterTask("diabetes", "above-median", "whether the target is above its median", (
        tables.above_median(),)),
    _whole("linnerud"),
    StarterTask("linnerud", "weight", "the weight alone", (tables.target("Weight"),)),
    StarterTask("linnerud", "waist", "the waist alone", (tables.target("Waist"),)),
    *(_whole(source) for source in GENERATED if source not in ("gratings", "spots")),
)  # fmt: skip

_SMALL_IMAGES = tuple(task for task in _IMAGES if task.part != "parity")

TASKS: dict[str, tuple[StarterTask, ...]] = {"mlp": (*_TABLES, *_IMAGES), "cnn": _SMALL_IMAGES}
