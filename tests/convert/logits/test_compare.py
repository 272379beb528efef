"""`--verify logits`: rounding is explained, damage is found."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.checkpoints.models import BERT, GPT2, LLAMA
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.console import Console
from tfcli.convert.logits.compare import compare_logits, measure_logits, require_runnable
from tfcli.convert.logits.sample import sample_inputs
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import ModelError, WorkError
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.registry import read_config
from tfcli.recipe.execute import execute

T5 = {
    "model_type": "t5",
    "vocab_size": 61,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
MAMBA = {
    "model_type": "mamba",
    "vocab_size": 61,
    "hidden_size": 32,
    "state_size": 4,
    "num_hidden_layers": 2,
    "initializer_range": 0.2,
}
QWEN3_MOE = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "head_dim": 8,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
FAMILIES = {"llama": LLAMA, "gpt2": GPT2, "bert": BERT, "t5": T5, "mamba": MAMBA, "moe": QWEN3_MOE}
WIDE = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 320}  # rows of whole blocks
IN_GGUF = {
    "llama": {**LLAMA, **WIDE},
    "gpt2": {**GPT2, "n_embd": 64, "vocab_size": 320, "eos_token_id": 0, "bos_token_id": 0},
    "bert": {**BERT, **WIDE},
}


def checkpoint(
    folder: Path, settings: dict[str, Any], task: str | None = None, **more: Any
) -> Checkpoint:
    """A folder with random weights; vectors are random too, so that none hides behind ones."""
    model = initialize(build(read_config(settings), task))
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    save_model(model, folder, **more)
    return open_checkpoint(folder)


def written(source: Checkpoint, output: Path, **keys: Any) -> Checkpoint:
    """What `tfcli convert` makes of a checkpoint."""
    spec = ConvertSpec(source=str(source.path), output=str(output), **keys)
    execute(spec, Console.silent())
    return open_checkpoint(output)


def damaged(view: Checkpoint, name: str, change: Callable[[Tensor], Tensor]) -> Checkpoint:
    """The view with one tensor changed."""
    tensor = view.tensors[name]
    values = change(tensor.read().clone())
    assert not torch.equal(values, tensor.read())
    changed = dataclasses.replace(tensor, read=lambda: values)
    return dataclasses.replace(view, tensors={**view.tensors, name: changed})


def reversed_rows(values: Tensor) -> Tensor:
    return values.flip(0)


def swapped_heads(values: Tensor) -> Tensor:
    """The first and the last of the heads' rows exchanged."""
    heads = values.unflatten(0, (4, -1))
    return heads[[3, 1, 2, 0]].reshape(values.shape)


def swapped_rows(values: Tensor) -> Tensor:
    """Two rows of a head exchanged."""
    values[[0, 1]] = values[[1, 0]]
    return values


@pytest.mark.parametrize("family", FAMILIES)
def test_what_keeps_its_types_answers_bit_for_bit_alike(family, tmp_path):
    source = checkpoint(tmp_path / "in", FAMILIES[family])
    for to in ("hf", "pt"):
        account = compare_logits(source, written(source, tmp_path / to, to=to), length=20)
        assert account.within and account.bound == 0 and account.rounded == {}
        assert account.largest_difference == account.relative_difference == 0
        assert account.kl_divergence == 0 and account.same_top == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_rounding_to_a_type_is_all_that_differs(family, tmp_path):
    source = checkpoint(tmp_path / "in", FAMILIES[family])
    fp16, bf16 = (
        compare_logits(source, written(source, tmp_path / kind, dtype=kind), length=20)
        for kind in ("fp16", "bf16")
    )
    assert set(fp16.rounded) == {"F16"} and set(bf16.rounded) == {"BF16"}
    for account in (fp16, bf16):
        assert account.relative_difference == account.expected_difference > 0
        assert account.unexplained_difference == 0 and account.within
    # Three bits more; not always eight times less, where a router chooses otherwise.
    assert bf16.relative_difference > 2 * fp16.relative_difference
    assert 1e-5 < fp16.relative_difference < 0.02


