"""A Hugging Face checkpoint into one GGUF file, tensor by tensor, checked afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.folder import CONFIG, read_object
from tfcli.checkpoints.source import open_checkpoint
from tfcli.errors import ModelError, WorkError, hint
from tfcli.gguf.compare import require_equal
from tfcli.gguf.file import GGUFFile
from tfcli.gguf.hparams import write_hparams
from tfcli.gguf.names import BY_MODEL_TYPE
from tfcli.gguf.plan import Plan, Source, Target, common_type, plan_targets, type_chooser
from tfcli.gguf.positions import write_tables
from tfcli.gguf.record import located, write_record, write_remainder
from tfcli.gguf.rules import AddOne
from tfcli.gguf.suitable import notes, require_suitable
from tfcli.gguf.types import FILE_TYPES
from tfcli.gguf.vocabulary import no_vocabulary, write_vocabulary
from tfcli.gguf.write import PendingGGUF, Value, write_gguf

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.models.config import ModelConfig

_QUANTIZATION_VERSION = 2
_TOKENIZERS = ("tokenizer*.json", "vocab.*", "*.model", "*.spm", "*.tiktoken")


@dataclass(frozen=True)
class ToGGUF:
    """A conversion that is planned: headers were read, values were not.

    Args:
        folder: the checkpoint.
        source: its tensors.
        config: its config.
        plan: what happens to each tensor.
        metadata: the file's keys, but for those that depend on values.
        tables: rotary tensors that are made from the config, name -> values.
        kind: the type of most tensors.
        notes: what the user should know.
    """

    folder: Path
    source: Source
    config: ModelConfig
    plan: Plan
    metadata: dict[str, Value]
    tables: dict[str, list[float]]
    kind: str
    notes: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors in the file."""
        return sum(target.nbytes for target in self.plan.targets)

    @property
    def largest(self) -> int:
        """The bytes of the largest source tensor: what a conversion holds at most twice."""
        return max(
            (self.source.info(name).nbytes for t in self.plan.targets for name in t.sources),
            default=0,
        )


@dataclass(frozen=True)
class GGUFResult:
    """What a conversion did.

    Args:
        file: what was written. nbytes: its size.
        types: type -> how many tensors have it.
        skipped: Hugging Face name -> why it was not written.
        notes: what the user should know.
        compared: tensors that were read back and compared; 0 where that was not asked for.
        worst: GGUF name -> largest relative difference of a value, for tensors that have any.
    """

    file: Path
    nbytes: int
    types: dict[str, int]
    skipped: dict[str, str]
    notes: list[str]
    compared: int = 0
    worst: dict[str, float] = field(default_factory=dict)


def plan_to_gguf(
    folder: Path,
    kind: str | None = None,
    tensor_types: Sequence[tuple[str, str]] = (),
    *,
    source: Source | None = None,
    name: str | None = None,
    tokenizer: bool = True,
) -> ToGGUF:
    """Plan a conversion from headers, config.json and the tokenizer alone.

    Args:
        folder: a Hugging Face checkpoint.
        kind: the type of most tensors, such as `q8_0`; None: the one that most of them have.
        tensor_types: (regular expression found in the GGUF name, type); the first that fits
            counts. Norms, biases and what else llama.cpp wants in float32 stay so.
        source: the tensors, where they are not the folder's safetensors files.
        name: of the model; None: the folder's.
        tokenizer: False leaves the tokenizer until the plan is run; a plan that is only shown can
            do without the second or two that a large vocabulary takes.

    Raises:
        UsageError: an unknown type.
        WorkError: a family or setting that GGUF does not have, or broken files.
        ModelError: a config that is not supported.
    """
    from tfcli.models.registry import read_config

    where = str(folder)
    content = read_object(folder, CONFIG)
    dialect = BY_MODEL_TYPE.get(str(content.get("model_type")))
    if dialect is None:
        raise WorkError(
            f"model_type {str(content.get('model_type'))[:40]!r} is not covered in GGUF",
            where=str(folder / CONFIG),
            fix=hint(str(content.get("model_type")), BY_MODEL_TYPE),
        )
    try:
        config = read_config(content)
    except ModelError as error:
        raise located(error, where) from error
    require_suitable(config, str(folder / CONFIG))
    source = open_checkpoint(folder) if source is None else source
    infos = {tensor: source.info(tensor) for tensor in source.names}
    kind = (kind or common_type(infos.values())).upper()
    plan = plan_targets(source, dialect, config, type_chooser(kind, tensor_types), where)
    metadata = {
        **write_hparams(config, dialect),
        "general.type": Value("string", "model"),
        "general.name": Value("string", name or folder.resolve().name),
        "general.file_type": Value("uint32", FILE_TYPES[kind]),
        "general.quantization_version": Value("uint32", _QUANTIZATION_VERSION),
        **(_vocabulary(folder, config) if tokenizer else {}),
        **write_record(
            content, {n: i.dtype for n, i in infos.items() if n not in plan.skipped}, plan.bare
        ),
    }
    said = notes(config) + [
        f"{t.name}: {t.dtype}, because {t.note}" for t in plan.targets if t.note
    ]
    if not _has_tokenizer(folder):
        said.append("no tokenizer is there: programs must be given ids")
    tables = write_tables(config)
    return ToGGUF(folder, source, config, plan, metadata, tables, kind, said)


