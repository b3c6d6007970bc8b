"""Many networks of one architecture as one program: a training step, and predictions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from metatune.networks import stacked_layers
from metatune.networks.architectures.layers import Dropout, Shape
from metatune.networks.checkpoints import Tensors, prefixed, under
from metatune.networks.losses import Loss
from metatune.networks.updates import OnlineUpdate, Update, UpdateRule

_logger = logging.getLogger(__name__)

# Names in a state: weights [K, P], how many updates there were [K, 1], and, under these names,
# each buffer [K, ...] and each state of the optimizer [K, P]; see OnlineRate for the last two,
# which are there if any of the K has that.
WEIGHTS, UPDATES, BUFFER, STATE = "weights", "updates", "buffer", "state"
ONLINE_RATES, ONLINE_WEIGHTS = "online/multipliers", "online/previous"


@dataclass
class Batch:
    """What K networks take a step on: inputs and targets [K, batch, ...] and what belongs to it.

    `parameters` [K, m] are the losses', `rates` [K, 1] the learning rates; `uniforms` are what
    dropout looks at, by the names of `Program.sites`, empty where nothing is dropped.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    parameters: torch.Tensor
    rates: torch.Tensor
    uniforms: Tensors


class Program:
    """What K networks like `network` compute, trained by rules like `rule`.

    A state is a dict of tensors, a row for each of the K; see the names above.
    """

    def __init__(self, network: nn.Module, loss: Loss, rule: UpdateRule) -> None:
        self._network, self._loss, self._states = network, loss.function, rule.states
        parameters = dict(network.named_parameters())
        self._shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self._sizes = [parameter.numel() for parameter in parameters.values()]
        self._is_written_out = stacked_layers.is_written_out(network)
        # Where dropout looks for its uniforms, and their shape for one input.
        found = {n: m for n, m in network.named_modules() if isinstance(m, Dropout)}
        self._dropouts = list(found.values())
        self.sites: dict[str, Shape] = {f"{n}.uniforms": m.shape for n, m in found.items()}
        # Where in a state the dropout rates stand.
        self.rates = [f"{BUFFER}/{site.removesuffix('uniforms')}rate" for site in self.sites]
        self._compiled: Callable[..., torch.Tensor] | None = None
        self.compiled_for = 0  # networks at once, if any

    def state(self, network: nn.Module, dtype: torch.dtype) -> Tensors:
        """The state [1, ...] of a network that was not trained yet."""
        weights = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
        buffers = {k: v for k, v in network.named_buffers() if k not in self.sites}
        state = {WEIGHTS: weights, UPDATES: torch.zeros(1, dtype=dtype)}
        state |= prefixed(BUFFER, buffers)
        state |= prefixed(STATE, {name: torch.zeros_like(weights) for name in self._states})
        return {name: tensor[None].clone() for name, tensor in state.items()}

    def named(self, weights: torch.Tensor) -> Tensors:
        """Weights [..., P] by their names, as views of their shapes."""
        parts = torch.split(weights, self._sizes, dim=-1)
        return {
            name: part.view(*part.shape[:-1], *shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def step(self, state: Mapping[str, torch.Tensor], update: Update, batch: Batch) -> torch.Tensor:
        """Train each network on a batch of its own, changing `state` in place; losses [K]."""
        if not self._network.training:
            self._network.train()
        for dropout in self._dropouts:
            dropout.training = bool(batch.uniforms)
        update.prepare(batch.rates, state[UPDATES].add_(1))
        compiles = len(batch.inputs) == self.compiled_for and not isinstance(update, OnlineUpdate)
        if self._compiled is not None and compiles:
            try:
                losses: torch.Tensor = self._compiled(state, update, batch)
            except torch._dynamo.exc.TorchDynamoException as error:  # nothing has run yet
                reason = str(error).partition("\n")[0]
                _logger.warning("populations run without compilation, which failed: %s", reason)
                self.interpret()
            else:
                return losses
        return self._step(state, update, batch)

    def compile(self, count: int) -> bool:
        """Let a step of `count` networks be compiled when it is first taken; False where there is
        no C++ compiler, and for a network that is a loop, of which every step would be compiled,
        which takes minutes."""
        if any(getattr(module, "is_unrolled", False) for module in self._network.modules()):
            return False
        if not _has_compiler(next(self._network.parameters()).device):
            _logger.warning("no C++ compiler was found: populations run without compilation")
            return False
        torch.compiler.reset()  # torch keeps only so many programs, and an earlier one is done
        self._compiled = torch.compile(self._traced_step, dynamic=False, fullgraph=True)
        self.compiled_for = count
        return True

    def interpret(self) -> None:
        """Let no step be compiled."""
        self._compiled, self.compiled_for = None, 0

    @torch.no_grad()
    def predict(self, state: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """Outputs [K, n, outputs] of each network for the same inputs [n, ...]."""
        self._network.eval()
        weights, buffers = state[WEIGHTS], under(BUFFER, state)
        if len(weights) == 1:
            return self._outputs(weights[0], _first(buffers), inputs)[None]
        return self.outputs(weights, buffers, inputs)

    def losses(
        self, weights: torch.Tensor, buffers: Mapping[str, torch.Tensor], batch: Batch
    ) -> torch.Tensor:
        """Losses [K] of each network on a batch of its own."""
        of_step = {**buffers, **batch.uniforms}
        if self._is_written_out:
            tensors = self._tensors(weights, of_step)
            outputs = stacked_layers.outputs(self._network, tensors, batch.inputs)
        else:
            outputs = torch.func.vmap(self._outputs)(weights, of_step, batch.inputs)
        parameters = batch.parameters[:, :, None, None].unbind(1)
        return self._loss(outputs, batch.targets, parameters)

    def outputs(
        self, weights: torch.Tensor, buffers: Mapping[str, torch.Tensor], inputs: torch.Tensor
    ) -> torch.Tensor:
        """Outputs [K, n, outputs] of each network for the same inputs [n, ...]."""
        stacked = torch.func.vmap(self._outputs, in_dims=(0, 0, None))
        outputs: torch.Tensor = stacked(weights, buffers, inputs)
        return outputs

    def bytes_of_member(self, training: Callable[[], object]) -> int:
        """Memory that a network needs in a step, measured: twice what its forward pass keeps for
        the backward pass while `training` runs, and ten copies of its weights."""
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            training()
        return 2 * sum(kept.values()) + 10 * 8 * sum(self._sizes)

    def _step(
        self, state: Mapping[str, torch.Tensor], update: Update, batch: Batch
    ) -> torch.Tensor:
        weights = state[WEIGHTS].detach().requires_grad_()
        losses = self.losses(weights, under(BUFFER, state), batch)
        (gradients,) = torch.autograd.grad(losses.sum(), weights)
        self._update(state, update, gradients)
        return losses.detach()

    def _traced_step(
        self, state: Mapping[str, torch.Tensor], update: Update, batch: Batch
    ) -> torch.Tensor:
        """The same in the form that torch.compile takes whole; not compiled it is slower."""

        def together(weights: torch.Tensor, buffers: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            losses = self.losses(weights, buffers, batch)
            return losses.sum(), losses

        both = torch.func.grad_and_value(together, has_aux=True)
        gradients, (_, losses) = both(state[WEIGHTS], under(BUFFER, state))
        self._update(state, update, gradients)
        found: torch.Tensor = losses
        return found

    def _update(
        self, state: Mapping[str, torch.Tensor], update: Update, gradients: torch.Tensor
    ) -> None:
        update(state[WEIGHTS], gradients, [state[f"{STATE}/{name}"] for name in self._states])

    def _outputs(
        self, weights: torch.Tensor, buffers: Mapping[str, torch.Tensor], inputs: torch.Tensor
    ) -> torch.Tensor:
        tensors = self._tensors(weights, buffers)
        outputs: torch.Tensor = torch.func.functional_call(self._network, tensors, (inputs,))
        return outputs

    def _tensors(self, weights: torch.Tensor, buffers: Mapping[str, torch.Tensor]) -> Tensors:
        return {**self.named(weights), **buffers}


def _first(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: tensor[0] for name, tensor in tensors.items()}


def _has_compiler(device: torch.device) -> bool:
    if device.type != "cpu":
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of its own parts
        # Slow to import, and seldom needed; the first for what it warns of while it is imported.
        from torch._inductor import compile_fx  # noqa: F401
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler
    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False
