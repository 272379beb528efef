"""Calibration that two processes share, as torchrun starts them."""

from __future__ import annotations

import json

import pytest
import torch

from tests.conftest import make_tiny_llama
from tests.quantize.test_run import LLAMA, WORDS, write_checkpoint
from tests.train.test_ranks import in_processes
from tfcli.checkpoints.folder import load_model
from tfcli.errors import UsageError
from tfcli.models.quantized import packed_linears
from tfcli.process_group import Processes
from tfcli.quantize.calibrate import share_of
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job

CHILD = """
import json, pathlib, sys
import torch.distributed as dist
from tfcli.quantize.run import run
from tfcli.quantize.runs import BlockAlone
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job

folder, ran, observe = pathlib.Path(sys.argv[1]), [], BlockAlone.observe

def note(self, groups, *, idles):
    ran.append(sum(len(self.streams[0].states[n]) for n in range(len(self.streams[0].states))))
    return observe(self, groups, idles=idles)

BlockAlone.observe = note
results = {}
for name, given in json.loads(sys.argv[2]).items():
    out = folder / name
    out.mkdir(exist_ok=True)
    result = run(QuantizeSpec.model_validate(given), Job(folder=out))
    results[name] = result.model_dump(mode="json")
report = {"ran": sorted(set(ran)), "results": results, "backend": dist.get_backend()}
(folder / f"rank{dist.get_rank()}.json").write_text(json.dumps(report))
"""
WAYS = {
    "gptq": {"method": "gptq", "bits": 3},
    "awq": {"method": "awq", "symmetric": False},
    "smoothquant": {"method": "smoothquant"},
    "experts-gptq": {"method": "gptq"},
    "experts-awq": {"method": "awq"},
    "experts-smoothquant": {"method": "smoothquant"},
    "gguf": {"method": "gptq", "layout": "gguf", "bits": 4},
}
# So many experts that some get tokens in one process alone, and some in none.
MIXTRAL = LLAMA | {"model_type": "mixtral", "num_experts": 24, "num_experts_per_tok": 1}
IN_GROUPS = ("gptq", "awq")


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_tokenizer):
    """What two processes made, and one alone, of the same windows: two folders."""
    folder = tmp_path_factory.mktemp("processes")
    text = folder / "text.txt"
    text.write_text(" ".join(WORDS[(7 * n + n // 3) % 60] for n in range(3000)))
    dense = write_checkpoint(folder / "dense", LLAMA | {"hidden_size": 64})
    wide = {"hidden_size": 256, "intermediate_size": 256}
    blocks = make_tiny_llama(folder / "blocks", tiny_tokenizer, **wide)
    experts = write_checkpoint(folder / "experts", MIXTRAL)
    specs, given = {}, {"data": str(text), "sequence_length": 16, "samples": 31, "batch_size": 4}
    for name, way in WAYS.items():
        model = blocks if name == "gguf" else experts if "experts" in name else dense
        grouped = way["method"] in IN_GROUPS and name != "gguf"
        options = {"model": str(model), "expert_tokens": 4, **given, **way}
        options |= {"group_size": 32} if grouped else {}
        specs[name] = QuantizeSpec(output=str(folder / "two" / name), **options)
    (folder / "two").mkdir()
    words = {
        name: {key: getattr(spec, key) for key in spec.model_fields_set}
        for name, spec in specs.items()
    }
    in_processes(2, folder, CHILD, str(folder / "two"), json.dumps(words))
    (folder / "one").mkdir()
    alone = {}
    for name, spec in specs.items():
        (folder / "one" / name).mkdir()
        alone[name] = run(spec, Job(folder=folder / "one" / name))
    return folder, alone


def ranks(folder):
    return [json.loads((folder / f"two/rank{rank}.json").read_text()) for rank in range(2)]


def test_each_process_runs_its_share_and_knows_the_whole(made):
    folder, _ = made
    told = ranks(folder)
    assert [rank["backend"] for rank in told] == ["gloo", "gloo"]
    assert [rank["ran"] for rank in told] == [[16], [15]]
    assert told[0]["results"] == told[1]["results"]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "gguf"])
def test_two_processes_make_what_one_makes(made, way):
    """Within what sums in another order change: here and there a weight at the next level.

    What comes after such a weight sees other inputs, which GPTQ answers with other levels of the
    same error: weights are compared in the first block, of experts up to the first, as a token may
    be sent to another one. The errors are compared of all.
    """
    folder, alone = made
    found = weights(folder / "two" / way)
    for name, weight in weights(folder / "one" / way).items():
        if (".layers.0.self_attn." if "experts" in way else ".layers.0.") in name:
            assert (found[name] - weight).norm() < 0.01 * weight.norm(), name
    result = ranks(folder)[0]["results"][way]
    assert result["calibration"] == alone[way].calibration.model_dump()
    tokens = {tensor["name"]: tensor["tokens"] for tensor in result["tensors"]}
    first = [tensor for tensor in alone[way].tensors if ".layers.0." in tensor.name]
    assert {tensor.name: tensor.tokens for tensor in first}.items() <= tokens.items()
    assert result["mean_weight_error"] == pytest.approx(alone[way].mean_weight_error, rel=0.02)
    assert result["mean_output_error"] == pytest.approx(alone[way].mean_output_error, rel=0.05)


def test_a_gguf_file_too(made):
    folder, alone = made
    assert list((folder / "two/gguf").glob("*.gguf"))
    result = ranks(folder)[0]["results"]["gguf"]
    assert result["mean_output_error"] == pytest.approx(alone["gguf"].mean_output_error, rel=0.05)


def weights(folder):
    model = load_model(folder)
    layers = packed_linears(model)
    found = {name: layer.dequantize() for name, layer in layers.items()}
    others = {n: p.data for n, p in model.named_parameters()}
    return found | others


def test_fewer_windows_than_processes_are_refused():
    with pytest.raises(UsageError, match="3 processes were started, and there are 2") as error:
        share_of(torch.zeros(2, 4), Processes(0, 3, torch.device("cpu")))
    assert "start fewer processes" in error.value.fix
