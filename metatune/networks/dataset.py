"""Data sets, ready to train on. Nothing here needs what reads and cleans them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metatune.networks.metafeatures import metafeatures
from metatune.networks.tables import Kind
from metatune.parameters import Vectors
from metatune.task import Task


@dataclass(frozen=True)
class Split:
    """Rows of a data set: `inputs` [n, *shape] in float32; `targets` [n] class numbers in int64,
    or [n, outputs] in float32, standardised."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Dataset:
    """A data set in three splits.

    `shape` is that of one input: (features,) or (channels, height, width). `labels` name the
    classes, or the targets of a regression. A standardised target times `target_scale` plus
    `target_center`, both [outputs], is in its own unit. `report` tells in one line each what was
    dropped or changed.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    target_center: Vectors
    target_scale: Vectors
    split_seed: int
    data_hash: str
    report: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Number of classes, or of targets of a regression."""
        return len(self.labels)

    @property
    def rows(self) -> int:
        """Number of rows in all splits together."""
        return len(self.train) + len(self.validation) + len(self.test)

    def task(self) -> Task:
        """The task of minimising the best `validation_loss`: the validation log loss, or the
        validation mean squared error of standardised targets."""
        what = "classes" if self.kind == "classification" else "target columns"
        return Task(
            self.name,
            metric="validation_loss",
            direction="minimize",
            measure="best",
            metafeatures=metafeatures(
                self.kind,
                self.rows,
                self.train.inputs.flatten(1).numpy(),
                self.train.targets.numpy(),
            ),
            data_hash=self.data_hash,
            description=(
                f"{self.kind}, {self.outputs} {what}, {self.rows} rows, inputs {self.shape}"
            ),
        )
