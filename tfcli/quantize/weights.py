"""A model whose weights are read from the checkpoint when they are needed, and freed after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tfcli.models.folding import Fold
from tfcli.models.loading import load_part
from tfcli.models.model import Model
from tfcli.quantize.plan import Plan


class StreamedWeights:
    """Fills parts of a model on the meta device, in fp32.

    Args:
        model: on the meta device.
        source: the checkpoint.
        plan: where it keeps what.
        device: where parts go.
    """

    def __init__(
        self, model: Model, source: Mapping[str, Tensor], plan: Plan, device: torch.device | str
    ) -> None:
        self.model, self.source, self.plan, self.device = model, source, plan, device

    def fill(self, path: str) -> nn.Module:
        """Give a module and all in it their weights; what has some keeps them. An empty path is
        the model's."""
        module = self.model.get_submodule(path)
        start = f"{path}." if path else ""
        names = [f"{start}{name}" for name, tensor in _tensors(module) if tensor.is_meta]
        self._load(names)
        return module

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Within the block, the backbone has the weights that are in none of its blocks.

        So a forward pass runs up to the first block. Tables stay in the type that they are stored
        in, give their rows in fp32, and are freed after it: they are what is large here. The others
        are kept, as blocks may look at them.
        """
        base, chains = f"{self.model.base()}.", [f"{walk.blocks}." for walk in self.model.walks]
        tables = {
            f"{path}.weight": module
            for path, module in self.model.named_modules()
            if isinstance(module, nn.Embedding)
        }
        names = [
            name
            for name, tensor in _tensors(self.model)
            if name.startswith(base) and tensor.is_meta and not name.startswith(tuple(chains))
        ]
        self._load([name for name in names if name not in tables])
        self._load([name for name in names if name in tables], dtype=None)
        handles = [
            tables[name].register_forward_hook(lambda _, args, rows: rows.float())
            for name in names
            if name in tables
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for name in names:
                if name in tables:
                    free(tables[name])

    @contextmanager
    def head(self) -> Iterator[None]:
        """Within the block, what stands beside the backbone has its weights, in fp32."""
        base = f"{self.model.base()}."
        names = [n for n, t in _tensors(self.model) if t.is_meta and not n.startswith(base)]
        self._load(names)
        try:
            yield
        finally:
            for name in {name.partition(".")[0] for name in names}:
                part = getattr(self.model, name)
                if isinstance(part, nn.Module):
                    free(part)
                else:  # a bias of the logits, which is the model's own buffer
                    setattr(self.model, name, part.to("meta"))

    def stored_dtype(self, name: str) -> torch.dtype:
        """The type in which the checkpoint keeps a parameter."""
        return self.source[self.plan.places[name].name].dtype

    def shares(self, fold: Fold) -> bool:
        """Whether a pair has a parameter that is another's too, or that no checkpoint keeps."""
        tied = {*self.plan.tied, *self.plan.tied.values()}
        names = {f"{name}.weight" for name in (fold.source, *fold.readers)}
        return bool(names & tied) or not names <= self.plan.places.keys()

    def _load(self, names: list[str], dtype: torch.dtype | None = torch.float32) -> None:
        places = {}
        for name in names:
            origin = self.plan.tied.get(name, name)
            if origin in self.plan.places:
                places[name] = self.plan.places[origin]
        load_part(self.model, self.source, names, places, dtype, self.device)


@contextmanager
def with_weights(model: nn.Module, others: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, linears have these weights, by their full names."""
    weights = {name: model.get_submodule(name).get_parameter("weight") for name in others}
    before = {name: weight.data for name, weight in weights.items()}
    try:
        for name, weight in weights.items():
            weight.data = others[name].to(weight.device)
        yield
    finally:
        for name, weight in weights.items():
            weight.data = before[name]


def free(module: nn.Module) -> None:
    """Give the memory of a module's weights back."""
    module.to("meta")


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
