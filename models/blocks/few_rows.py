"""Decoding with one call for all blocks, where they are what the kernel knows.

These are blocks of a norm, rotary attention, a norm and a gated mlp, without a gradient, for one
new position of up to 8 rows. What each is made of is looked at once, and in each pass whether it
still is: a module that was replaced, a hook or a weight that moved makes it be looked at anew.
Everything else runs module by module.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfcli.models import processor
from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.caches.growing import GrowingStore
from tfcli.models.caches.joined import JoinedStore
from tfcli.models.caches.paged import PagedStore, Places
from tfcli.models.context import Context
from tfcli.models.kernels import dense
from tfcli.models.kernels import layers as kernel
from tfcli.models.kernels.library import library
from tfcli.models.kernels.packed_rows import PackedRows
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.backends import get_backend
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.layers.linear import Linear
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.rotary import Rotary

M = TypeVar("M", bound=nn.Module)


class _UnknownError(Exception):
    """The kernel does not know what a block is made of."""


@dataclass
class Plan:
    """What blocks are made of.

    Args:
        dtype: of the stream and of every dense weight.
        rotary: what turns queries and keys in all of them; None where nothing does.
    """

    dtype: torch.dtype
    rotary: Rotary | None
    attentions: list[RotaryAttention] = field(default_factory=list)
    structs: list[kernel.LayerStruct] = field(default_factory=list)
    _owners: list[dict[str, Any]] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _parts: list[object] = field(default_factory=list)
    _hooks: list[dict[int, Any]] = field(default_factory=list)
    _tensors: list[Tensor] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layers: ctypes.Array[kernel.LayerStruct] | None = None

    # Both are asked for every token, of hundreds of parts: no loop of theirs runs in Python.

    def holds(self) -> bool:
        """Whether nothing has changed since it was made: every module and weight is the same
        object, and lies where it lay."""
        parts = map(dict.get, self._owners, self._names)
        if not all(map(operator.is_, parts, self._parts)):
            return False
        return list(map(Tensor.data_ptr, self._tensors)) == self._places

    def is_watched(self) -> bool:
        """Whether somebody is to hear of a module's inputs or outputs."""
        return any(self._hooks)

    def has(self, owner: nn.Module, name: str, module: nn.Module) -> None:
        """A module that is a part of another."""
        self._part(owner._modules, name, module)
        self._hooks += [module._forward_hooks, module._forward_pre_hooks]

    def _part(self, owner: dict[str, Any], name: str, part: object) -> None:
        self._owners.append(owner)
        self._names.append(name)
        self._parts.append(part)

    def add(self, block: nn.Module) -> None:
        """Look at a block.

        Raises:
            _UnknownError: it has something that the kernel does not do.
        """
        _require(type(block) is DecoderBlock and block.scale == 1 and not block.routes)
        assert isinstance(block, DecoderBlock)
        before, nothing, after, neither = block.norms
        _require(nothing is None and neither is None)
        _require(before is not None and after is not None)
        assert before is not None and after is not None
        attention = self._child(block, block.attention_name, RotaryAttention)
        mlp = self._child(block, block.mlp_name, GatedMLP)
        plain = (attention.clip, attention.alibi, attention.sinks)
        _require(all(each is None for each in (*plain, attention.attn_sub_norm, mlp.ffn_sub_norm)))
        _require(attention.window is None and attention.chunk is None)
        _require(not (attention.norm_whole or attention.norm_turned or attention.bidirectional))
        attend = attention.attend
        _require(attend.backend is get_backend("sdpa") and attend.softcap is None)
        _require(mlp.act is F.silu and attention.head_dim % kernel.HEAD == 0)
        _require(attention.rotary is self.rotary)
        _require(self.rotary is None or not self.rotary.interleaved)
        query, key, value = (self._linear(attention, f"{name}_proj") for name in "qkv")
        out = self._linear(attention, attention.out)
        gate, up, down = (self._linear(mlp, name) for name in mlp.names)
        struct = kernel.LayerStruct(
            *(self._norm(block, before), self._head_norm(attention, "q_norm")),
            *(self._head_norm(attention, "k_norm"), self._norm(block, after)),
            *(query, key, value, out, gate, up, down),
            query.m // attention.head_dim,
            key.m // attention.head_dim,
            attention.head_dim,
            attend.scale,
        )
        self.attentions.append(attention)
        self.structs.append(struct)

    def _child(self, owner: nn.Module, name: str, kind: type[M]) -> M:
        module = owner._modules.get(name)
        _require(type(module) is kind)
        assert isinstance(module, kind)
        self.has(owner, name, module)
        return module

    def _linear(self, owner: nn.Module, name: str) -> kernel.LinearStruct:
        module = owner._modules.get(name)
        _require(type(module) in (Linear, KernelLinear))
        assert isinstance(module, Linear | KernelLinear)
        self.has(owner, name, module)
        weight: Tensor | PackedRows = module.weight
        bias = module.bias
        if isinstance(weight, PackedRows):
            self._part(module.__dict__, "weight", weight)
        else:
            self._tensor(module, "weight")
            _require(dense.is_read(weight))  # a small one too: the call is made in any case
        if bias is not None:
            self._tensor(module, "bias")
            _require(bias.is_contiguous())
        return kernel.LinearStruct.of(weight, bias)

    def _norm(self, owner: nn.Module, name: str) -> kernel.NormStruct:
        module = self._child(owner, name, RMSNorm)
        self._tensor(module, "weight")
        _require(module.weight.is_contiguous())
        return kernel.NormStruct(module.weight.data_ptr(), module.eps)

    def _head_norm(self, attention: RotaryAttention, name: str) -> kernel.NormStruct:
        if getattr(attention, name) is None:
            return kernel.NormStruct()
        _require(getattr(attention, name).weight.shape == (attention.head_dim,))
        return self._norm(attention, name)

    def _tensor(self, module: nn.Module, name: str) -> None:
        owner: Any = module._parameters if name in module._parameters else module._buffers
        tensor: Tensor | None = owner.get(name)  # None: it is computed from others at each use
        _require(tensor is not None)
        assert tensor is not None
        self._part(owner, name, tensor)
        _require(tensor.dtype == self.dtype and tensor.device.type == "cpu")
        self._tensors.append(tensor)
        self._places.append(tensor.data_ptr())


