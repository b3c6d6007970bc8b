"""Feature selection: only the features that say most of the target reach a network."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from metatune.networks.data.dataset import Dataset
from metatune.networks.data.tokens import TokenShape
from metatune.networks.settings import Settings

SHARE, _MASK = "feature_share", "feature_mask"
_LEAST_SHARE = 1e-3


def select_features(network: nn.Module, settings: Settings, dataset: Dataset) -> None:
    """Let only the share `feature_share` of a network's inputs through, those with the highest
    mutual information with the target (`Dataset.relevance`), at least one; the others become 0,
    which is their mean. Without the setting all reach it, and nothing is computed.

    The mask is a buffer of the network. Raises ConfigurationError for documents.
    """
    if SHARE not in settings:
        return
    share = settings.number(SHARE, _LEAST_SHARE, 1.0)
    if isinstance(dataset.shape, TokenShape):
        raise settings.error(SHARE, "absent for documents, whose inputs are words")
    count = math.prod(dataset.shape)
    mask = torch.ones(count)
    if share < 1.0:
        mask[most_relevant(dataset.relevance, math.ceil(share * count))[1]] = 0.0
    network.register_buffer(_MASK, mask.view(dataset.shape))
    network.register_forward_pre_hook(_masked)


def most_relevant(
    relevance: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The `count` most relevant features and the others, by their numbers; of equals the first."""
    ranked = np.argsort(-relevance, kind="stable")
    return ranked[:count], ranked[count:]


def _masked(network: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    masked: torch.Tensor = inputs[0] * getattr(network, _MASK)
    return masked
