"""A checkpoint as one GGUF file: the plan, from headers, config and tokenizer alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.gguf.choose import common_type, type_chooser
from tfcli.checkpoints.gguf.endings import stops_of
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.hparams import write_hparams
from tfcli.checkpoints.gguf.limits import notes, require_suitable
from tfcli.checkpoints.gguf.own_keys import located, write_record, write_remainder
from tfcli.checkpoints.gguf.packed import PackedRows
from tfcli.checkpoints.gguf.plan import Plan, Target, ToGGUF, plan_targets
from tfcli.checkpoints.gguf.pooling import write_pooling
from tfcli.checkpoints.gguf.positions import write_tables
from tfcli.checkpoints.gguf.rules import BY_MODEL_TYPE, GGUFDialect
from tfcli.checkpoints.gguf.types import FILE_TYPES
from tfcli.checkpoints.gguf.vocabulary import no_vocabulary, write_vocabulary
from tfcli.checkpoints.ties import require_ties
from tfcli.errors import ModelError, WorkError, hint

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.models.configs.text import TextConfig

QUANTIZATION_VERSION = 2
_TOKENIZERS = ("tokenizer*.json", "vocab.*", "*.model", "*.spm", "*.tiktoken")


def plan_to_gguf(
    view: Checkpoint,
    kind: str | None = None,
    tensor_types: Sequence[tuple[str, str]] = (),
    *,
    name: str | None = None,
    tokenizer: bool = True,
    packed: Mapping[str, PackedRows] | None = None,
    file_type: int | None = None,
) -> ToGGUF:
    """Plan a conversion from headers, the config and the tokenizer alone.

    Args:
        view: of any container but GGUF, which `plan_repack` takes as it is.
        kind: the type of most tensors, such as `q8_0`; None: the one that most of them have.
        tensor_types: (regular expression found in the GGUF name, type); the first that fits
            counts. Norms, biases and what else llama.cpp wants in float32 stay so.
        name: of the model; None: the folder's.
        tokenizer: False leaves the tokenizer until the plan is run; a plan that is only shown can
            do without the second or two that a large vocabulary takes.
        packed: by Hugging Face's name, weights that are quantized already.
        file_type: what the file says of its types; None: that of `kind`.

    Raises:
        UsageError: an unknown type.
        WorkError: a family or setting that GGUF does not have, or broken files.
        ModelError: a config that is not supported.
    """
    content = view.config
    dialect, config = family_of(view)
    kind = (kind or common_type(view)).upper()
    choose = type_chooser(
        kind,
        tensor_types,
        tied=dialect.head not in view.tensors or config.tie_word_embeddings,
        experts=getattr(config, "num_experts", 0),
    )
    plan = plan_targets(view, dialect, choose, packed)
    keys, said = _vocabulary(view, config) if tokenizer else ({}, [])
    pooling, more = write_pooling(_beside(view), dialect.arch)
    said += more
    dtypes = {tensor.name: tensor.dtype for tensor in view if tensor.name not in plan.skipped}
    metadata = {
        **write_hparams(config, dialect),
        "general.type": Value("string", "model"),
        "general.name": Value("string", name or view.path.resolve().name),
        "general.file_type": Value("uint32", FILE_TYPES[kind] if file_type is None else file_type),
        "general.quantization_version": Value("uint32", QUANTIZATION_VERSION),
        **keys,
        **pooling,
        **write_record(content, dtypes, plan.bare),
    }
    said += [f"{t.name}: {t.dtype}, because {t.note}" for t in plan.targets if t.note]
    if view.carry is None and not _has_tokenizer(view.companions):
        said.append("no tokenizer is there: programs must be given ids")
    return ToGGUF(
        view.path,
        [*plan.targets, *(_table(*item) for item in write_tables(config).items())],
        metadata,
        partial(_late, view, config, plan, tokenizer),
        {**view.unused, **plan.skipped},
        notes(config) + said,
    )


def family_of(view: Checkpoint) -> tuple[GGUFDialect, TextConfig]:
    """GGUF's side of a checkpoint's family, and its config.

    Raises:
        WorkError: a family or setting that GGUF does not have.
        ModelError: a config that is not supported.
    """
    from tfcli.models.registry import read_config

    where = str(view.path / CONFIG if (view.path / CONFIG).is_file() else view.path)
    model_type = str(view.config.get("model_type"))
    dialect = BY_MODEL_TYPE.get(model_type)
    if dialect is None:
        raise WorkError(
            f"model_type {model_type[:40]!r} is not covered in GGUF",
            where=where,
            fix=hint(model_type, BY_MODEL_TYPE),
        )
    try:
        config = read_config(view.config).text
    except ModelError as error:
        raise located(error, str(view.path)) from error
    require_suitable(config, where)
    return dialect, config


def _table(name: str, values: list[float]) -> Target:
    """A rotary tensor that is made from the config."""

    def parts() -> list[Tensor]:
        import torch

        return [torch.tensor(values, dtype=torch.float32)]

    return Target(name, "F32", (len(values),), (), "F32", "made", "from config.json", "", 0, parts)


def _late(view: Checkpoint, config: TextConfig, plan: Plan, tokenizer: bool) -> dict[str, Value]:
    """What depends on values, and the tokenizer where the plan was made without it."""
    if plan.tied:
        require_ties(view)
    found = {} if tokenizer else _vocabulary(view, config)[0]
    for key, tensor in plan.remainders.items():
        found |= write_remainder(key, tensor.read())
    return found


def _vocabulary(view: Checkpoint, config: Any) -> tuple[dict[str, Value], list[str]]:
    from tfcli.tokenizers.load import load_tokenizer

    found = {}
    if config.model_type == "bert":
        found["tokenizer.ggml.token_type_count"] = Value("uint32", config.type_vocab_size)
    folder = view.beside
    if not _has_tokenizer(folder):
        return {**found, **no_vocabulary()}, []
    keys, notes = write_vocabulary(
        load_tokenizer(folder),
        config.vocab_size,
        str(view.path),
        stops=stops_of(view.config, folder),
        folder=folder,
    )
    return {**found, **keys}, notes


def _beside(view: Checkpoint) -> Path | None:
    """The folder with what is said beside the weights and is not the tokenizer's."""
    if view.companions is not None:
        return view.companions
    return view.path if view.path.is_dir() else None


def _has_tokenizer(folder: Path | None) -> bool:
    return folder is not None and any(any(folder.glob(pattern)) for pattern in _TOKENIZERS)
