"""Relevance: how much each input feature says of the target."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metatune.networks.data.tables import Kind

_MOST_SEEN, _LEAST_SEEN, _MOST_VALUES = 2_000, 200, 1_000_000  # rows, and numbers in them


def relevance(
    kind: Kind, inputs: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """Mutual information of each feature of `inputs` [n, features] with the targets, summed over
    outputs, in nats rounded to nine digits: [features].

    Estimated from nearest neighbours (Kraskov et al. 2004; Ross 2014), in at most 2,000 rows, and
    fewer where there are more than 500 features.
    """
    from sklearn import feature_selection  # slow to import, and seldom needed

    count, features = inputs.shape
    most = min(_MOST_SEEN, max(_LEAST_SEEN, _MOST_VALUES // features))
    step = -(-count // most)
    x, y = inputs[::step].astype(np.float64), targets[::step]
    if kind == "classification":
        found = feature_selection.mutual_info_classif(x, y, random_state=0)
    else:
        of_outputs = [
            feature_selection.mutual_info_regression(x, column, random_state=0) for column in y.T
        ]
        found = np.sum(of_outputs, axis=0)
    rounded: npt.NDArray[np.float64] = np.round(found, 9)
    return rounded
