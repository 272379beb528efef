"""tfcli's own side."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.benchmark.sides.side import TorchSide
from tfcli.benchmark.task import Task
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.families import load_family_file
from tfcli.generation.caches import make_cache
from tfcli.generation.step import plain_step
from tfcli.models.cache import Cache
from tfcli.models.caches.fixed import FixedStore
from tfcli.models.caches.growing import GrowingStore
from tfcli.models.caches.stores import Store
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.model import Model
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready


def _filled(store: Store) -> int:
    """Bytes of a store without room that is left for positions to come."""
    if not isinstance(store, GrowingStore | FixedStore):
        return store.nbytes
    return sum(x.nbytes * min(store.kept, x.shape[2]) // x.shape[2] for x in store.tensors())


class OwnSide(TorchSide):
    """A model of tfcli, loaded as `generate` loads it."""

    model: Model

    def __init__(self, task: Task) -> None:
        if task.family_file is not None:
            load_family_file(task.family_file)
        self.model = load_ready(
            load_in(open_model(task.model), task.load_in, Console.silent()),
            Console.silent(),
            dtype=task.dtype,
            device=torch.device(task.device),
            attention=task.attention,
            keep_packed=task.load_in is not None,
        )
        self.kind = task.cache
        self.vocabulary = self.model.config.text.vocab_size
        packed = any(isinstance(m, QuantizedLinear | KernelLinear) for m in self.model.modules())
        self.unpacked = self.model.config.quantization is not None and not packed

    def make_cache(self, length: int) -> Cache:
        """A cache of the kind that the task names."""
        return make_cache(self.kind, length, self.model)

    def forward(self, ids: Tensor, cache: Cache) -> Tensor:
        """See `TorchSide`."""
        return plain_step(self.model, cache)(ids)

    def loss(self, ids: Tensor) -> Tensor:
        """See `TorchSide`."""
        loss = self.model(input_ids=ids, labels=ids).loss
        assert loss is not None
        return loss

    def cache_bytes(self, cache: Cache) -> int:
        """See `TorchSide`."""
        return cache.nbytes

    def filled_bytes(self, cache: Cache) -> int:
        """See `TorchSide`."""
        return sum(map(_filled, cache.stores.values()))
