"""`--target-bits` and `--target-size`: bits go where errors are felt, at a foreseen cost."""

import json
import math

import pytest
import torch
from pydantic import ValidationError

from tests.checkpoints.gguf.folders import write_folder
from tests.models.tiny import settings, whole
from tests.quantize.test_gguf import WIDE
from tests.quantize.test_run import (
    KINDS,
    LLAMA,
    MIXTURES,
    dense,
    quantize,
    text,
    write_checkpoint,
)
from tfcli.checkpoints.folder import load_model, open_model, save_model
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.models.quantized import packed_linears
from tfcli.models.walks import linears_of
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.text import calibration_text
from tfcli.recipe.job import Job

__all__ = ["dense", "text"]


def options(text, **others):
    given = {"method": "gptq", "data": str(text), "sequence_length": 32, "samples": 24}
    return given | {"device": "cpu", "target_bits": 4.0} | others


def widths(result):
    return {name: group.width for group in result.budget.groups for name in group.linears}


def nbytes_of(folder):
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("layout", ["gptq", "compressed-tensors"])
def test_the_widths_are_in_the_budget_and_the_folder_says_them(dense, text, tmp_path, layout):
    result = quantize(dense, tmp_path / "q", **options(text, layout=layout))
    weights = sum(m.weight.numel() for m in linears(load_model(dense)))
    assert result.budget.used <= result.budget.bytes == 4 * weights // 8
    assert result.bits_per_weight == pytest.approx(8 * result.budget.used / weights)
    assert result.bits_per_weight > 3.7, "what is left would not widen another group"
    found = packed_linears(load_model(tmp_path / "q"))
    for name, word in widths(result).items():
        assert found[name].packing.format.bits == int(word.partition("bit")[0])


def linears(model):
    return [m for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]


def test_the_divergence_that_is_told_is_that_of_the_folder_on_text_it_did_not_see(
    dense, text, tmp_path
):
    given = options(text)
    told = quantize(dense, tmp_path / "q", **given).budget
    spec = QuantizeSpec(model=str(dense), output="unused", group_size=32, **given)
    seen = calibration_text(spec, Job(Console()), open_model(dense), hold_out=True)
    assert told.tokens == seen.held[:, 1:].numel() > 0
    both = {tuple(row) for row in seen.windows.tolist()} & {tuple(r) for r in seen.held.tolist()}
    assert not both
    with torch.no_grad():
        theirs, ours = (
            load_model(folder)(input_ids=seen.held).logits[:, :-1].double().log_softmax(-1)
            for folder in (dense, tmp_path / "q")
        )
    divergence = (theirs.exp() * (theirs - ours)).sum(-1).mean().item()
    assert told.kl_divergence == pytest.approx(divergence, rel=1e-3)
    assert told.forecast == pytest.approx(divergence, rel=0.5)


def test_linears_that_nothing_feels_get_the_fewest_bits(tmp_path, text):
    """What a linear gives is multiplied by nearly nothing: its errors, and those before it, are."""
    model = load_model(write_checkpoint(tmp_path / "plain", LLAMA))
    model.get_parameter("model.layers.0.mlp.down_proj.weight").data.mul_(1e-4)
    save_model(model, write_checkpoint(tmp_path / "dense", LLAMA))
    found = widths(quantize(tmp_path / "dense", tmp_path / "q", **options(text)))
    for part in ("gate_proj", "up_proj", "down_proj"):
        assert found[f"model.layers.0.mlp.{part}"] == "2bit:32"
    assert found["model.layers.1.mlp.down_proj"] != "2bit:32"


def test_linears_that_programs_fuse_get_one_width(tmp_path, text):
    dense = write_checkpoint(tmp_path / "dense", MIXTURES["qwen2_moe"])
    result = quantize(dense, tmp_path / "q", **options(text))
    groups = [set(group.linears) for group in result.budget.groups]
    inner = "model.layers.1"
    assert {f"{inner}.self_attn.{p}_proj" for p in "qkv"} in groups
    experts = {f"{inner}.mlp.experts.{n}.{p}_proj" for n in range(4) for p in ("gate", "up")}
    assert any(experts <= group for group in groups)
    assert len(packed_linears(load_model(tmp_path / "q"))) == result.quantized


def test_types_of_gguf_are_mixed_as_well(tmp_path, text):
    write_folder(tmp_path / "dense", "llama", **WIDE)
    (tmp_path / "q").mkdir()
    given = options(text, target_bits=3.5, layout="gguf")
    spec = QuantizeSpec(model=str(tmp_path / "dense"), output=str(tmp_path / "q"), **given)
    result = run(spec, Job(Console(), tmp_path / "q"))
    assert result.bits_per_weight <= 3.5
    assert len(set(widths(result).values())) > 1
    plain, packed = load_model(tmp_path / "dense"), load_model(tmp_path / "q")
    errors = {}
    for one in result.tensors:
        if one.outcome == "quantized":
            before, after = (m.get_parameter(one.name).detach() for m in (plain, packed))
            errors[one.bits] = ((after - before).norm() / before.norm()).item()
    assert sorted(errors) == sorted(errors, key=errors.get, reverse=True)


