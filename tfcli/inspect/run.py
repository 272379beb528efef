"""`tfcli inspect`: what a checkpoint is. Reads headers and small JSON files, never the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfcli.checkpoints.folder import CONFIG, read_object
from tfcli.checkpoints.source import TensorSource, open_checkpoint
from tfcli.checkpoints.ties import surplus
from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.files import inside, read_json
from tfcli.hub import resolve
from tfcli.inspect.count import count_parameters
from tfcli.inspect.memory import estimate
from tfcli.inspect.spec import (
    InspectResult,
    InspectSpec,
    Quantization,
    TensorLine,
    TokenizerFacts,
)
from tfcli.models.config import ModelConfig
from tfcli.models.registry import get_family, read_config
from tfcli.recipe.job import Job
from tfcli.recipe.record import read_record


def run(spec: InspectSpec, job: Job) -> InspectResult:
    """Describe a checkpoint.

    Raises:
        UsageError: the path is missing, or is something else than a checkpoint.
        WorkError: a broken file; names it and the field.
    """
    path = resolve(spec.path)
    if path.is_dir():
        _require_model(path)
        return describe(path, read_object(path, CONFIG), open_checkpoint(path))
    return describe(path, None, open_checkpoint(path))


def describe(path: Path, config: dict[str, Any] | None, source: TensorSource) -> InspectResult:
    """Put together what the headers and the config say.

    Args:
        path: the folder, or a bare file.
        config: the content of config.json; None for a bare file.
        source: the opened tensors.
    """
    quantization = _quantization(config)
    parsed, task, problem = _understood(config)
    extra = surplus(config, source) if config is not None else set()
    parameters, logical = count_parameters(
        (info for info in source.infos() if info.name not in extra),
        quantization.settings if quantization else None,
    )
    dtypes: Counter[str] = Counter()
    for info in source.infos():
        dtypes[info.dtype] += info.elements
    return InspectResult(
        path=str(path),
        model_type=_text((config or {}).get("model_type")),
        architecture=_text((config or {}).get("architectures")),
        task=task,
        problem=problem,
        parameters=parameters,
        parameters_counted="logical" if logical else "stored",
        bytes=source.nbytes,
        dtypes=dict(dtypes.most_common()),
        files=[file.path.name for file in source.files],
        quantization=quantization,
        tokenizer=_tokenizer(path) if path.is_dir() else None,
        chat_template=path.is_dir() and _has_chat_template(path),
        memory=estimate(parsed, task, nbytes=source.nbytes, parameters=parameters, dtypes=dtypes),
        tensors=[
            TensorLine(name=info.name, dtype=info.dtype, shape=list(info.shape), bytes=info.nbytes)
            for info in source.infos()
        ],
    )


def _require_model(folder: Path) -> None:
    if (folder / CONFIG).exists() or (folder / CONFIG).is_symlink():
        return
    record = read_record(folder)
    if record is not None:
        raise UsageError(
            f"this is what `tfcli {record['command']}` made, not a model",
            where=str(folder),
            fix="see its run.json; inspect takes a checkpoint folder or a .safetensors file",
        )
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    raise UsageError(
        f"the folder has no {CONFIG}",
        where=str(folder),
        fix=f"inspect the file alone: {folder / files[0]}" if files else "name a checkpoint folder",
    )


def _understood(
    config: dict[str, Any] | None,
) -> tuple[ModelConfig | None, str | None, str | None]:
    """The family's config, the task, and why there is none of one or the other."""
    if config is None:
        return None, None, "no config.json belongs to a bare file"
    parsed = None
    try:
        parsed = read_config(config)
        return parsed, get_family(parsed.model_type).task_of(parsed.architectures), None
    except ModelError as error:
        return parsed, None, error.what


def _quantization(config: dict[str, Any] | None) -> Quantization | None:
    settings = (config or {}).get("quantization_config")
    if not isinstance(settings, dict):
        return None
    method = settings.get("quant_method")
    bits = settings.get("bits", settings.get("w_bit"))
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        method, bits = method or "bitsandbytes", 4 if settings.get("load_in_4bit") else 8
    group = settings.get("group_size", settings.get("q_group_size"))
    return Quantization(
        method=str(method or "unknown"),
        bits=bits if isinstance(bits, int) else None,
        group_size=group if isinstance(group, int) else None,
        settings=settings,
    )


def _text(value: Any) -> str | None:
    """A text, or the first of a list of texts; None for anything else that a file may hold."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None


def _tokenizer(folder: Path) -> TokenizerFacts | None:
    for name, read in _TOKENIZERS.items():
        if (folder / name).is_file():
            path = inside(folder, name)
            try:
                kind, size = read(path)
            except (AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError) as error:
                raise WorkError("not a tokenizer's file", where=str(path)) from error
            return TokenizerFacts(type=kind, vocab_size=size, file=name)
    return None


def _fast_tokenizer(path: Path) -> tuple[str, int | None]:
    content = read_json(path)
    vocab = content["model"]["vocab"]
    # BPE and WordPiece: token -> id. Unigram: a list of [token, score].
    tokens = {item[0] for item in vocab} if isinstance(vocab, list) else set(vocab)
    tokens |= {token["content"] for token in content.get("added_tokens") or ()}
    return str(content["model"].get("type", "unknown")), len(tokens)


_TOKENIZERS: dict[str, Callable[[Path], tuple[str, int | None]]] = {
    "tokenizer.json": _fast_tokenizer,
    "tokenizer.model": lambda path: ("SentencePiece", None),
    "vocab.json": lambda path: ("BPE", len(read_json(path))),
    "vocab.txt": lambda path: ("WordPiece", len(path.read_text(encoding="utf-8").splitlines())),
}


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    name = "tokenizer_config.json"
    content = read_json(inside(folder, name)) if (folder / name).is_file() else {}
    return isinstance(content, dict) and bool(content.get("chat_template"))
