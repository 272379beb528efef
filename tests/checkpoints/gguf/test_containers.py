"""Any container becomes a GGUF file in one step, the one that two steps give."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.gguf.folders import write_folder
from tests.checkpoints.meta import test_meta as meta
from tests.checkpoints.mlx.test_mlx import pack
from tests.flagai import folders as flagai
from tfcli.checkpoints.containers import find_container
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.flagai import models
from tfcli.recipe.execute import execute

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
OWN = ("general.name", "tfcli.config", "tfcli.dtype", "tfcli.other_dtypes")
"""Keys that depend on the way: the folder's name, and what a config.json says beside the model."""


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


def mlx(hf: Path, out: Path) -> None:
    """One matrix packed in 4 bits, the rest dense."""
    name = "model.layers.0.mlp.up_proj"
    tensors = dict(open_tensors(hf))
    shape = tensors.pop(f"{name}.weight").shape
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 16, shape, generator=generator)
    tensors |= {
        f"{name}.weight": pack(levels, 4),
        f"{name}.scales": torch.rand(shape[0], shape[1] // 32, generator=generator),
        f"{name}.biases": torch.randn(shape[0], shape[1] // 32, generator=generator),
    }
    _beside(hf, out)
    config = json.loads((out / "config.json").read_text())
    config["quantization"] = {"bits": 4, "group_size": 32}
    (out / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    save_file(tensors, out / "model.safetensors")


def zero(hf: Path, out: Path) -> None:
    """A step of DeepSpeed's stage 1 in one process."""
    tensors = dict(open_tensors(hf))
    _beside(hf, out)
    (out / "latest").write_text("global_step1")
    (out / "global_step1").mkdir()
    optimizer = {
        "zero_stage": 1,
        "partition_count": [1],
        "single_partition_of_fp32_groups": [torch.cat([t.flatten() for t in tensors.values()])],
    }
    torch.save(
        {"optimizer_state_dict": optimizer},
        out / "global_step1/zero_pp_rank_0_mp_rank_00_optim_states.pt",
    )
    model = {
        "module": {name: t.bfloat16() for name, t in tensors.items()},
        "buffer_names": [],
        "param_shapes": [{name: t.shape for name, t in tensors.items()}],
        "frozen_param_shapes": None,
        "frozen_param_fragments": None,
        "shared_params": {},
    }
    torch.save(model, out / "global_step1/mp_rank_00_model_states.pt")


def flagai_gpt2(hf: Path, out: Path) -> None:
    flagai.write(out, flagai.make(models.GPT2Model))


def _beside(hf: Path, out: Path) -> None:
    out.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((hf / name).read_bytes())


def by_convert(to: str) -> Callable[[Path, Path], object]:
    return lambda hf, out: convert(hf, out, to=to)


MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "pt": by_convert("pt"),
    "meta": by_convert("meta"),
    "dcp": by_convert("dcp"),
    "megatron": by_convert("megatron"),
    "mlx": mlx,
    "zero": zero,
    "flagai": flagai_gpt2,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_one_step_gives_what_two_steps_give(kind, tmp_path):
    hf, source = tmp_path / "hf", tmp_path / "source"
    write_folder(hf, "llama")
    MAKERS[kind](hf, source)
    assert find_container(source).name == {"pt": "hf"}.get(kind, kind)
    more = {"config_from": str(hf)} if kind == "megatron" else {}
    convert(source, tmp_path / "dense", **more)
    rules: dict[str, Any] = {"dtype": "q8_0", "tensor_type": ["ffn_down=q5_1"]}
    convert(tmp_path / "dense", tmp_path / "two", to="gguf", **rules)
    done = convert(source, tmp_path / "one", to="gguf", **rules, **more)
    assert done.verified == len(done.tensors) > 0
    one, two = (GGUFFile(tmp_path / name / f"{name}.gguf") for name in ("one", "two"))
    assert {n: i.dtype for n, i in one.tensors.items()} == {
        n: i.dtype for n, i in two.tensors.items()
    }
    assert all(torch.equal(one.read(name), two.read(name)) for name in one.tensors)
    assert _without(one.metadata) == _without(two.metadata)
    assert ("tokenizer.ggml.tokens" in one.metadata) == (kind != "flagai")  # which has none here


def test_the_tokenizer_that_a_container_keeps_in_its_own_way(tmp_path, monkeypatch):
    """Meta's rank file: what a folder of Hugging Face would get is made on the way."""
    monkeypatch.setattr(meta, "VOCAB", 258 + 256)  # rows of its weights; the file has 258 ranks
    source = meta.folder(tmp_path / "in")
    meta.rank_file(source / "tokenizer.model")
    convert(source, tmp_path / "out", to="gguf")
    found = GGUFFile(tmp_path / "out/out.gguf").metadata
    assert found["tokenizer.ggml.pre"] == "llama-bpe"
    assert found["tokenizer.ggml.tokens"][257:259] == ["abc", "<|begin_of_text|>"]
    assert sorted(path.name for path in source.iterdir()) == [
        "consolidated.00.pth",
        "params.json",
        "tokenizer.model",
    ]


def test_a_dry_run_needs_no_torch(tmp_path):
    write_folder(tmp_path / "hf", "llama-3")
    words = ["convert", str(tmp_path / "hf"), "--to", "gguf", "--dtype", "q8_0", "--dry-run"]
    script = (
        "import sys\n"
        "from tfcli.commands.app import run\n"
        "code = run(sys.argv[1:])\n"
        "sys.exit(code or 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rope_freqs.weight" in done.stdout


def _without(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in OWN}
