from collections.abc import Sequence

import torch

from metatune.networks.updates import UpdateRule


def torchs_own(rule: UpdateRule, weights: Sequence[torch.Tensor]) -> torch.optim.Optimizer:
    """What a rule is to do as; its learning rates are to be set before each step."""
    if rule.name == "sgd":
        return torch.optim.SGD(
            weights,
            momentum=rule.momentum,
            nesterov=rule.nesterov,
            weight_decay=rule.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if rule.name == "adam" else torch.optim.AdamW
    betas = (rule.beta1, rule.beta2)
    return kind(weights, betas=betas, weight_decay=rule.weight_decay, fused=True)
