"""Random inputs that any model of ours takes, for comparing two of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tfcli.models.configs.text import TextConfig
from tfcli.models.heads.seq2seq import Seq2Seq
from tfcli.models.model import Model

CHOICES = 2  # of a multiple-choice question


def sample_inputs(model: Model, seed: int, rows: int, length: int) -> dict[str, Tensor]:
    """Arguments of `model.forward`: token ids, and what else its backbone takes.

    Padding is not among the ids: many heads leave it out, and some count positions by it.

    Args:
        model: its task says the shapes, its config the limits.
        seed: equal seeds give equal inputs.
        rows: texts, or questions with two choices each.
        length: tokens of a text; fewer where the model takes fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config.text
    shape = (rows, min(length, config.longest_input))
    if model.task == "multiple-choice":
        shape = (rows * CHOICES, shape[1])
    ids = _ids(shape, config.token_id_limit, config, generator)
    inputs = {"input_ids": ids}
    if isinstance(model, Seq2Seq):
        end = (
            config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
        )
        if end is not None and end < config.token_id_limit:
            ids[:, -1] = end  # where classifiers look
        if "decoder" in model.stacks:
            words = model.body.get_parameter("decoder.embed_tokens.weight").shape[0]
            inputs["decoder_input_ids"] = _ids(shape, words, config, generator)
    else:
        for name in model.body_class.inputs:
            found = _MAKERS[name](config, shape, generator) if name in _MAKERS else None
            inputs |= {} if found is None else {name: found}
    if model.task == "multiple-choice":
        return {name: value.unflatten(0, (rows, CHOICES)) for name, value in inputs.items()}
    return inputs


def _ids(
    shape: tuple[int, int], limit: int, config: TextConfig, generator: torch.Generator
) -> Tensor:
    """Ids below a limit, but for that of padding: [b, s]."""
    padding = config.pad_token_id
    if padding is None or limit == 1:
        return torch.randint(0, limit, shape, generator=generator)
    ids = torch.randint(0, limit - 1, shape, generator=generator)
    return ids + (ids >= padding)


def _token_types(config: Any, shape: tuple[int, int], generator: torch.Generator) -> Tensor | None:
    """Segments [b, s]; of a family with several kinds of types [b, s, kinds]; None without any."""
    kinds = getattr(config, "type_vocab_sizes", None)
    if kinds is not None:
        each = [torch.randint(0, size, shape, generator=generator) for size in kinds]
        return torch.stack(each, dim=-1)
    size = config.type_vocab_size
    return torch.randint(0, size, shape, generator=generator) if size else None


def _boxes(config: Any, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Left, top, right and bottom of each token's word: [b, s, 4]."""
    limit = config.max_2d_position_embeddings
    corners = torch.randint(0, limit, (*shape, 2, 2), generator=generator)
    return corners.sort(dim=-2).values.flatten(-2)


def _prefixes(config: Any, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """How many tokens at the beginning every token sees: half of them, [b]."""
    return torch.full(shape[:1], shape[1] // 2)


# What a backbone takes beside token ids, by the argument's name.
_MAKERS = {"token_type_ids": _token_types, "bbox": _boxes, "prefix_lengths": _prefixes}
