"""A model with the weights that a file of other types would give it, without that file's values."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.io.dtypes import FLOATS, torch_dtype
from tfcli.errors import ModelError
from tfcli.models.matching import LoadAccount, match_names
from tfcli.models.model import Model


def round_weights(model: Model, source: Checkpoint, written: Checkpoint) -> dict[str, int]:
    """Give the weights of the source's model, in place, the values that a file's types leave.

    Args:
        model: of the source, float32. Its matrices are [out, in], as the rows that GGUF's blocks
            divide, also where a family stores them transposed.
        source: what was converted.
        written: what it became. Only names and types are read.

    Returns:
        type -> how many weights were rounded to it: those that it could not hold as they were

    Raises:
        ModelError: names in `written` that the model has no place for.
    """
    slots = model.state_dict(keep_vars=True)
    before, after = (places_of(model, view) for view in (source, written))
    kinds: Counter[str] = Counter()
    for name, origin in before.items():
        slot, target = slots[name], after.get(name, origin)
        same = (origin.dtype, origin.stored) == (target.dtype, target.stored)
        if same or target.dtype not in FLOATS:
            continue
        values = slot.detach()
        found = rounded(values, target).to(values.dtype)
        if not torch.equal(found, values):
            values.copy_(found)
            kinds[target.stored or target.dtype] += 1
    return dict(sorted(kinds.items()))


def rounded(values: Tensor, target: TensorEntry) -> Tensor:
    """Values as they are read again from a tensor of a type. values (Tensor): [..., in]"""
    dtype = torch_dtype(target.dtype)
    if not target.stored:
        return values.to(dtype)
    if target.stored in FLOATS:
        return values.to(torch_dtype(target.stored)).to(dtype)
    from tfcli.checkpoints.gguf.quants import decode, encode

    rows = values.reshape(-1, values.shape[-1])
    data = bytearray().join(encode(rows, target.stored, target.name))
    raw = torch.frombuffer(data, dtype=torch.uint8).view(len(rows), -1)
    return decode(raw, target.stored, torch.empty(rows.shape, dtype=dtype)).view(values.shape)


def places_of(model: Model, view: Checkpoint) -> dict[str, TensorEntry]:
    """Name in the model -> the tensor of a view that fills it.

    Raises:
        ModelError: tensors that the model has no place for; names the checkpoint.
    """
    slots = model.state_dict(keep_vars=True)
    try:
        places = match_names(model, view.tensors, slots, LoadAccount())
    except ModelError as error:
        raise ModelError(error.what, where=str(view.path), fix=error.fix) from error
    return {name: view.tensors[place.name] for name, place in places.items()}
