"""Data sets, ready to train on. Nothing here needs what reads and cleans them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from metatune.networks.data.metafeatures import metafeatures
from metatune.networks.data.relevance import relevance
from metatune.networks.data.tables import Kind
from metatune.networks.data.task_metric import LOSS, direction_of
from metatune.networks.data.tokens import word_shares
from metatune.parameters import Vectors
from metatune.task import Task


@dataclass(frozen=True)
class Split:
    """Rows of a data set: `inputs` [n, *shape] in float32, which token ids are too; `targets` [n]
    class numbers in int64, or [n, outputs] in float32, standardised."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Dataset:
    """A data set in three splits.

    `shape` is that of one input: (features,), (channels, length), (channels, height, width), or
    a TokenShape, where `words` are what token ids from `tokens.FIRST` on stand for. `labels` name
    the classes, or the targets of a regression. A standardised target times `target_scale` plus
    `target_center`, both [outputs], is in its own unit. `report` tells in one line each what was
    dropped or changed. `metric` is what the task is measured by, as in `task_metric`.
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
    words: tuple[str, ...] = ()
    metric: str = LOSS

    @property
    def outputs(self) -> int:
        """Number of classes, or of targets of a regression."""
        return len(self.labels)

    @property
    def rows(self) -> int:
        """Number of rows in all splits together."""
        return len(self.train) + len(self.validation) + len(self.test)

    @cached_property
    def relevance(self) -> npt.NDArray[np.float64]:
        """Mutual information of each input feature with the target in the training rows:
        [features], see `relevance`."""
        inputs, targets = self.train.inputs.flatten(1), self.train.targets
        return relevance(self.kind, inputs.numpy(), targets.numpy())

    def task(self) -> Task:
        """The task of the best `metric`; the lowest `validation_loss`, unless another was asked
        for: the validation log loss, or the validation mean squared error of standardised
        targets."""
        what = "classes" if self.kind == "classification" else "target columns"
        return Task(
            self.name,
            metric=self.metric,
            direction=direction_of(self.metric),
            measure="best",
            metafeatures=metafeatures(
                self.kind, self.rows, self._features(), self.train.targets.numpy()
            ),
            data_hash=self.data_hash,
            description=(
                f"{self.kind}, {self.outputs} {what}, {self.rows} rows, inputs {self.shape}"
            ),
        )

    def _features(self) -> npt.NDArray[np.float32]:
        """Training inputs [n, features] as distances and linear models can take them."""
        inputs: npt.NDArray[np.float32] = self.train.inputs.flatten(1).numpy()
        return word_shares(inputs) if self.words else inputs