def test_a_size_counts_all_that_is_written(dense, text, tmp_path):
    given = options(text, target_bits=None, target_size="60kB")
    result = quantize(dense, tmp_path / "q", **given)
    assert 55_000 < result.bytes_after <= 60_000
    header = nbytes_of(tmp_path / "q") - result.bytes_after
    assert 0 < header < 20_000, "names and shapes come on top"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_bits": 2.0}, "the widths of gptq reach is 3.063, with scales"),
        (
            {"target_bits": None, "target_size": "20kB"},
            "57568, of which 34.0 kB are .* outside of the blocks",
        ),
    ],
)
def test_a_budget_that_no_width_reaches_is_refused_with_the_least_one(
    dense, text, tmp_path, given, message
):
    with pytest.raises(UsageError, match=message) as refused:
        quantize(dense, tmp_path / "q", **options(text, **given))
    key, _, least = refused.value.fix.removesuffix(" or more").partition(": ")
    again = {"target_bits": None, key: float(least) if key == "target_bits" else least}
    result = quantize(dense, tmp_path / "again", **options(text, **again))
    assert {group.width for group in result.budget.groups} == {"2bit:32"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "rtn"}, "target_bits has no effect with method: rtn"),
        ({"bits": 4}, "bits: has no effect beside target_bits"),
        ({"overrides": ["down=8bit"]}, "overrides: has no effect beside target_bits"),
        ({"layout": "awq"}, "awq has one width for all"),
        ({"target_size": "1MB"}, "give one of both"),
        ({"target_bits": math.nan}, "finite"),
        ({"target_bits": None, "target_size": "much"}, "target_size\n.*'much' is not a size"),
        ({"target_bits": None, "target_size": "0"}, "target_size\n.*'0' is no size"),
    ],
)
def test_keys_that_do_not_go_with_a_budget_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        QuantizeSpec(**{"model": "m", "output": "o", "target_bits": 3.0} | given)


@pytest.mark.parametrize("model_type", ["bart", "bert", "t5"])
def test_encoders_and_both_stacks_have_a_budget_and_are_measured_as_they_predict(
    tmp_path, text, model_type
):
    dense = of_kind(tmp_path / "model", model_type)
    result = quantize(dense, tmp_path / "q", **options(text, target_bits=4.5))
    told = result.budget
    assert told.used <= told.bytes and result.bits_per_weight > 4
    plain, packed = load_model(dense, task=None), load_model(tmp_path / "q", task=None)
    assert set(widths(result)) == set(linears_of(plain)) == set(packed_linears(packed))
    assert len(set(widths(result).values())) > 1
    divergence = []
    for inputs, places in held_out(dense, plain, text):
        with torch.no_grad():
            theirs, ours = (
                model(**inputs).logits[places].double().log_softmax(-1) for model in (plain, packed)
            )
        divergence.append((theirs.exp() * (theirs - ours)).sum(-1))
    assert told.tokens == sum(len(each) for each in divergence) > 0
    assert told.kl_divergence == pytest.approx(torch.cat(divergence).mean().item(), rel=1e-3)
    assert told.forecast == pytest.approx(told.kl_divergence, rel=0.6)


def of_kind(folder, model_type, **others):
    sizes = {"vocab_size": 64, "max_position_embeddings": 64, "initializer_factor": 3.0}
    config = whole(model_type, settings(model_type) | sizes | KINDS[model_type] | others)
    write_checkpoint(folder, {"model_type": model_type, **config})
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "w59"}))
    return folder


def held_out(dense, plain, text):
    """What a model of each kind sees of each held-out window, and where it predicts."""
    spec = QuantizeSpec(model=str(dense), output="unused", group_size=32, **options(text))
    seen = calibration_text(spec, Job(Console()), open_model(dense), hold_out=True)
    for number, ids in enumerate(seen.held[:, None]):
        if plain.task == "seq2seq-lm":
            half = ids.shape[1] // 2
            inputs = {"input_ids": ids[:, :half], "decoder_input_ids": ids[:, half:]}
            yield inputs, (0, slice(0, -1))
        else:
            hidden = (torch.arange(ids.shape[1]) - number) % 7 == 0
            masked = ids.masked_fill(hidden, 59)
            yield {"input_ids": masked}, masked == 59


def test_an_encoder_that_nothing_feels_gets_the_fewest_bits(tmp_path, text):
    """What the decoder makes of the encoder's states is multiplied by nearly nothing."""
    dense = of_kind(tmp_path / "plain", "bart")
    model = load_model(dense, task=None)
    for block in model.model.decoder.layers:
        block.encoder_attn.out_proj.weight.data.mul_(1e-5)
    save_model(model, of_kind(tmp_path / "dense", "bart"))
    found = widths(quantize(tmp_path / "dense", tmp_path / "q", **options(text)))
    for name, word in found.items():
        if ".encoder." in name or ".encoder_attn." in name:
            assert word == "2bit:32", name
    assert found["model.decoder.layers.0.fc1"] != "2bit:32"


@pytest.mark.parametrize(
    ("model_type", "others", "message"),
    [
        ("albert", {}, "predicts words, .* one after the other, and albert"),
        ("bert", {"architectures": ["BertModel"]}, "and bert as .* is none"),
    ],
)
def test_models_whose_predictions_cannot_be_followed_are_refused(
    tmp_path, text, model_type, others, message
):
    dense = of_kind(tmp_path / "model", model_type, **others)
    with pytest.raises(UsageError, match=message):
        quantize(dense, tmp_path / "q", **options(text))


def test_a_text_too_short_to_hold_any_of_it_out_is_refused(dense, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("w1 w2 w3 w4 " * 20)
    with pytest.raises(WorkError, match="2 windows of 32 tokens, and one in eight is held out"):
        quantize(dense, tmp_path / "q", **options(short))


def test_nothing_of_the_survey_is_left(dense, text, tmp_path):
    result = quantize(dense, tmp_path / "q", **options(text))
    assert json.loads((tmp_path / "q/.walk/survey.json").read_text())["together"] > 0
    assert not (tmp_path / "q/.walk/survey").exists()
    assert result.verified == len(open_model(tmp_path / "q").weights)
