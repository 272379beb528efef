"""Token and position embeddings."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models import processor
from tfcli.models.context import Context
from tfcli.models.errors import ModelError


class Embedding(nn.Embedding):
    """`nn.Embedding`. A row named by `padding_idx` gets no gradient, as in transformers."""

    def reset_parameters(self) -> None:
        """Random values, except on the meta device: there torch would import its compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()


def embed_inputs(
    table: nn.Embedding,
    input_ids: torch.Tensor | None = None,
    inputs_embeds: torch.Tensor | None = None,
    where: str = "input_ids",
) -> torch.Tensor:
    """Look up ids, or take embeddings that the caller made.

    Args:
        table: [vocab, d]
        input_ids (Tensor): [b, s]
        inputs_embeds (Tensor): [b, s, d]
        where: name of the ids, for errors.

    Returns:
        [b, s, d]

    Raises:
        ModelError: both or neither were given, an id that the table has no row for, or embeddings
            of another width.
    """
    if (input_ids is None) == (inputs_embeds is None):
        embeds = where.replace("input_ids", "inputs_embeds")
        raise ModelError(f"give exactly one of {where} and {embeds}")
    if inputs_embeds is not None:
        return check_width(inputs_embeds, table)
    assert input_ids is not None
    check_ids(input_ids, table.num_embeddings, where)
    return table(input_ids)


def check_width(inputs_embeds: torch.Tensor, table: nn.Embedding) -> torch.Tensor:
    """The embeddings that a caller made, [b, s, d], if they are as wide as those of a table.

    Raises:
        ModelError: they are not.
    """
    if inputs_embeds.shape[-1] != table.embedding_dim:
        raise ModelError(
            f"inputs_embeds has width {inputs_embeds.shape[-1]}, "
            f"but the model's embeddings have {table.embedding_dim}"
        )
    return inputs_embeds


def check_ids(ids: torch.Tensor, rows: int, where: str = "input_ids") -> None:
    """Refuse ids that a table has no row for.

    They are looked at where that costs nothing, in the host's memory. On a device that would wait
    for it in every forward pass; there the lookup itself fails, and ends the process. Commands
    check a prompt, and a tokenizer against the table, before they move anything.

    Args:
        ids (Tensor): of any shape.
        rows: of the table.
        where: name of the input.

    Raises:
        ModelError: an id below 0, or of `rows` and more, or numbers that are no ids.
    """
    if ids.is_floating_point():
        raise ModelError(f"{where} has floating-point numbers and no ids", where=where)
    if ids.numel() == 0 or not processor.can_read(ids):
        return
    low, high = (int(value) for value in ids.aminmax())
    if low < 0 or high >= rows:
        raise ModelError(
            f"id {low if low < 0 else high} is outside of the embedding table's {rows:,} rows",
            where=where,
            fix="use the model's own tokenizer" if where.endswith("input_ids") else None,
        )


def check_length(context: Context, limit: int) -> None:
    """Refuse positions that a learned position table has no rows for."""
    if context.placed:
        check_ids(context.positions, limit, "position_ids")
    if isinstance(context.past, torch.Tensor):
        return  # its value is on the device; the table itself refuses a row that it has not
    length = context.past + context.sight.queries
    if context.sight.segments is not None:  # each packed text begins anew
        if not processor.can_read(context.positions):
            return
        length = int(context.positions.max()) + 1
    if length > limit:
        raise ModelError(
            f"the input has {length} positions, but the model has {limit}",
            fix="cut the input, or use a shorter window",
        )
