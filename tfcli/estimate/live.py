"""Tensors without values, and an account of the memory that they would have."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tfcli.estimate.heap import Block, Heap
from tfcli.models.sharding import is_spread, part_of, spread_like

Kind = Literal[
    "weights", "frozen", "gradients", "optimizer", "activations", "logits", "cache", "buffers"
]
_EXCHANGES = ("fsdp", "c10d", "_c10d_functional")
"""Where torch keeps the operators that only processes together need. Nothing else in a training
asks for memory without values."""
_EMPTY = torch.ops.aten.empty.memory_format
_OURS = (Tensor, nn.Parameter, FakeTensor)


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that are made within it, by kind.

    Tensors have shapes and no memory (torch's FakeTensor), so that the code that runs within it is
    the code of the real run. A number that is read from one is 1, and a mask chooses all places.

    Args:
        vocabulary: the last dimension of logits.
        heap: that they lie in; None counts what they hold alone.

    Attributes:
        now: kind -> bytes.
        peak: the same at the moment at which most was held.
        most: the same, each kind at its own moment.
    """

    def __init__(self, vocabulary: Sequence[int] = (), heap: Heap | None = None) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.vocabulary = frozenset(vocabulary)
        self.heap = heap
        self.now: dict[Kind, int] = {}
        self.peak: dict[Kind, int] = {}
        self.most: dict[Kind, int] = {}
        self._kind: Kind | None = None
        self._most = 0
        self._held: dict[int, tuple[weakref.ref[Any], Kind, int, Block]] = {}

    def __enter__(self) -> Live:
        self.fake.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if any(each not in _OURS for each in types):
            return NotImplemented  # what is around tensors takes itself apart first
        if function is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].dtype.is_floating_point else 1
        if function is torch.ops.aten.index.Tensor:
            args = args[0], [part for each in args[1] for part in _all_of(each)]
        made = function(*args, **(kwargs or {}))
        exchanged = function.namespace in _EXCHANGES or function is _EMPTY
        kind: Kind | None = self._kind or ("buffers" if exchanged else None)
        for each in tree_leaves(made):
            self._see(each, kind)
        return made

    @property
    def total(self) -> int:
        """Bytes that are held now."""
        return sum(self.now.values())

    @contextmanager
    def making(self, kind: Kind) -> Iterator[None]:
        """Within it, what is made is of this kind."""
        before, self._kind = self._kind, kind
        try:
            yield
        finally:
            self._kind = before

    @contextmanager
    def graph(self) -> Iterator[None]:
        """Around a forward pass; its backward pass comes next."""
        if self.heap is not None:
            self.heap.begin_graph()
        yield
        if self.heap is not None:
            self.heap.end_graph()

    def is_now(self, tensor: Tensor, kind: Kind) -> None:
        """Count a tensor that was made already as of another kind."""
        local = tensor.to_local() if is_spread(tensor) else tensor
        key = local.untyped_storage()._cdata
        if key in self._held:
            storage, before, size, block = self._held[key]
            self._held[key] = storage, kind, size, block
            self._add(before, -size)
            self._add(kind, size)

    def forget(self, tensor: Tensor) -> None:
        """Count a tensor no longer: it is only there because nothing runs without it."""
        key = tensor.untyped_storage()._cdata
        if key in self._held:
            self._gone(key)

    def take(self, kind: Kind, size: int) -> None:
        """Count what stays to the end and is no tensor here."""
        if self.heap is not None:
            self.heap.take(size)
        self._add(kind, size)

    def _see(self, tensor: Any, kind: Kind | None) -> None:
        if type(tensor) is not FakeTensor or tensor.fake_mode is not self.fake:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._held:
            return
        size = storage.nbytes()
        if kind is None:
            words = tensor.ndim and tensor.shape[-1] in self.vocabulary
            kind = "logits" if words else "activations"
        block = (-1, 0) if self.heap is None else self.heap.take(size)
        self._held[key] = weakref.ref(storage, lambda _: self._gone(key)), kind, size, block
        self._add(kind, size)

    def _gone(self, key: int) -> None:
        if key not in self._held:
            return
        _, kind, size, block = self._held.pop(key)
        if self.heap is not None:
            self.heap.give(block)
        self._add(kind, -size)

    def _add(self, kind: Kind, size: int) -> None:
        self.now[kind] = self.now.get(kind, 0) + size
        if size > 0:
            self.most[kind] = max(self.most.get(kind, 0), self.now[kind])
            self._look()

    def _look(self) -> None:
        if self.total > self._most:
            self._most, self.peak = self.total, dict(self.now)


def _all_of(index: Tensor | None) -> list[Tensor | None]:
    """An index; for a mask, indices of as many places as it has: how many it chooses is not known,
    and these are the most."""
    if index is None or index.dtype != torch.bool:
        return [index]
    return [index.new_empty(index.numel(), dtype=torch.long) for _ in range(index.ndim)]


def give_memory(model: nn.Module, dtypes: dict[str, torch.dtype]) -> None:
    """Put a tensor without values in the place of each that is on the meta device.

    Args:
        model: from `build`.
        dtypes: the type of parameters that have another one than they were built with.
    """
    made: dict[int, tuple[Tensor, Tensor]] = {}
    for name, slot in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]:
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        if id(slot) not in made:  # the old one is kept, so that no other gets its id
            made[id(slot)] = slot, _filled(slot, dtypes.get(name, slot.dtype))
        places = module._parameters if leaf in module._parameters else module._buffers
        places[leaf] = made[id(slot)][1]  # type: ignore[assignment]


def _filled(slot: Tensor, dtype: torch.dtype) -> Tensor:
    shape = [each.stop - each.start for each in part_of(slot)] if is_spread(slot) else slot.shape
    tensor = torch.empty(shape, dtype=dtype)
    if is_spread(slot):
        tensor = spread_like(slot, tensor)
    if isinstance(slot, nn.Parameter):
        return nn.Parameter(tensor, requires_grad=slot.requires_grad)
    return tensor