def test_values_that_the_type_can_hold_cost_nothing(tmp_path):
    """Half precision that was stored as float32: no guess from the number of bits would say so."""
    checkpoint(tmp_path / "first", LLAMA)
    half = written(open_checkpoint(tmp_path / "first"), tmp_path / "half", dtype="bf16")
    wide = written(half, tmp_path / "wide", dtype="fp32")
    account = compare_logits(wide, written(wide, tmp_path / "again", dtype="bf16"))
    assert account.rounded == {}
    assert account.expected_difference == account.relative_difference == 0


@pytest.mark.parametrize("family", IN_GGUF)
def test_gguf_types(family, tmp_path, tiny_tokenizer):
    source = checkpoint(tmp_path / "in", IN_GGUF[family], tokenizer_from=tiny_tokenizer)
    found = {}
    for kind in ("fp32", "fp16", "q8_0", "q4_0"):
        view = written(source, tmp_path / kind, to="gguf", dtype=kind)
        found[kind] = account = compare_logits(source, view)
        assert account.task == ("embedding" if family == "bert" else "causal-lm")
        assert account.unexplained_difference == 0
        assert account.relative_difference == account.expected_difference
    sizes = [found[kind].relative_difference for kind in found]
    assert sizes[0] == 0 and sizes == sorted(sizes)
    assert found["fp32"].rounded == {} and list(found["q4_0"].rounded) == ["Q4_0"]
    assert sizes[3] > 5 * sizes[2] > 0


def test_types_by_pattern_and_a_tied_table(tmp_path, tiny_tokenizer):
    settings = {**IN_GGUF["llama"], "tie_word_embeddings": True}
    source = checkpoint(tmp_path / "in", settings, tokenizer_from=tiny_tokenizer)
    keys = {"dtype": "q8_0", "tensor_type": ["ffn_down=q4_0", "token_embd=f16"]}
    account = compare_logits(source, written(source, tmp_path / "out", to="gguf", **keys))
    assert account.rounded == {"F16": 1, "Q4_0": 2, "Q8_0": 12}
    assert account.unexplained_difference == 0


def test_a_bfloat16_source_in_a_quantized_file(tmp_path, tiny_tokenizer):
    """Read back, its values are rounded twice: to the block's steps and to bfloat16."""
    checkpoint(tmp_path / "first", IN_GGUF["llama"], tokenizer_from=tiny_tokenizer)
    source = written(open_checkpoint(tmp_path / "first"), tmp_path / "in", dtype="bf16")
    account = compare_logits(source, written(source, tmp_path / "out", to="gguf", dtype="q8_0"))
    assert list(account.rounded) == ["Q8_0"]
    assert account.unexplained_difference == 0 < account.expected_difference


@pytest.mark.parametrize(
    ("family", "name", "where"),
    [
        ("llama", "model.layers.1.self_attn.q_proj.weight", "block 1 or the norm after it"),
        ("llama", "lm_head.weight", "the head"),
        ("gpt2", "transformer.h.0.mlp.c_fc.weight", "block 0"),
        ("bert", "bert.encoder.layer.0.attention.self.query.weight", "block 0"),
        ("t5", "encoder.block.0.layer.0.SelfAttention.v.weight", "encoder block 0"),
        ("t5", "decoder.block.0.layer.1.EncDecAttention.k.weight", "block 0"),
        ("mamba", "backbone.embeddings.weight", "the embeddings"),
    ],
)
def test_a_permuted_matrix_is_found_where_it_is(family, name, where, tmp_path):
    source = checkpoint(tmp_path / "in", FAMILIES[family])
    view = written(source, tmp_path / "out", dtype="bf16")
    with pytest.raises(WorkError) as error:
        compare_logits(source, damaged(view, name, reversed_rows))
    assert f"the difference begins in {where}" in error.value.what
    assert "not explained by rounding to BF16" in error.value.what
    assert error.value.where == str(tmp_path / "out") and error.value.fix


