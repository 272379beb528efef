"""The tokenizer and the other files of a merged model: the adapter's own before the base's."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from tfcli.checkpoints.beside import GENERATION_CONFIG, copy_companions, load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.console import Console
from tfcli.files import write_json
from tfcli.models.errors import Problem

# What tells of a vocabulary, and is none.
_AROUND = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "additional_chat_templates/*",
    GENERATION_CONFIG,
)
# What goes along with a checkpoint and is none of what an adapter was trained with.
_MODEL = (
    "quantize_config.json",
    "quant_config.json",
    "quanto_qmap.json",
    "*processor_config.json",
    "audio_tokenizer_config.json",
    "normalizer.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_*_config.json",
    "[0-9]_*/*",
)


@dataclass(frozen=True)
class Beside:
    """What goes along with a merged model.

    Args:
        checkpoint: the base, whose companions are those of the result.
        tokenizer_of: whose tokenizer it is.
        home: keeps the files as long as this object lives.
    """

    checkpoint: Checkpoint
    tokenizer_of: Literal["base", "adapter"]
    home: tempfile.TemporaryDirectory[str] | None = None


def beside_merged(
    base: Checkpoint, adapter: Path, vocabulary: int | None, console: Console
) -> Beside:
    """Join the files beside a base with those that its adapter was trained with.

    A vocabulary of the adapter's comes with all that belongs to it, and nothing of the base's
    tokenizer stays; a chat template, settings or rules of generating alone take the place of the
    base's.

    Args:
        base: what is merged into.
        adapter: the adapter's folder.
        vocabulary: the tokens of the merged model, where they are others than the base's.
        console: hears whose files they are, and which tokens the model has no rows for.
    """
    home = tempfile.TemporaryDirectory(prefix="tfcli-")
    own, joined = Path(home.name, "adapter"), Path(home.name, "joined")
    own.mkdir()
    joined.mkdir()
    brought = [name for name in copy_companions(adapter, own) if not _fits(name, _MODEL)]
    if not brought:
        return Beside(base, "base")
    there = base.carry_along(joined)
    whole = any(not _fits(name, _AROUND) for name in brought)
    for name in there:
        replaced = whole and not _fits(name, (*_MODEL, GENERATION_CONFIG))
        # Where the adapter's settings hold its template, a file of the base's would hide it.
        if replaced or _fits(name, ("chat_template.*", "additional_chat_templates/*")):
            (joined / name).unlink()
    for name in brought:
        (joined / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(own / name, joined / name)
    if whole:
        console.note("the tokenizer and its chat template are the adapter's")
    else:
        console.note(f"{', '.join(brought)}: the adapter's, the other files the base's")
    checkpoint = dataclasses.replace(base, companions=joined, carry=None)
    _stop_too(checkpoint, joined, vocabulary, console)
    return Beside(checkpoint, "adapter" if whole else "base", home)


def _stop_too(base: Checkpoint, folder: Path, vocabulary: int | None, console: Console) -> None:
    """Let the token that ends a text of the adapter's tokenizer end one of the merged model."""
    from tfcli.generation.settings import stop_ids
    from tfcli.tokenizers.load import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
        end, rows = tokenizer.eos_id, vocabulary or base.model_config.text.vocab_size
        said = load_generation_config(folder)
        known = stop_ids(said, base.model_config.text)
    except Problem as error:
        console.note(f"whether its end of text is the base's is not known: {error.what}")
        return
    if tokenizer.vocab_size > rows:
        last = "" if end is None or end < rows else f", the end of text ({end}) among them"
        console.warn(
            f"the adapter's tokenizer has tokens beyond the {rows:,} rows of the model, up to "
            f"{tokenizer.vocab_size - 1:,}{last}: the adapter does not hold their embeddings, and "
            "texts with them cannot be read or written"
        )
    if end is None or end >= rows or not known or end in known:
        return
    write_json(folder / GENERATION_CONFIG, {**said, "eos_token_id": [*sorted(known), end]})
    console.note(f"token {end}, the end of text of the adapter's tokenizer, ends a text too")


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
