"""New weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from tfcli.models.model import Model
from tfcli.models.parts import owner_of


def random_values(model: Model, name: str, seed: int) -> torch.Tensor:
    """Random values for one parameter, float32 on the CPU."""
    shape = model.get_parameter(name).shape
    own = model.initial(name, shape)
    if own is not None:
        return own
    body, inner = owner_of(model.body, name.removeprefix(f"{model.base()}."))
    special = body.initial(inner, shape)
    if special is not None:
        return special
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    drawn = body.drawn(inner, shape, generator)
    if drawn is not None:
        return drawn
    if name.endswith("bias"):
        return torch.zeros(shape)
    if len(shape) == 1:  # the weight of a norm
        return torch.ones(shape)
    values, std, cutoff = torch.empty(shape), body.init_std(inner), body.init_cutoff
    if cutoff is None:
        values.normal_(0.0, std, generator=generator)
    else:
        low, high = -cutoff * std, cutoff * std
        nn.init.trunc_normal_(values, 0.0, std, low, high, generator=generator)
    owner = model.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, nn.Embedding) and owner.padding_idx is not None:
        values[owner.padding_idx].zero_()
    return values
