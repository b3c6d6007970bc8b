"""Losses that training minimises, written out so that their parameters may be tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from metatune.networks.data.dataset import Dataset
from metatune.networks.data.tables import Kind
from metatune.networks.learned import NOTHING, Learned
from metatune.networks.own_code import further_numbers, is_own, own_function
from metatune.networks.settings import Settings
from metatune.parameters import Value

Parameters = Sequence[float] | Sequence[torch.Tensor] | torch.Tensor
LossFunction = Callable[[torch.Tensor, torch.Tensor, Parameters], torch.Tensor]

_LOSSES: dict[Kind, tuple[str, ...]] = {
    "classification": ("cross_entropy", "focal", "parametric"),
    "regression": ("mse", "huber"),
}
# Coefficients of the parametric loss: the least and the largest value, and the one that leaves
# cross-entropy as it is.
COEFFICIENTS: dict[str, tuple[float, float, float]] = {
    "label_smoothing": (0.0, 1.0, 0.0),
    "focal_gamma": (0.0, 10.0, 0.0),
    "temperature": (0.1, 10.0, 1.0),
    "poly_1": (-1.0, 10.0, 0.0),
    "poly_2": (-1.0, 10.0, 0.0),
    "class_weighting": (0.0, 1.0, 0.0),
}


@dataclass(frozen=True)
class Loss:
    """A loss: (outputs [n, outputs], targets) -> mean over rows, a scalar.

    `function` takes the loss's parameters as a third argument, and rows of one or of many networks:
    (outputs [..., n, outputs], targets [..., n] or [..., n, outputs], parameters) -> [...], where
    parameters are numbers or tensors [..., 1, 1]. `names` are what settings call them.
    """

    function: LossFunction
    parameters: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of some rows."""
        return self.function(outputs, targets, self.parameters)


def losses_for(kind: Kind) -> tuple[str, ...]:
    """Names of the losses that fit a kind of task."""
    return _LOSSES[kind]


def fitting_losses(choices: Iterable[Value], kind: Kind) -> list[Value]:
    """Those of some choices of `loss` that fit a kind of task, or what would if none does:
    functions of the user's fit any, learned ones classifications."""
    others: set[Value] = {name for of, names in _LOSSES.items() if of != kind for name in names}
    learned = kind == "classification"
    return [
        name
        for name in choices
        if is_own(name) or name in losses_for(kind) or (learned and name not in others)
    ] or list(losses_for(kind))


def loss(settings: Settings, dataset: Dataset, learned: Learned = NOTHING) -> Loss:
    """The loss that `settings` name, one of those learned among them, for a data set.

    Raises ConfigurationError if it does not fit the kind of the data.
    """
    if is_own(settings["loss"]):
        return _own_loss(settings)
    built_in = [name for names in _LOSSES.values() for name in names]
    name = settings.choice("loss", [*built_in, *learned.losses])
    fitting = losses_for(dataset.kind)
    if name in learned.losses and dataset.kind == "classification":
        values = Settings(learned.losses[name], f"learned loss {name!r}")
        found = [values.number(key, low, high) for key, (low, high, _) in COEFFICIENTS.items()]
        values.check_all_read()
        return Loss(parametric(dataset), tuple(found), tuple(COEFFICIENTS))
    if name not in fitting:
        raise settings.error("loss", f"one of {list(fitting)} for a {dataset.kind} task")
    if name == "cross_entropy":
        smoothing = settings.number("label_smoothing", 0.0, 1.0)
        return Loss(cross_entropy, (smoothing,), ("label_smoothing",))
    if name == "huber":
        return Loss(huber, (settings.number("huber_delta", 1e-6),), ("huber_delta",))
    if name == "mse":
        return Loss(mse)
    if name == "focal":
        settings["focal_gamma"]  # which has no default here
    coefficients = tuple(settings.number(k, *v) for k, v in COEFFICIENTS.items())
    return Loss(parametric(dataset), coefficients, tuple(COEFFICIENTS))