@pytest.mark.parametrize("change", [swapped_heads, swapped_rows])
def test_damage_shows_through_the_noise_of_four_bits(change, tmp_path, tiny_tokenizer):
    """Rounding moves the logits of so small a model by half of their standard deviation."""
    source = checkpoint(tmp_path / "in", IN_GGUF["llama"], tokenizer_from=tiny_tokenizer)
    view = written(source, tmp_path / "out", to="gguf", dtype="q4_0")
    name = "model.layers.1.self_attn.q_proj.weight"
    account = measure_logits(source, damaged(view, name, change))
    assert account.expected_difference > 0.4
    assert not account.within and account.unexplained_difference > 0.01
    if change is swapped_rows:  # a bound on the whole difference would let this pass
        assert account.relative_difference < 1.1 * account.expected_difference


def test_one_weight_that_is_one_step_off_is_found(tmp_path):
    def step(values: Tensor) -> Tensor:
        values[3, 5] *= 1 + 2**-7
        return values

    source = checkpoint(tmp_path / "in", LLAMA)
    view = written(source, tmp_path / "out", dtype="bf16")
    account = measure_logits(source, damaged(view, "model.layers.0.mlp.up_proj.weight", step))
    assert not account.within and account.unexplained_difference < account.expected_difference


@pytest.mark.parametrize(
    ("key", "value"),
    [("rope_parameters", {"rope_type": "default", "rope_theta": 9000.0}), ("rms_norm_eps", 1e-4)],
)
def test_equal_tensors_under_another_config_are_no_equal_model(key, value, tmp_path):
    source = checkpoint(tmp_path / "in", LLAMA)
    view = dataclasses.replace(source, config={**source.config, key: value})
    with pytest.raises(WorkError, match=f"the configs differ in {key}"):
        compare_logits(source, view)


def test_a_number_of_the_config_may_be_kept_in_float32(tmp_path):
    source = checkpoint(tmp_path / "in", LLAMA)
    rope = {"rope_type": "default", "rope_theta": 10000 * (1 + 2**-23)}
    view = dataclasses.replace(source, config={**source.config, "rope_parameters": rope})
    account = compare_logits(source, view)
    assert 0 < account.unexplained_difference < account.bound == 1e-5


TASKS = [
    (family, task)
    for family, tasks in {
        "bert": (
            "masked-lm",
            "sequence-classification",
            "token-classification",
            "question-answering",
            "multiple-choice",
            "embedding",
        ),
        "llama": ("sequence-classification", "question-answering", "embedding"),
        "t5": ("sequence-classification", "token-classification", "embedding"),
    }.items()
    for task in tasks
]


@pytest.mark.parametrize(("family", "task"), TASKS)
def test_every_task(family, task, tmp_path):
    source = checkpoint(tmp_path / "in", FAMILIES[family], task)
    view = written(source, tmp_path / "out", dtype="bf16")
    account = compare_logits(source, view)
    assert account.task == task
    assert account.unexplained_difference == 0 < account.expected_difference
    assert (account.kl_divergence is None) == (task != "masked-lm")
    assert (account.same_top is None) == (task == "embedding")
    name = next(
        name
        for name in view.tensors
        if name.endswith(("q_proj.weight", "query.weight", "q.weight"))
    )
    assert not measure_logits(source, damaged(view, name, reversed_rows)).within


