"""Bags of embeddings (Joulin et al. 2017, fastText; with hidden layers Iyyer et al. 2015, deep
averaging networks)."""

from __future__ import annotations

import torch
from torch import nn

from metatune.networks.architectures.layers import ACTIVATIONS, Dropout, Shape, linear, placed
from metatune.networks.architectures.sequences import Lookup, check_documents, mean_of_present
from metatune.networks.data.tokens import PADDING
from metatune.networks.settings import Settings


def bag_of_embeddings(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """The mean of the vectors, of `width` features, of a document's words, then `depth` linear
    layers, the last of which is the output: with one it is a linear model of the mean. Dropout is
    after the mean and after each hidden layer, of `width` units too.

    Raises ConfigurationError for inputs that are not documents.
    """
    vocabulary = check_documents(settings, shape)
    depth, width = settings.whole("depth"), settings.whole("width")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    rate = settings.number("dropout", 0.0, 0.99)
    bag = placed(_Bag(vocabulary, width), "input")
    layers: list[nn.Module] = [bag, Dropout(rate, (width,))]
    for index in range(depth - 1):
        hidden = placed(linear(width, width), f"hidden.{index}")
        layers += [hidden, activation(), Dropout(rate, (width,))]
    layers.append(placed(linear(width, outputs), "output"))
    return nn.Sequential(*layers)


class _Bag(nn.Module):
    """The mean vector of the words of documents, token ids [batch, tokens]: [batch, width]."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.words = Lookup(vocabulary, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return mean_of_present(self.words(ids), ids != PADDING)