def _require(known: bool) -> None:
    if not known:
        raise _UnknownError


class _Plans(dict[torch.dtype, Plan | None]):
    """Type of the stream -> what blocks are made of; None where the kernel does not know it.

    The blocks have it, so that it goes with them. A copy of them has other weights, and looks anew.
    """

    def __deepcopy__(self, memo: object) -> _Plans:
        return _Plans()

    def __reduce__(self) -> tuple[type[_Plans], tuple[()]]:
        return _Plans, ()


def run_few(blocks: Iterable[nn.Module], x: Tensor, context: Context) -> Tensor | None:
    """What blocks make of one new position of each row, by one call; None where they must be run
    one after another.

    x (Tensor): [b, 1, d] -> [b, 1, d]
    """
    if not _is_plain(blocks, x, context):
        return None
    assert isinstance(blocks, nn.ModuleList)
    plan = _plan(blocks, x.dtype)
    if plan is None or plan.is_watched():
        return None
    padding = context.sight.padding
    hidden = None if padding is None else before_texts(padding)
    if padding is not None and hidden is None:
        return None
    found = _places(plan, x, context, hidden)
    if found is None:
        return None
    rotation = None if plan.rotary is None else context.rotation(plan.rotary, x.dtype)
    assert plan.layers is not None
    return kernel.run(plan.layers, found, x, rotation)


def _is_plain(blocks: Iterable[nn.Module], x: Tensor, context: Context) -> bool:
    """Whether this is decoding as the kernel does it, whatever the blocks are."""
    sight = context.sight
    return (
        x.shape[1] == 1
        and x.shape[0] <= dense.MOST_ROWS
        and context.cache is not None
        and isinstance(blocks, nn.ModuleList)
        and not torch.is_grad_enabled()
        and processor.may_choose(x)
        and x.dtype in dense.KINDS
        and (context.hidden_states, context.attentions, context.router_logits) == (None,) * 3
        and (sight.segments, sight.groups) == (None,) * 2
        and not blocks.training
        and library() is not None
    )


def _plan(blocks: nn.ModuleList, dtype: torch.dtype) -> Plan | None:
    """What a list of blocks is made of, looked at anew where it has changed. What was unknown once
    stays so: it would be looked at for every token."""
    plans = blocks.__dict__.setdefault("_plans", _Plans())
    plan = plans.get(dtype)
    if dtype not in plans or (plan is not None and not plan.holds()):
        plan = plans[dtype] = _made(blocks, dtype)
    return plan


def _made(blocks: nn.ModuleList, dtype: torch.dtype) -> Plan | None:
    first = getattr(blocks[0], "self_attn", None) if len(blocks) else None
    plan = Plan(dtype, getattr(first, "rotary", None))
    try:
        for number, block in enumerate(blocks):
            plan.has(blocks, str(number), block)
            plan.add(block)
    except _UnknownError:
        return None
    plan.layers = (kernel.LayerStruct * len(plan.structs))(*plan.structs)
    return plan


def before_texts(padding: Tensor) -> list[int] | None:
    """How many places stand before each row's text, [b, s] of 0/1 -> [b]; None where some stand
    within or behind it."""
    begins = padding.argmax(-1)
    if not bool((begins + padding.sum(-1) == padding.shape[-1]).all()):
        return None
    found: list[int] = begins.tolist()
    return found


def _places(
    plan: Plan, x: Tensor, context: Context, hidden: list[int] | None
) -> list[Places] | None:
    """Where each layer keeps keys and values of each row, with room for the new ones."""
    found: list[Places] = []
    like: Tensor | None = None
    for attention, struct in zip(plan.attentions, plan.structs, strict=True):
        store = context.store(attention.layer)
        shape = x.shape[0], struct.shared, 1, struct.width
        if like is None or like.shape != shape:
            like = x.new_empty(shape)
        if type(store) not in (GrowingStore, PagedStore, JoinedStore):
            return None
        assert isinstance(store, GrowingStore | PagedStore | JoinedStore)
        places = store.places_of_rows(like, hidden)
        if places is None:
            return None
        found += places
    return found
