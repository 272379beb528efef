"""What a graph is given: seeded batches with padding, and the names of their dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.convert.logits.sample import sample_inputs
from tfcli.models.heads.seq2seq import Seq2Seq
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model

Inputs = dict[str, Tensor]
_SHORTER = 2  # tokens that a target lacks of its source, so that no two lengths are equal


@dataclass(frozen=True)
class Shape:
    """The size of a batch.

    Args:
        rows: texts, or questions of a multiple-choice model.
        length: tokens of a text, padding among them.
        left: tokens of padding at the left of the first row.
        right: the same at the right of the last row.
    """

    rows: int
    length: int
    left: int = 0
    right: int = 0


def batch(model: Model, shape: Shape, seed: int) -> Inputs:
    """Arguments of the graph of a model, in its order: ids, mask, and what else it takes."""
    found = sample_inputs(model, seed, shape.rows, shape.length)
    ids, target = found.pop("input_ids"), found.pop("decoder_input_ids", None)
    mask = torch.ones_like(ids)
    rows, masks = ids.view(-1, ids.shape[-1]), mask.view(-1, ids.shape[-1])
    padding = model.config.text.pad_token_id or 0
    if shape.left:
        rows[0, : shape.left], masks[0, : shape.left] = padding, 0
    if shape.right:
        rows[-1] = rows[-1].roll(-shape.right)  # keeps the last token, for which some heads look
        rows[-1, -shape.right :], masks[-1, -shape.right :] = padding, 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if target is not None and isinstance(model, Seq2SeqLM):
        inputs["decoder_input_ids"] = target[:, : max(1, ids.shape[1] - _SHORTER)]
    if getattr(model.config, "type_vocab_size", None) == 1:
        found.pop("token_type_ids", None)  # there is nothing to choose
    # Tensors of their own: torch.export would also record of what they are a part.
    return {name: value.clone() for name, value in (inputs | found).items()}


def dimensions(model: Model, rows: int | None = None) -> dict[str, dict[int, str]]:
    """The names of the dimensions that may have any size: input -> position -> name.

    Args:
        model: says which inputs there are.
        rows: the size of every batch; None where that too is free.
    """
    source = "encoder_sequence_length" if isinstance(model, Seq2Seq) else "sequence_length"
    chooses = model.task == "multiple-choice"
    leading = ("batch_size", "num_choices") if chooses else ("batch_size",)
    names = {}
    for name, value in batch(model, Shape(1, 1), seed=0).items():
        length = "decoder_sequence_length" if name == "decoder_input_ids" else source
        free = dict(enumerate((*leading, length)[: value.ndim]))
        names[name] = {at: dim for at, dim in free.items() if rows is None or dim != "batch_size"}
    return names


def described(model: Model, rows: int | None = None) -> dict[str, str]:
    """Input -> its sizes, for people, such as `[batch_size, sequence_length, 4]`."""
    names = dimensions(model, rows)
    example = batch(model, Shape(rows or 1, 1), seed=0)

    def sizes(name: str) -> str:
        shape = enumerate(example[name].shape)
        return ", ".join(names[name].get(at, str(size)) for at, size in shape)

    return {name: f"[{sizes(name)}]" for name in example}
