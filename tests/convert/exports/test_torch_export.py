"""`--to torch-export`: one graph for all sizes, which torch alone runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tfcli
from tests.convert.exports.folders import convert, logits, model_of, padded, saved
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.recipe.execute import execute

pytestmark = pytest.mark.families

# What a model does in one way for short texts and in another for long ones, or one token at a time,
# must be in the graph for both.
YARDSTICKS = {
    "a window": ("mistral", {"sliding_window": 5}),
    "chosen experts": ("qwen3_moe", {}),
    "a scan": ("rwkv", {}),
    "chunks of a scan": ("mamba2", {}),
    "a memory that corrects itself": ("qwen3_next", {}),
    "gated convolutions": ("lfm2", {}),
    "distances": ("mt5", {}),
    "two tables of frequencies": (
        "phi3",
        {
            "max_position_embeddings": 32,
            "original_max_position_embeddings": 8,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
            },
        },
    ),
    "frequencies by length": (
        "llama",
        {
            "max_position_embeddings": 8,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        },
    ),
}


def answer(folder, batch):
    module = torch.export.load(folder / "model.pt2").module()
    with torch.no_grad():
        return module(**batch)["logits"]


@pytest.mark.parametrize("name", YARDSTICKS)
def test_short_and_long_texts(tmp_path, name):
    model_type, changes = YARDSTICKS[name]
    source = saved(tmp_path / "in", model_type, **changes)
    result = convert(source, tmp_path / "out", to="torch-export")
    assert result.files == ["model.pt2"] and result.verified == 3
    model = model_of(source)
    for rows, length in ((2, 4), (3, 25)):
        batch = padded(model, rows, length)
        torch.testing.assert_close(
            answer(tmp_path / "out", batch), logits(model, batch), rtol=1e-4, atol=1e-5
        )


def test_more_positions_than_the_model_has_are_refused_by_the_graph(tmp_path):
    source = saved(tmp_path / "in", "gpt2")
    convert(source, tmp_path / "out", to="torch-export", dtype="bf16")
    model = model_of(source)
    assert answer(tmp_path / "out", padded(model, 1, 32)).dtype is torch.bfloat16
    with pytest.raises(AssertionError, match="32"):
        answer(tmp_path / "out", padded(model, 1, 33))


def test_the_file_needs_no_tfcli(tmp_path):
    convert(saved(tmp_path / "in", "mamba"), tmp_path / "out", to="torch-export")
    script = (
        "import sys, torch\n"
        "run = torch.export.load(sys.argv[1]).module()\n"
        "ids = torch.tensor([[5, 6, 7]])\n"
        "print(run(input_ids=ids, attention_mask=torch.ones_like(ids))['logits'].shape)\n"
        "assert not [name for name in sys.modules if name.startswith('tfcli')]\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "out/model.pt2")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch.Size([1, 3, 61])"


@pytest.mark.parametrize(("to", "name"), [("torch-export", "model.pt2"), ("onnx", "model.onnx")])
def test_the_file_names_no_path_of_this_machine(tmp_path, to, name):
    convert(saved(tmp_path / "in", "mamba"), tmp_path / "out", to=to)
    content = (tmp_path / "out" / name).read_bytes()
    home = Path(tfcli.__file__).resolve().parent.parent
    assert str(home).encode() not in content and b"torch/nn" not in content


def test_a_dry_run_says_what_the_graph_would_be(tmp_path, capsys):
    source = saved(tmp_path / "in", "bert")
    spec = ConvertSpec(source=str(source), to="torch-export", dry_run=True)
    result = execute(spec, Console()).result
    assert result.dry_run and result.files == [] and len(result.tensors) > 20
    said = capsys.readouterr().err.replace("\n", " ")
    assert "token_type_ids [batch_size, sequence_length] -> logits" in said
