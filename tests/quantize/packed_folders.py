"""A tiny model whose linears are packed by hand, and what every reader here must make of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import make_tiny_llama
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.inspect.count import count_parameters
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.packing import Packing, buffer_of
from tfcli.models.quantized import packed_linears
from tfcli.recipe.execute import execute

Parts = dict[str, Tensor]


def layer(packing: Packing, parts: Mapping[str, Tensor], shape: tuple[int, int]) -> QuantizedLinear:
    """A packed linear of these outputs and inputs."""
    made = QuantizedLinear(shape[1], shape[0], packing, bias=False)
    for name, part in parts.items():
        setattr(made, buffer_of(name), part)
    return made


def held(file: Mapping[str, Tensor], case: str) -> Parts:
    """The tensors of a case of a golden file."""
    prefix = f"{case}."
    return {name.removeprefix(prefix): t for name, t in file.items() if name.startswith(prefix)}


def pack_folder(
    folder: Path,
    tokenizer: Path,
    pack: Callable[[Tensor], Parts],
    settings: dict[str, Any] | None,
    **changes: object,
) -> Path:
    """A tiny llama of which every linear of a block is packed.

    Args:
        folder: is made.
        tokenizer: that goes along.
        pack: makes the parts of a weight.
        settings: the quantization_config; None where config.json has none.
        changes: keys of the model's config.
    """
    make_tiny_llama(folder, tokenizer, **changes)
    (path,) = folder.glob("*.safetensors")
    written: Parts = {}
    for name, tensor in load_file(path).items():
        module, _, leaf = name.rpartition(".")
        if "_proj" in name and leaf == "weight":
            written |= {f"{module}.{part}": value for part, value in pack(tensor).items()}
        else:
            written[name] = tensor
    save_file(written, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    if settings is not None:
        config["quantization_config"] = settings
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def require_runs(folder: Path) -> dict[str, Tensor]:
    """Loading, dequantizing and counting a folder of `pack_folder` must agree; its weights."""
    model = load_model(folder, dtype=torch.float32)
    packed = packed_linears(model)
    assert len(packed) == 14
    read = {name: linear.dequantize() for name, linear in packed.items()}
    back = folder.parent / "back"
    spec = DequantizeSpec(model=str(folder), output=str(back), dtype="float32")
    execute(spec, Console.silent())
    dense = load_model(back, dtype=torch.float32)
    for name, weight in read.items():
        assert torch.equal(dense.get_parameter(f"{name}.weight"), weight)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = dense(input_ids=ids).logits
        torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert [path.name for path in back.glob("*qmap*")] == []
    source = open_tensors(folder)
    settings = model.config.quantization
    count, known = count_parameters(source.infos(), settings)
    assert known and count == sum(p.numel() for p in dense.parameters())
    return read
