"""`tfcli quantize --layout gguf`: one file, whose weights are what the method made."""

from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from tests.checkpoints.gguf.folders import VOCAB, write_folder
from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.mixes import MIXES
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.ggml import GGML_TYPES
from tfcli.quantize.methods.ggml import BlockGPTQ
from tfcli.quantize.names import GGUFMix
from tfcli.quantize.overrides import TYPES
from tfcli.quantize.run import run
from tfcli.quantize.solvers.ggml.solve import round_into_blocks
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job

WIDE = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "initializer_range": 0.06,
}
PROMPT = torch.randint(1, 300, (40,), generator=torch.Generator().manual_seed(3)).tolist()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat and the dog sat on the log, it's 3.14. " * 200)
    return path


def quantize(dense, out, **options):
    out.mkdir(exist_ok=True)
    options = {"method": "rtn", "layout": "gguf"} | options
    spec = QuantizeSpec(model=str(dense), output=str(out), **options)
    return run(spec, Job(Console(), out))


def gptq_options(text):
    return {"method": "gptq", "data": str(text), "sequence_length": 32, "samples": 16}


def types(folder):
    file = GGUFFile(folder / f"{folder.name}.gguf")
    return {name: info.dtype for name, info in file.tensors.items()}


def test_rounding_gives_each_linear_the_values_of_its_type(tmp_path):
    """Rows of 64 and 96 fill the blocks of the older types alone."""
    write_folder(tmp_path / "dense", "llama")
    result = quantize(tmp_path / "dense", tmp_path / "q", bits=4)
    dense, made = open_checkpoint(tmp_path / "dense"), open_checkpoint(tmp_path / "q")
    name = "model.layers.1.mlp.down_proj.weight"
    expected = round_into_blocks(dense.weights[name], "Q5_0").dequantize()
    assert torch.equal(made.weights[name].float(), expected)
    head = round_into_blocks(dense.weights["lm_head.weight"], "Q8_0").dequantize()
    assert torch.equal(made.weights["lm_head.weight"].float(), head)
    assert {outcome.name for outcome in result.tensors} == set(dense.tensors)
    assert (result.layout, result.files, result.quantized) == ("gguf", ["q.gguf"], 14)
    assert sorted(path.name for path in (tmp_path / "q").iterdir()) == [
        ".walk",
        "README.md",
        "q.gguf",
    ]


def test_types_are_those_of_the_mix(tmp_path):
    write_folder(tmp_path / "dense", "llama", **WIDE)
    quantize(tmp_path / "dense", tmp_path / "q", gguf_type="Q2_K")
    found = types(tmp_path / "q")
    assert found["blk.0.attn_v.weight"] == "Q3_K"
    assert found["blk.0.attn_q.weight"] == "Q2_K"
    assert found["output.weight"] == "Q6_K"
    assert found["token_embd.weight"] == "Q2_K"
    assert found["blk.0.attn_norm.weight"] == "F32"


def test_a_note_says_where_another_type_stands_in(tmp_path, capsys):
    write_folder(tmp_path / "dense", "llama")
    quantize(tmp_path / "dense", tmp_path / "q", bits=3)
    assert "blk.0.attn_q.weight: Q4_0, because rows of 64 do not fill" in capsys.readouterr().err


def test_calibration_brings_outputs_nearer(tmp_path, text):
    write_folder(tmp_path / "dense", "llama")
    rounded = quantize(tmp_path / "dense", tmp_path / "rtn", bits=2)
    solved = quantize(tmp_path / "dense", tmp_path / "gptq", bits=2, **gptq_options(text))
    assert rounded.mean_output_error is None
    ids = torch.tensor([PROMPT])
    dense = load_model(tmp_path / "dense")
    assert solved.calibration is not None
    with torch.no_grad():
        wanted = dense(ids).logits
        assert (load_model(tmp_path / "gptq")(ids).logits - wanted).isfinite().all()
    assert solved.mean_output_error < 0.02
    assert solved.bytes_after == rounded.bytes_after


def test_what_is_excluded_stays_as_it_is(tmp_path):
    write_folder(tmp_path / "dense", "llama", torch.bfloat16)
    result = quantize(tmp_path / "dense", tmp_path / "q", exclude=["down_proj"])
    assert types(tmp_path / "q")["blk.0.ffn_down.weight"] == "BF16"
    assert types(tmp_path / "q")["blk.0.ffn_up.weight"] == "Q5_0"
    reasons = {one.name: one.reason for one in result.tensors}
    assert reasons["model.layers.0.mlp.down_proj.weight"] == "named by exclude: down_proj"


@pytest.mark.parametrize("name", ["mixtral", "gpt2", "gpt_neox"])
def test_experts_and_turned_and_joined_weights(name, tmp_path, text):
    write_folder(tmp_path / "dense", name)
    quantize(tmp_path / "dense", tmp_path / "q", **gptq_options(text))
    with torch.no_grad():
        found, wanted = (
            load_model(tmp_path / folder)(torch.tensor([PROMPT])).logits.float()
            for folder in ("q", "dense")
        )
    assert (found - wanted).std() < 0.5 * wanted.std()


