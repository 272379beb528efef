"""The whole model's config, and each of its tensors, made from the parts when its turn comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.casting import cast
from tfcli.checkpoints.io.dtypes import FLOATS, TORCH_NAMES, torch_dtype
from tfcli.compose.parts import Part
from tfcli.compose.spec import Action, ComposedTensor, Encoder
from tfcli.errors import ModelError, UsageError
from tfcli.models.config import DTYPES
from tfcli.models.configs.modular import EncoderConfig, MultimodalConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.initialization import random_values
from tfcli.models.loading import build
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.models.rules import Place, stacked
from tfcli.models.saving import stored_place

TASK = "image-text-to-text"


@dataclass(frozen=True)
class Made:
    """One tensor of the output.

    Args:
        pending: what is written.
        account: what it was made of.
    """

    pending: PendingTensor
    account: ComposedTensor


@dataclass(frozen=True)
class _Source:
    """Where a parameter of the whole comes from.

    Args:
        part: its checkpoint, or None: it is new.
        place: where the checkpoint keeps it.
        label: for the account.
    """

    part: Part | None
    place: Place | None
    label: str


def whole_config(
    language: Part,
    towers: Mapping[str, Part],
    settings: Mapping[str, Encoder],
    ids: Mapping[str, int],
) -> MultimodalConfig:
    """The config of the whole.

    Args:
        language, towers: the parts.
        settings: what the spec says of each encoder.
        ids: of the token that stands for its features.

    Raises:
        UsageError: settings that do not fit an encoder; both are named.
    """
    text = language.config
    assert isinstance(text, TextConfig)
    encoders = {
        name: _encoder_config(name, towers[name], settings[name], ids[name]) for name in ids
    }
    return MultimodalConfig(
        text_config=text,
        encoders=encoders,
        tie_word_embeddings=text.tie_word_embeddings,
        initializer_range=text.initializer_range,
    )


def _encoder_config(name: str, tower: Part, said: Encoder, token_id: int) -> EncoderConfig:
    try:
        return EncoderConfig(
            config=tower.config,
            token_id=token_id,
            projector_type=said.projector,
            activation=said.activation,
            feature_layer=said.feature_layer,
            drop_first=said.drop_first,
            num_queries=said.num_queries,
            projector_layers=said.projector_layers,
        )
    except ModelError as error:
        key = (error.where or "").rpartition("key ")[2]
        raise UsageError(
            f"{error.what} ({tower.ref}: {tower.config.model_type})",
            where=f"model.encoders.{name}.{key}",
            fix=error.fix,
        ) from error


def written_config(config: MultimodalConfig, dtype: str) -> dict[str, Any]:
    """The content of config.json.

    Args:
        config: of the whole.
        dtype: code of the language model's weights.
    """
    family = get_family(config.model_type)
    name = TORCH_NAMES[dtype]
    return config.replace(
        architectures=[family.names[TASK]], dtype=name if name in DTYPES else None
    ).to_dict()


def main_dtype(language: Part) -> str:
    """The code of the type that most bytes of a language model's floats have."""
    held: Counter[str] = Counter()
    for name in dict.fromkeys(place.name for place in language.places.values()):
        tensor = language.checkpoint.tensors[name]
        if tensor.dtype in FLOATS:
            held[tensor.dtype] += tensor.nbytes
    return held.most_common(1)[0][0] if held else "F32"


