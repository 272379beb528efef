"""Loading a model to be served, and starting its engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.adapters.read import read_adapter
from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import pick_device
from tfcli.errors import UsageError
from tfcli.generation.settings import read_settings
from tfcli.generation.strategies.assistants import require_taking_back
from tfcli.generation.strategies.choice import check_choice
from tfcli.generation.tasks import ANSWERS
from tfcli.models.adapters.control import set_active
from tfcli.models.adapters.walk import prompt_of
from tfcli.models.model import Model
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
from tfcli.serve.engine import Engine
from tfcli.serve.passes import EngineLimits
from tfcli.serve.prefix_files import PrefixFiles
from tfcli.serve.prefixes import Prefixes
from tfcli.serve.scored import SCORES, VECTORS, Scored, serve_scored, served_task
from tfcli.serve.served import Served
from tfcli.serve.spec import MIB, ServeSpec
from tfcli.tokenizers.chat_folder import find_templates
from tfcli.tokenizers.fits import check_fits
from tfcli.tokenizers.load import load_tokenizer


def serve_model(
    name: str, source: str, adapters: Mapping[str, str], spec: ServeSpec, console: Console
) -> Served | Scored:
    """Load a model and start its engine, if it makes text.

    Args:
        name: that requests say.
        source: of the model.
        adapters: folders by name.
        spec: of the server.
        console: is told what becomes of the weights.

    Raises:
        UsageError: no such model, or one that continues no texts.
        WorkError: broken files.
    """
    checkpoint = load_in(open_model(source), spec.load_in, console)
    task = served_task(checkpoint)
    if task in (VECTORS, SCORES):
        if adapters:
            raise UsageError(
                f"{name} makes {task}, and adapters are served of models that make text",
                where="adapters",
                fix="merge it into the model: tfcli merge",
            )
        return serve_scored(name, checkpoint, task, spec, console)
    if task == ANSWERS:
        raise UsageError(
            f"{checkpoint.model_config.model_type} reads a text and writes another one; models "
            "that continue texts are served",
            where=source,
            fix="use tfcli generate",
        )
    tokenizer = load_tokenizer(checkpoint.beside)
    check_fits(tokenizer, checkpoint.model_config.text, source)
    model = load_ready(
        checkpoint,
        console,
        task=task,
        dtype=spec.dtype,
        device=pick_device(spec.device),
        attention=spec.attention,
        keep_packed=spec.load_in is not None,
    )
    for adapter, place in adapters.items():
        read_adapter(model, Path(place), adapter)
        if prompt_of(model, adapter) is not None:
            raise UsageError(
                "the adapter puts virtual tokens before every text, which is not served",
                where=place,
                fix="use tfcli generate, or an adapter that changes weights",
            )

    def adapted(adapter: str | None) -> None:
        set_active(model, *filter(None, [adapter]))

    adapted(None)
    said = _said(checkpoint, model, spec)
    files = None
    if spec.prefix_folder is not None and spec.prefix_memory:
        folder = Path(spec.prefix_folder) / _identity(checkpoint, adapters, str(model.dtype), spec)
        files = PrefixFiles(folder, spec.prefix_disk * MIB)
    prefixes = None
    if spec.prefix_memory:
        prefixes = Prefixes(spec.prefix_memory * MIB, files, lambda: model.make_cache("paged"))
    limits = EngineLimits(spec.rows, spec.waiting, spec.positions, spec.part)
    return Served(
        name=name,
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        task=task,
        generation_config=said,
        templates=find_templates(checkpoint.beside),
        engine=Engine(model, tokenizer, limits, prefixes, adapted if adapters else None),
        files=files,
        max_new_tokens=spec.max_new_tokens,
        timeout=spec.timeout,
    )


def _said(checkpoint: Checkpoint, model: Model, spec: ServeSpec) -> dict[str, Any]:
    """How texts are made where a request does not say it, by the keys of generation_config.json.

    Raises:
        UsageError: drafts for a model that cannot take them back, or beside beams.
        WorkError: a value that cannot be.
    """
    config = checkpoint.model_config.text
    keys = ("prompt_lookup_num_tokens", "max_matching_ngram_size")
    own = {key: getattr(spec, key) for key in keys if getattr(spec, key) is not None}
    said = {**(load_generation_config(checkpoint.beside) or config.extra), **own}
    settings = read_settings(said, config)
    if settings.drafts.prompt_lookup_num_tokens:
        check_choice(settings, own)
        longest = min(config.longest_text, spec.positions)
        require_taking_back(model, model.make_cache("paged"), longest, keys[0])
    return said


def _identity(
    checkpoint: Checkpoint, adapters: Mapping[str, str], dtype: str, spec: ServeSpec
) -> str:
    """A name for these very weights, from the names, sizes and times of their files: a file of
    others must never be taken for theirs, and reading all weights would take too long."""
    stats = []
    for place in (checkpoint.path, *map(Path, adapters.values())):
        inside = place.rglob("*") if place.is_dir() else [place]
        files = sorted(each for each in inside if each.is_file())
        stats += [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    said = repr((stats, sorted(adapters.items()), dtype, spec.load_in))
    return hashlib.sha256(said.encode()).hexdigest()[:24]