def test_a_run_that_was_killed_goes_on_and_gives_the_same_file(tmp_path, text, monkeypatch):
    write_folder(tmp_path / "dense", "llama")
    whole, parts = tmp_path / "1" / "q", tmp_path / "2" / "q"
    whole.parent.mkdir()
    parts.parent.mkdir()
    quantize(tmp_path / "dense", whole, **gptq_options(text))
    made, solve = [], BlockGPTQ.quantize

    def dies(self, linear, weight):
        if len(made) == 9:
            raise KeyboardInterrupt
        made.append(linear.name)
        return solve(self, linear, weight)

    monkeypatch.setattr(BlockGPTQ, "quantize", dies)
    with pytest.raises(KeyboardInterrupt):
        quantize(tmp_path / "dense", parts, **gptq_options(text))
    again = []
    monkeypatch.setattr(
        BlockGPTQ, "quantize", lambda *args: again.append(args[1].name) or solve(*args)
    )
    quantize(tmp_path / "dense", parts, **gptq_options(text))
    assert len(again) == 7  # the second block alone
    assert (parts / "q.gguf").read_bytes() == (whole / "q.gguf").read_bytes()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"bits": 5}, "bits: 5 is not there with method: gptq"),
        ({"layout": "gguf", "group_size": 32}, "group_size: has no effect beside layout: gguf"),
        ({"layout": "gguf", "symmetric": True}, "symmetric: has no effect beside layout: gguf"),
        ({"layout": "gguf", "gguf_type": "Q4_K_M", "bits": 4}, "bits: has no effect beside"),
        ({"gguf_type": "Q4_K_M"}, "gguf_type"),
    ],
)
def test_keys_without_effect_are_refused(options, what):
    with pytest.raises(ValidationError, match=what):
        QuantizeSpec(model="m", output="o", **options)


def test_the_types_of_overrides_are_those_of_the_layout():
    assert tuple(GGML_TYPES) == TYPES


def test_an_override_gives_linears_another_type(tmp_path):
    write_folder(tmp_path / "dense", "llama", **WIDE)
    quantize(tmp_path / "dense", tmp_path / "q", bits=4, overrides=["layers.1.mlp=Q6_K"])
    found = types(tmp_path / "q")
    assert {found[f"blk.1.ffn_{part}.weight"] for part in ("gate", "up", "down")} == {"Q6_K"}
    assert found["blk.0.ffn_up.weight"] == "Q4_K"


def test_an_override_by_bits_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="'mlp=8bit' is not like down_proj=Q6_K"):
        QuantizeSpec(model="m", output="o", method="rtn", layout="gguf", overrides=["mlp=8bit"])


def test_the_names_of_mixes_are_those_of_the_container():
    assert set(get_args(GGUFMix)) == set(MIXES) - {"Q8_0"}  # which `bits: 8` says


def test_a_family_that_gguf_lacks_is_refused_before_the_work(tmp_path, text):
    from tests.quantize.test_run import LLAMA, write_checkpoint

    write_checkpoint(tmp_path / "dense", LLAMA | {"model_type": "olmo2"})
    with pytest.raises(WorkError, match="is not covered in GGUF"):
        quantize(tmp_path / "dense", tmp_path / "q", **gptq_options(text))


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_weights_that_no_scale_reaches_are_refused_before_the_work(name, tmp_path, text):
    made = write_folder(tmp_path / "dense", "llama")
    made.get_parameter(name).data[3, 5] = 1e6
    save_model(made, tmp_path / "dense")
    with pytest.raises(WorkError, match=r"holds weights up to 1e\+06") as caught:
        quantize(tmp_path / "dense", tmp_path / "q", **gptq_options(text))
    assert caught.value.where == name
    assert not list((tmp_path / "q" / ".walk").glob("*.safetensors"))


def test_rows_that_fill_no_block_are_refused_before_the_work(tmp_path):
    write_folder(tmp_path / "dense", "llama", intermediate_size=70)
    with pytest.raises(UsageError, match=r"down_proj has rows that fill no type's blocks"):
        quantize(tmp_path / "dense", tmp_path / "q")
    result = quantize(tmp_path / "dense", tmp_path / "q", exclude=["down_proj"])
    assert result.quantized == 12


@pytest.mark.interop
@pytest.mark.parametrize("mix", ["Q4_K_M", "Q3_K_M", "Q2_K"])
def test_llama_cpp_runs_what_gptq_made(mix, tmp_path, text):
    write_folder(tmp_path / "dense", "llama", **WIDE)
    quantize(tmp_path / "dense", tmp_path / "q", gguf_type=mix, **gptq_options(text))
    model, theirs = load_model(tmp_path / "q"), LlamaCpp(tmp_path / "q" / "q.gguf", VOCAB)
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([PROMPT])).logits[0, -1].float(), -1)
    found = theirs.logprobs(PROMPT)
    assert float((found - expected).std() / expected.std()) < 0.1