def whole_tensors(
    config: MultimodalConfig,
    language: Part,
    towers: Mapping[str, Part],
    seed: int,
    wanted: str | None,
) -> list[Made]:
    """Every tensor of the output, in the model's order. Nothing is read yet.

    Args:
        config: of the whole.
        language, towers: the parts.
        seed: of new values.
        wanted: code of the type of all floats; None keeps each part's.
    """
    model = build(config, TASK)
    tied = model.active_ties()
    sources, places = {}, {}
    slots = model.state_dict(keep_vars=True)
    for name in slots:
        source = None if name in tied else _source(name, language, towers)
        if source is not None:
            sources[name], places[name] = source, stored_place(model, name)
    new_dtype = wanted or main_dtype(language)
    made = []
    for stored, names in stacked(places).items():
        place = places[names[0]]
        shape = tuple(place.write(slots[names[0]]).shape)
        shape = shape if place.index is None else (len(names), *shape)
        origins = [(places[name], sources[name]) for name in names]
        if sources[names[0]].part is None:
            read = partial(_new, model, names[0], seed, torch_dtype(new_dtype))
            pending = PendingTensor(stored, new_dtype, shape, read)
            made.append(_with_account(pending, sources[names[0]].label, "new", ""))
        else:
            made.append(_taken(stored, shape, origins, wanted))
    return made


def _source(name: str, language: Part, towers: Mapping[str, Part]) -> _Source | None:
    """Where a parameter of the whole comes from; None for a buffer that the config gives."""
    for encoder, tower in towers.items():
        inner = name.removeprefix(f"model.{encoder}_encoder.")
        if inner == name:
            continue
        if inner.startswith("projector."):
            return _Source(None, None, f"projector {encoder}")
        place = tower.places.get(inner.removeprefix("module."))
        return None if place is None else _Source(tower, place, encoder)
    inner = name.removeprefix("model.language_model.")
    place = language.places.get(name if inner == name else f"{language.base}.{inner}")
    return None if place is None else _Source(language, place, "language_model")


def _taken(
    name: str,
    shape: tuple[int, ...],
    origins: Sequence[tuple[Place, _Source]],
    wanted: str | None,
) -> Made:
    """A tensor of the output that a checkpoint has; `origins` are the parameters in it."""
    first = origins[0][1]
    assert first.part is not None and first.place is not None
    entry = first.part.checkpoint.tensors[first.place.name]
    code = _code(entry, first.part, wanted)
    plain = all(_alike(out, source, first.place) for out, source in origins)
    read: Callable[[], Tensor]
    if not plain:
        read = partial(_laid_out, origins, code)
    else:
        read = entry.read if code == entry.dtype else partial(_cast, entry, code)
    action: Action = "copied" if plain and code == entry.dtype else "converted"
    return _with_account(PendingTensor(name, code, shape, read), first.label, action, entry.name)


def _code(entry: TensorEntry, part: Part, wanted: str | None) -> str:
    """The type that a tensor is written in."""
    if wanted is None or entry.dtype not in FLOATS or entry.dtype == wanted:
        return entry.dtype
    kept = part.family.cast_to(entry.name, TORCH_NAMES[wanted]) != TORCH_NAMES[wanted]
    return "F32" if kept else wanted


def _alike(out: Place, source: _Source, first: Place) -> bool:
    """Whether a parameter lies in its checkpoint as it will in the output."""
    found = source.place
    return found is not None and (found.name, found.index, found.transposed) == (
        first.name,
        out.index,
        out.transposed,
    )


def _cast(entry: TensorEntry, code: str) -> Tensor:
    return cast(entry.read(), torch_dtype(code), entry.name)


def _laid_out(origins: Sequence[tuple[Place, _Source]], code: str) -> Tensor:
    """One tensor of the output whose parameters lie otherwise in the checkpoint."""
    parts = []
    for out, source in origins:
        assert source.part is not None and source.place is not None
        entry = source.part.checkpoint.tensors[source.place.name]
        values = out.write(source.place.read(entry.read())).contiguous()
        parts.append(cast(values, torch_dtype(code), entry.name))
    return parts[0] if origins[0][0].index is None else torch.stack(parts)


def _new(model: Model, name: str, seed: int, dtype: torch.dtype) -> Tensor:
    return random_values(model, name, seed).to(dtype)


def _with_account(pending: PendingTensor, part: str, action: Action, source: str) -> Made:
    account = ComposedTensor(
        name=pending.name,
        part=part,
        action=action,
        source=source,
        dtype=pending.dtype,
        shape=list(pending.shape),
    )
    return Made(pending, account)