def _vocabulary(folder: Path, config: Any) -> dict[str, Value]:
    from tfcli.tokenizers.load import load_tokenizer

    found = {}
    if config.model_type == "bert":
        found["tokenizer.ggml.token_type_count"] = Value("uint32", config.type_vocab_size)
    if not _has_tokenizer(folder):
        return {**found, **no_vocabulary()}
    return {**found, **write_vocabulary(load_tokenizer(folder), config.vocab_size, str(folder))}


def _has_tokenizer(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in _TOKENIZERS)


def to_gguf(
    folder: Path,
    out_file: Path,
    kind: str | None = None,
    tensor_types: Sequence[tuple[str, str]] = (),
    *,
    source: Source | None = None,
    name: str | None = None,
    verify: bool = True,
) -> GGUFResult:
    """Write a checkpoint as a GGUF file. See `plan_to_gguf` for the arguments.

    Args:
        out_file: replaced in one step when it exists.
        verify: read the file back and compare every tensor.

    Raises:
        UsageError, WorkError, ModelError: as `plan_to_gguf`; no room; values that do not fit the
            type; a file that does not hold what was written.
    """
    planned = plan_to_gguf(folder, kind, tensor_types, source=source, name=name)
    return run_to_gguf(planned, out_file, verify=verify)


def run_to_gguf(planned: ToGGUF, out_file: Path, *, verify: bool = True) -> GGUFResult:
    """Do what was planned. See `to_gguf`."""
    import torch

    _require_tie(planned)
    pending = [
        PendingGGUF(t.name, t.dtype, t.shape, partial(_parts, planned, t))
        for t in planned.plan.targets
    ]
    for name, values in planned.tables.items():
        table = torch.tensor(values, dtype=torch.float32)
        pending.append(PendingGGUF(name, "F32", tuple(table.shape), partial(_table, table)))
    metadata = {**planned.metadata, **_remainders(planned)}
    if "tokenizer.ggml.model" not in metadata:
        metadata |= _vocabulary(planned.folder, planned.config)
    nbytes = write_gguf(out_file, metadata, pending)
    worst = _verify(planned, out_file) if verify else {}
    types: dict[str, int] = {}
    for item in pending:
        types[item.dtype] = types.get(item.dtype, 0) + 1
    skipped = dict(planned.plan.skipped)
    if planned.plan.tied is not None:
        skipped[planned.plan.tied] = "is the embedding, which stands for it"
    return GGUFResult(
        out_file,
        nbytes,
        types,
        skipped,
        planned.notes,
        len(planned.plan.targets) if verify else 0,
        {name: error for name, error in worst.items() if error},
    )


def _parts(planned: ToGGUF, target: Target) -> Iterator[Tensor]:
    change = target.rule.change
    for name in target.sources:
        tensor = planned.source[name]
        yield tensor if change is None else change.write(tensor, planned.config)


def _table(table: Tensor) -> list[Tensor]:
    return [table]


def _require_tie(planned: ToGGUF) -> None:
    """A stored output matrix may be left out only where it is the embedding."""
    import torch

    head = planned.plan.tied
    if head is None:
        return
    embedding = next(t.sources[0] for t in planned.plan.targets if t.name == "token_embd.weight")
    if not torch.equal(planned.source[head], planned.source[embedding]):
        raise WorkError(
            f"{head} differs from {embedding}, though tie_word_embeddings is true",
            where=str(planned.folder),
            fix="set tie_word_embeddings to false in config.json if the head was trained",
        )


def _remainders(planned: ToGGUF) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for target in planned.plan.targets:
        change = target.rule.change
        if isinstance(change, AddOne):
            tensor = planned.source[target.sources[0]]
            found |= write_remainder(target.name, change.remainder(tensor))
    return found


def _verify(planned: ToGGUF, out_file: Path) -> Mapping[str, float]:
    """Read the file back: every tensor is what the rules make of its source."""
    written = GGUFFile(out_file)
    worst = {}
    for target in planned.plan.targets:
        where = f"{out_file}: {target.name}"
        raw = written.read(target.name)
        info = written.info(target.name)
        if (info.dtype, info.shape) != (target.dtype, target.shape):
            raise WorkError("the file has another type or shape than planned", where=where)
        rows = raw.reshape(-1, raw.shape[-1]) if raw.dim() else raw.reshape(1, 1)
        width = target.shape[-1] if target.shape else 1
        start = 0
        errors = [0.0]
        for part in _parts(planned, target):
            expected = part.reshape(-1, width)
            stop = start + expected.shape[0]
            errors.append(require_equal(expected, rows[start:stop], target.dtype, where))
            start = stop
        worst[target.name] = max(errors)
    return worst
