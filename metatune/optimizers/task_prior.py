"""A prior over functions, learned from past tasks: the task-basis Gaussian process.

A new task's scaled values f are taken to be drawn from a Gaussian process whose mean is the
average of the past tasks' surrogates, gbar = sum_t p_t g_t, and whose covariance is

    slope gbar gbar' + spread sum_t p_t (g_t - gbar)(g_t - gbar)' + own Matern52 + noise I:

the new task may be more or less like the average, like some past tasks more than others, and have
something of its own. What is measured is y = offset + f / rate, with both unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from metatune.optimizers.gaussian_process import JITTER, matern52
from metatune.parameters import Vectors

_SIZES = (6, 12, 25, 50)
_SETS = 3
_STEPS = 60
_RATE = 0.1
# The best fifth of a task's trials are drawn thrice as often.
_TOP, _TOP_WEIGHT = 0.2, 3.0
_CENTRE = (-1.3, -0.3, -2.3, -4.5)
_SCALE = float(np.log(0.7))


@dataclass(frozen=True)
class TaskPrior:
    """Variances of the four parts, and length-scales [d] of what a task has of its own."""

    slope: float
    spread: float
    own: float
    noise: float
    scales: Vectors

    @classmethod
    def unlearned(cls, dimensions: int) -> TaskPrior:
        """What is typical: for a single past task, from which nothing can be held out."""
        return cls.of(np.exp([*_CENTRE, *[_SCALE] * dimensions]))

    @classmethod
    def of(cls, numbers: Vectors) -> TaskPrior:
        """From its numbers [4 + d] in one vector."""
        slope, spread, own, noise = numbers[:4].tolist()
        return cls(slope, spread, own, noise, numbers[4:])

    def covariance(self, a: Seen, b: Seen) -> Vectors:
        """Covariances [n, m] of f, without noise, at n and m configurations."""
        covariance: Vectors = self.slope * np.outer(a.mean, b.mean)
        covariance += self.spread * (a.deviations @ b.deviations.T)
        covariance += self.own * matern52(a.points / self.scales, b.points / self.scales)
        return covariance

    def variance(self, a: Seen) -> Vectors:
        """Variances [n] of f, without noise."""
        deviations: Vectors = (a.deviations**2).sum(1)
        return self.slope * a.mean**2 + self.spread * deviations + self.own


@dataclass(frozen=True)
class Seen:
    """Configurations as the prior sees them: the mean [n] of the past tasks' surrogates, their
    weighted deviations from it [n, T], features [n, d], and whether they are novel [n]: 1 where
    others, but not they, were measured on past tasks."""

    mean: Vectors
    deviations: Vectors
    points: Vectors
    novel: Vectors

    @classmethod
    def of(
        cls, values: Vectors, points: Vectors, weights: Vectors, novel: Vectors | None = None
    ) -> Seen:
        """From the surrogates' values [T, n] and the tasks' weights [T], which sum to 1."""
        columns = np.ascontiguousarray(values.T)
        mean = (columns * weights).sum(axis=1)
        deviations = (columns - mean[:, None]) * np.sqrt(weights)
        return cls(mean, deviations, points, np.zeros(len(mean)) if novel is None else novel)

    def rows(self, index: slice | list[int] | npt.NDArray[np.bool_]) -> Seen:
        """Some of the configurations."""
        parts = (self.mean, self.deviations, self.points, self.novel)
        return Seen(*(part[index] for part in parts))

    @classmethod
    def joined(cls, parts: Sequence[Seen]) -> Seen:
        """All configurations of several."""
        return cls(
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.deviations for part in parts]),
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.novel for part in parts]),
        )


def learn_prior(
    tasks: Sequence[tuple[Vectors, Vectors, Vectors]],
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> TaskPrior:
    """The prior under which each past task is most probable given the others.

    `tasks` holds, for each task that is left out in turn, the values [T-1, n] of the others'
    surrogates at its n trials, the features [n, d] of these and their labels [n]. Maximised is
    the evidence of sets of 6 to 50 trials, summed over sizes and averaged over tasks; the best
    fifth of the trials is drawn thrice as often. The rate is known, for labels are scaled: were it
    found from each set, variances would be without measure, and early proposals far from good.
    """
    rng = np.random.default_rng(seed)
    drawn = [_batch(tasks, size, rng) for size in _SIZES for _ in range(_SETS)]
    batches = [batch for batch in drawn if batch is not None]
    dimensions = tasks[0][1].shape[1]
    centre = torch.tensor([*_CENTRE, *[_SCALE] * dimensions], dtype=torch.float64)
    at = centre.clone().requires_grad_()
    adam = torch.optim.Adam([at], _RATE)
    for step in range(_STEPS):
        adam.zero_grad()
        deviation = (at - centre) / torch.tensor([2.0] * 4 + [1.0] * dimensions)
        loss = 0.5 * (deviation**2).sum()
        for batch in batches:
            loss = loss + _negative_log_evidence(at, *batch).mean() * (2.0 / _SETS)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        progress(step + 1, _STEPS)
    return TaskPrior.of(np.exp(at.detach().numpy()))


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _batch(
    tasks: Sequence[tuple[Vectors, Vectors, Vectors]], size: int, rng: np.random.Generator
) -> Batch | None:
    """One set of `size` trials of every task that has as many, or of all that each has if none
    does: mean [B, n], deviations [B, n, T-1], points [B, n, d], labels [B, n]. Sets of equal
    labels are left out; None where none is left."""
    enough = [task for task in tasks if len(task[2]) >= size] or tasks
    size = min(size, *(len(labels) for _, _, labels in enough))
    sets = []
    for values, points, labels in enough:
        odds = np.where(labels <= np.quantile(labels, _TOP), _TOP_WEIGHT, 1.0)
        chosen = rng.choice(len(labels), size, replace=False, p=odds / odds.sum())
        weights = np.full(len(values), 1.0 / len(values))
        seen = Seen.of(values[:, chosen], points[chosen], weights)
        if np.ptp(labels[chosen]) > 0.0:
            sets.append((seen.mean, seen.deviations, seen.points, labels[chosen]))
    if not sets:
        return None
    mean, deviations, places, drawn = (
        torch.tensor(np.stack(part)) for part in zip(*sets, strict=True)
    )
    return mean, deviations, places, drawn


def _negative_log_evidence(
    at: torch.Tensor,
    mean: torch.Tensor,
    deviations: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Of each set [B], with a flat prior on the offset."""
    count = labels.shape[1]
    slope, spread, own, noise = at[:4].exp()
    places = points / at[4:].exp()
    distance = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist") * 5.0**0.5
    covariance = (
        slope * mean[:, :, None] * mean[:, None, :]
        + spread * deviations @ deviations.transpose(1, 2)
        + own * (1.0 + distance + distance**2 / 3.0) * torch.exp(-distance)
        + (noise + JITTER) * torch.eye(count, dtype=torch.float64)
    )
    root = torch.linalg.cholesky(covariance)
    right = torch.stack([labels - mean, torch.ones_like(labels)], 2)
    rest, one = torch.linalg.solve_triangular(root, right, upper=False).unbind(2)
    ones = (one * one).sum(1, keepdim=True)
    rest = rest - (rest * one).sum(1, keepdim=True) / ones * one
    determinant = root.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * ones[:, 0].log()
    evidence: torch.Tensor = determinant + 0.5 * (rest * rest).sum(1)
    return evidence
