"""Logistic regression, the smallest network: one linear layer."""

from __future__ import annotations

import math

from torch import nn

from metatune.networks.architectures.layers import Shape, linear, placed
from metatune.networks.settings import Settings


def logistic(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A linear layer from the features to a logit for each class.

    For two classes that is binary logistic regression, whose one logit is the difference of the
    two; for more, softmax regression.
    """
    del settings  # there is nothing to choose
    return nn.Sequential(nn.Flatten(), placed(linear(math.prod(shape), outputs), "input"))