def test_the_figures_are_what_they_are_called(tmp_path):
    source = checkpoint(tmp_path / "in", LLAMA)
    view = written(source, tmp_path / "out", dtype="bf16")
    account = measure_logits(source, view, seed=5, rows=3, length=7)
    one, other = (_logits(side, seed=5, rows=3, length=7) for side in (source, view))
    gap, middle = other - one, one - one.mean(-1, keepdim=True)
    assert account.tokens == 21 and account.seed == 5
    assert account.largest_difference == pytest.approx(gap.abs().max().item())
    relative = (gap.square().mean() / middle.square().mean()).sqrt().item()
    assert account.relative_difference == pytest.approx(relative)
    expected = torch.nn.functional.kl_div(
        other.log_softmax(-1), one.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    assert account.kl_divergence == pytest.approx(expected.item(), rel=1e-6)
    same = (one.argmax(-1) == other.argmax(-1)).double().mean().item()
    assert account.same_top == same


def test_of_spans_the_places_are_ranked(tmp_path):
    source = checkpoint(tmp_path / "in", BERT, "question-answering")
    name = "bert.encoder.layer.1.attention.self.query.weight"
    view = damaged(source, name, reversed_rows)
    one, other = (_logits(side, seed=0, rows=16, length=8) for side in (source, view))
    starts_and_ends = [each.unflatten(0, (16, 8)).argmax(1) for each in (one, other)]
    same = (starts_and_ends[0] == starts_and_ends[1]).double().mean().item()
    assert 0 < same < 1
    assert measure_logits(source, view, rows=16, length=8).same_top == same


def _logits(view: Checkpoint, **sample: int) -> Tensor:
    model = load_model(view, task=None, dtype=torch.float32)
    with torch.no_grad():
        return model(**sample_inputs(model, **sample)).logits.double().flatten(0, 1)


def models() -> list[Model]:
    """Every model that is filled."""
    found = [each for each in gc.get_objects() if issubclass(type(each), Model)]
    return [each for each in found if not next(each.parameters()).is_meta]


def test_one_model_at_a_time(tmp_path):
    source = checkpoint(tmp_path / "in", LLAMA)
    view = written(source, tmp_path / "out", dtype="bf16")
    others = {id(model) for model in models()}  # what earlier tests keep
    counts = []

    def read(tensor: Any) -> Tensor:
        counts.append(sum(id(model) not in others for model in models()))
        return tensor.read()

    watched = {
        name: dataclasses.replace(tensor, read=lambda tensor=tensor: read(tensor))
        for name, tensor in view.tensors.items()
    }
    compare_logits(source, dataclasses.replace(view, tensors=watched))
    assert counts[0] == 0 and max(counts) <= 1


def test_the_files_are_not_written_to(tmp_path):
    source = checkpoint(tmp_path / "in", LLAMA)
    before = (tmp_path / "in/model.safetensors").read_bytes()
    measure_logits(source, written(source, tmp_path / "out", dtype="fp16"))
    assert (tmp_path / "in/model.safetensors").read_bytes() == before


def test_weights_that_are_not_finite(tmp_path):
    source = checkpoint(tmp_path / "in", LLAMA)
    name = "model.layers.0.mlp.up_proj.weight"
    view = damaged(source, name, lambda values: values.fill_(float("nan")))
    with pytest.raises(WorkError, match="not finite"):
        compare_logits(source, view)


def test_answers_of_another_shape(tmp_path):
    task = "sequence-classification"
    source = checkpoint(tmp_path / "in", {**BERT, "num_labels": 3}, task)
    view = checkpoint(tmp_path / "out", {**BERT, "num_labels": 2}, task)
    with pytest.raises(WorkError, match=r"the logits have shape \(2, 2\), the source's \(2, 3\)"):
        compare_logits(source, view)


def test_a_lost_head_is_no_smaller_model(tmp_path):
    source = checkpoint(tmp_path / "in", {**LLAMA, "tie_word_embeddings": False})
    tensors = {name: each for name, each in source.tensors.items() if name != "lm_head.weight"}
    with pytest.raises(ModelError, match=r"lacks lm_head\.weight"):
        compare_logits(source, dataclasses.replace(source, tensors=tensors))


def test_what_cannot_be_run_is_refused_from_headers(tmp_path):
    source = checkpoint(tmp_path / "in", LLAMA)

    def read() -> Tensor:
        raise AssertionError("values are read")

    tensors = {n: dataclasses.replace(each, read=read) for n, each in source.tensors.items()}
    headers = dataclasses.replace(source, tensors=tensors)
    require_runnable(headers)
    with pytest.raises(ModelError, match="LlamaForNothing") as error:
        architectures = {"architectures": ["LlamaForNothing"]}
        require_runnable(dataclasses.replace(headers, config=source.config | architectures))
    assert str(tmp_path / "in") in str(error.value.where)
    with pytest.raises(ModelError, match="no place for"):
        more = {**tensors, "model.layers.2.mlp.up_proj.weight": tensors["lm_head.weight"]}
        require_runnable(dataclasses.replace(headers, tensors=more))
