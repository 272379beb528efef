"""Folders that are no checkpoint and yet say what one is: a config alone, and an adapter."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.io.dtypes import TORCH_NAMES
from tfcli.checkpoints.io.header import TensorInfo, data_bytes
from tfcli.errors import ModelError, WorkError
from tfcli.inspect.spec import AdapterFacts
from tfcli.inspect.stored import Stored, lines_of
from tfcli.merge.adapter import Adapter, open_adapter


def of_config(path: Path) -> Stored:
    """The tensors that a config.json builds, in the dtype that it names; bf16 where it names none.

    Raises:
        WorkError: a family that is not known, or a setting that is not supported.
    """
    from tfcli.models.loading import build
    from tfcli.models.registry import read_config

    config = read_object(path, CONFIG)
    try:
        parsed = read_config(config)
        model = build(parsed)
    except ModelError as error:
        raise WorkError(
            f"no weights are here, and what the config builds is not known: {error.what}",
            where=str(path / CONFIG),
        ) from error
    codes = {name: code for code, name in TORCH_NAMES.items()}
    chosen = codes.get(parsed.dtype or "", "BF16")
    ties = model.active_ties()
    infos = []
    for name, tensor in model.state_dict().items():
        own = codes[str(tensor.dtype).removeprefix("torch.")]
        code = chosen if tensor.is_floating_point() else own
        shape = tuple(tensor.shape)
        if name not in ties:
            infos.append(TensorInfo(name, code, shape, path, 0, data_bytes(code, shape)))
    lines, elements = lines_of(infos)
    return Stored(
        "config", path, lines, elements, (), sum(elements.values()), config=config, companions=path
    )


def of_adapter(path: Path) -> Stored:
    """What an adapter holds, and what it is.

    Raises:
        WorkError: broken files, or a kind of adapter that is not merged.
    """
    adapter = open_adapter(str(path))
    lines, elements = lines_of(adapter.source.infos())
    return Stored(
        "adapter",
        path,
        lines,
        elements,
        adapter.files,
        sum(elements.values()),
        problem="it changes a checkpoint and is none; tfcli merge works it into its base",
        companions=path,
        adapter=_facts(adapter),
    )


def _facts(adapter: Adapter) -> AdapterFacts:
    module = next(iter(adapter.modules), "")
    alpha = adapter.config.get("lora_alpha") if adapter.wrote == "PEFT" else None
    ranked = bool(module) and adapter.method != "ia3"
    return AdapterFacts(
        method=adapter.method,
        wrote=adapter.wrote,
        rank=adapter.rank(module) if ranked else None,
        alpha=alpha if isinstance(alpha, int | float) else None,
        targets=sorted({name.rpartition(".")[2] for name in adapter.modules}),
        whole=sorted(adapter.whole),
        base=adapter.base if isinstance(adapter.base, str) else None,
    )