def _own_loss(settings: Settings) -> Loss:
    """The loss that a function of the user's computes, see `own_code`."""
    function = own_function(settings, "loss")
    numbers = further_numbers(function, "loss", settings)

    def of_one(
        outputs: torch.Tensor, targets: torch.Tensor, *parameters: float | torch.Tensor
    ) -> torch.Tensor:
        values = dict(zip(numbers, parameters, strict=True))
        return function(outputs, targets, **values)  # type: ignore[no-any-return]

    def of_parameters(
        outputs: torch.Tensor, targets: torch.Tensor, parameters: Parameters
    ) -> torch.Tensor:
        if outputs.dim() == 2:
            return of_one(outputs, targets, *parameters)
        each = [torch.as_tensor(parameter).flatten() for parameter in parameters]
        found: torch.Tensor = torch.func.vmap(of_one)(outputs, targets, *each)
        return found

    return Loss(of_parameters, tuple(numbers.values()), tuple(numbers))


def cross_entropy(
    logits: torch.Tensor, classes: torch.Tensor, parameters: Parameters
) -> torch.Tensor:
    """Cross-entropy of logits [..., n, c] against class numbers [..., n], of whose weight a share,
    its one parameter, is spread over all classes (Szegedy et al. 2016, section 7)."""
    smoothing = parameters[0]
    if not isinstance(smoothing, torch.Tensor):
        return functional.cross_entropy(logits, classes, label_smoothing=smoothing)
    # For many networks five times as fast as log_softmax, whose rows of few classes are not
    # vectorised.
    normalizer = torch.logsumexp(logits, -1, keepdim=True).mean(-2, keepdim=True)
    right = logits.gather(-1, classes[..., None]).mean(-2, keepdim=True)
    of_all = logits.mean((-2, -1), keepdim=True)
    return (normalizer - ((1.0 - smoothing) * right + smoothing * of_all))[..., 0, 0]


def parametric(dataset: Dataset) -> LossFunction:
    """A family of losses around cross-entropy, with the parameters `COEFFICIENTS` in that order.

    With p the softmax of logits / `temperature` at the right class, and s the cross-entropy with
    `label_smoothing`, a row costs (1 - p)^`focal_gamma` s (Lin et al. 2017, eq. 4) +
    `poly_1` (1 - p) + `poly_2` (1 - p)² (Leng et al. 2022, eq. 3). Rows of a class that makes up
    the share q of the training rows weigh q^-`class_weighting`, scaled to a mean of 1.
    """
    counts = torch.bincount(dataset.train.targets, minlength=dataset.outputs)
    shares = counts.clamp(min=1) / len(dataset.train)

    def function(
        logits: torch.Tensor, classes: torch.Tensor, parameters: Parameters
    ) -> torch.Tensor:
        smoothing, gamma, temperature, first, second, weighting = (
            parameters[index] for index in range(len(COEFFICIENTS))
        )
        logits = logits / temperature
        classes = classes[..., None]
        normalizer = torch.logsumexp(logits, -1, keepdim=True)
        right = logits.gather(-1, classes)
        of_all = logits.mean(-1, keepdim=True)
        cost = normalizer - ((1.0 - smoothing) * right + smoothing * of_all)
        # 1 - p, kept from 0, where the slope of a power below 1 is infinite.
        wrong = (-torch.expm1(right - normalizer)).clamp(min=1e-6)
        cost = wrong**gamma * cost + first * wrong + second * wrong**2
        known = shares.to(logits)
        weights = known**-weighting
        weights = weights / (known * weights).sum(-1, keepdim=True)
        return (weights.expand_as(logits).gather(-1, classes) * cost).mean((-2, -1))

    return function


def mse(outputs: torch.Tensor, targets: torch.Tensor, _: Parameters = ()) -> torch.Tensor:
    """Mean squared error of outputs [..., n, outputs]."""
    return ((outputs - targets) ** 2).mean((-2, -1))


def huber(outputs: torch.Tensor, targets: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Mean of r²/2 up to |r| = delta, its one parameter, and of delta (|r| - delta/2) beyond
    (Huber 1964)."""
    delta = parameters[0]
    residual = (outputs - targets).abs()
    inside = residual.clamp(max=delta)  # smaller of |r| and delta
    return (inside * (residual - 0.5 * inside)).mean((-2, -1))
