"""A model for a vocabulary of another size: tables, heads and biases get more rows, or fewer."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from tfcli.models.configs.text import TextConfig
from tfcli.models.errors import ModelError, hint
from tfcli.models.model import Model

Start = Literal["mean", "normal", "zero"]
_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")


def resize_vocabulary(
    model: Model,
    rows: int,
    *,
    decoder_rows: int | None = None,
    start: Start = "mean",
    pad_to_multiple_of: int | None = None,
    seed: int = 0,
) -> Model:
    """Give a model as many rows as a tokenizer has tokens, in place.

    Every tensor with a row for each token changes: the token table, the head and its bias, the
    tables of both stacks of an encoder-decoder. Old rows stay as they are, tied tensors stay tied,
    and the config follows. They are new parameters, so an optimizer is made after this.

    Args:
        model: on any device, with its weights.
        rows: of the vocabulary, such as the tokenizer's `vocab_size`. Rows past it are cut off.
        decoder_rows: where the decoder has a vocabulary of its own; left out, it stays as it is.
        start: what new rows are: the mean of the old ones, which makes a new token as likely as an
            average one; normal, as in a new model, with biases of 0; or zero.
        pad_to_multiple_of: the rows are filled up to a multiple of this.
        seed: of normal rows.

    Returns:
        the same model

    Raises:
        ModelError: no rows, a token of the config that would be cut off, rows of a decoder that has
            no vocabulary of its own, or a layer with the vocabulary's size that was replaced.
    """
    if start not in get_args(Start):
        raise ModelError(
            f"unknown start {start!r}", where="start", fix=hint(start, get_args(Start))
        )
    text = _resized(model.config.text, rows, decoder_rows, pad_to_multiple_of)
    config = model.config.with_text(text)
    # The family's own code says which tensors a vocabulary's size is in.
    with torch.device("meta"):
        before, after = (type(model)(each, model.attention) for each in (model.config, config))
    _check_in_place(model, before, after)
    generator = torch.Generator().manual_seed(seed)
    done: dict[int, torch.Tensor] = {}  # a tied tensor is one object under several names
    for name, shape in _resized_tensors(before, after).items():
        owner, leaf = _owner(model, name)
        old = getattr(owner, leaf)
        if id(old) not in done:
            std = model.body.init_std(name.removeprefix(f"{model.base()}."))
            done[id(old)] = _fitted(old, shape, start, std, generator)
        setattr(owner, leaf, done[id(old)])
    _follow(model, before, after)
    return model


def _resized(
    config: TextConfig, rows: int, decoder_rows: int | None, multiple: int | None
) -> TextConfig:
    """The config with its new sizes."""
    sizes = {"vocab_size": rows}
    own = getattr(config, "decoder_vocab_size", None)
    shared = own is None or getattr(config, "share_encoder_decoder_embeddings", False)
    if shared and decoder_rows is not None:
        raise ModelError(
            "the decoder has no vocabulary of its own", where="decoder_rows", fix="leave it out"
        )
    if own is not None:
        sizes["decoder_vocab_size"] = rows if shared else decoder_rows or own
    if min(*sizes.values(), 1 if multiple is None else multiple) < 1:
        raise ModelError("a vocabulary has at least one row", where="rows, pad_to_multiple_of")
    if multiple is not None:
        sizes = {name: -(-size // multiple) * multiple for name, size in sizes.items()}
    for key in _IDS:
        value = getattr(config, key, None)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if any(max(sizes.values()) <= id < config.vocab_size for id in ids):
            raise ModelError(
                f"{config.spelling(key)} {value} would have no row among {rows:,}",
                where="rows",
                fix="keep it, or give the config another token for this first",
            )
    return config.replace(**sizes)


def _resized_tensors(before: nn.Module, after: nn.Module) -> dict[str, torch.Size]:
    """The tensors whose sizes differ, tied ones under each of their names, with the new size."""
    shapes = _shapes(after)
    return {name: shapes[name] for name, old in _shapes(before).items() if old != shapes[name]}


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    parameters = model.named_parameters(remove_duplicate=False)
    buffers = model.named_buffers(remove_duplicate=False)
    return {name: tensor.shape for found in (parameters, buffers) for name, tensor in found}


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _check_in_place(model: nn.Module, before: nn.Module, after: nn.Module) -> None:
    """Refuse a model in which something else stands where its family has a table or a head."""
    here, expected = _shapes(model), _shapes(before)
    for name in _resized_tensors(before, after):
        if here.get(name) != expected[name]:
            raise ModelError(
                f"{name} is not what its family makes, so it cannot be resized",
                where=type(model).__name__,
                fix="merge or take off what was put in its place first",
            )


def _fitted(
    old: torch.Tensor, shape: torch.Size, start: Start, std: float, generator: torch.Generator
) -> torch.Tensor:
    """A tensor of another size in one dimension: the old values as far as there are any."""
    (at,) = (place for place, size in enumerate(shape) if size != old.shape[place])
    values = old.detach()
    kept = values.narrow(at, 0, min(shape[at], old.shape[at]))
    new = list(shape)
    new[at] = shape[at] - kept.shape[at]
    more = values.new_zeros(new)
    parameter = isinstance(old, nn.Parameter)  # a buffer on logits says what training never moves
    if parameter and start == "mean":
        more += values.mean(at, keepdim=True, dtype=torch.float32)
    elif parameter and start == "normal" and len(shape) > 1:
        more.copy_(torch.empty(new).normal_(0.0, std, generator=generator))
    result = torch.cat([kept, more], at)
    return nn.Parameter(result, requires_grad=old.requires_grad) if parameter else result


def _follow(model: Model, before: nn.Module, after: nn.Module) -> None:
    """Give the modules the sizes and the config that they would have been made with."""
    assert isinstance(after, Model)
    new_of = {
        id(old): new
        for old, new in ((model.config, after.config), (model.config.text, after.config.text))
    }
    grown = dict(after.named_modules())
    for name, made in before.named_modules():
        module = model.get_submodule(name)
        for key, value in vars(made).items():
            new = vars(grown[name])[key]
            if isinstance(value, int) and value != new:
                setattr(module, key, new)
    for module in model.modules():
        own = vars(module)
        if id(own.get("config")) in new_of:
            own["config"] = new_of[id(own["config"])]
