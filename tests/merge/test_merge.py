"""`tfcli merge`: pieces, shapes, what is refused, and the account of every tensor."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.models import LLAMA, tiny
from tests.dequantize.test_dequantize import dequantize, quantized
from tests.merge.adapters import base_folder, by_hand, merge
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.io import tensor_pieces as pieces
from tfcli.commands.app import run as run_app
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.merge.arithmetic import Edit, apply_edits
from tfcli.merge.spec import MergeResult, MergeSpec
from tfcli.recipe.execute import execute

Q = "model.layers.0.self_attn.q_proj"


def lora(module: str = Q, rows: int = 32, columns: int = 32, rank: int = 2) -> dict[str, Any]:
    return {
        f"{module}.lora_A.weight": torch.full((rank, columns), 0.5),
        f"{module}.lora_B.weight": torch.ones(rows, rank),
    }


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return base_folder(tmp_path / "base")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("by_column", [False, True])
def test_the_formula_does_not_depend_on_the_pieces(
    monkeypatch: pytest.MonkeyPatch, transposed: bool, by_column: bool
) -> None:
    random = torch.Generator().manual_seed(0)
    weight, left, right = (
        torch.randn(*size, generator=random) for size in ((7, 5), (7, 2), (2, 5))
    )
    magnitude = torch.rand(5 if by_column else 7, generator=random) + 0.5
    moved = weight + 3 * left @ right
    exact = moved * (
        magnitude / moved.norm(dim=0) if by_column else (magnitude / moved.norm(dim=1))[:, None]
    )
    edit = Edit(
        left=left,
        right=right,
        scale=3,
        magnitude=magnitude,
        by_column=by_column,
        transposed=transposed,
    )
    stored = weight.t().contiguous() if transposed else weight
    for piece in (1, 12, 1000):
        monkeypatch.setattr(pieces, "PIECE", piece)
        found, outcome = apply_edits(stored, [edit], torch.float32, "w")
        assert torch.allclose(found.t() if transposed else found, exact, atol=1e-6)
        assert outcome.change == pytest.approx(
            float((exact - weight).abs().max() / weight.abs().max())
        )
        assert 0 < outcome.deviation <= 2**-24


def test_an_element_of_a_stack() -> None:
    stack = torch.zeros(3, 2, 2)
    edit = Edit(index=1, left=torch.ones(2, 1), right=torch.tensor([[1.0, 2.0]]))
    found, _ = apply_edits(stack, [edit], torch.float32, "w")
    assert found.tolist() == [[[0, 0], [0, 0]], [[1, 2], [1, 2]], [[0, 0], [0, 0]]]


def test_every_tensor_is_accounted_for(base: Path, tmp_path: Path) -> None:
    norm = torch.full((32,), 3.0)
    adapter = by_hand(tmp_path / "adapter", {**lora(), "model.norm.weight": norm})
    result = merge(base, adapter, tmp_path / "out")
    before, after = open_tensors(base), open_tensors(tmp_path / "out")
    # alpha / r = 2, and the product of the factors is 1 everywhere
    assert torch.equal(after[f"{Q}.weight"], before[f"{Q}.weight"].double().add(2).float())
    assert torch.equal(after["model.norm.weight"], norm)
    assert (result.merged, result.replaced, result.copied) == (1, 1, len(before) - 2)
    assert (result.adapter_tensors, result.verified) == (3, len(before))
    assert {t.name: t.action for t in result.tensors}[f"{Q}.weight"] == "merged"
    assert [t.name for t in result.tensors] == list(before)
    assert (tmp_path / "out/config.json").read_text() == (base / "config.json").read_text()


def test_a_checkpoint_without_the_prefix(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    source = open_tensors(base)
    bare = [PendingTensor.of(n.removeprefix("model."), source[n]) for n in source]
    write_safetensors(base / "model.safetensors", bare)
    merge(base, by_hand(tmp_path / "adapter", lora()), tmp_path / "out")
    after = open_tensors(tmp_path / "out")
    name = f"{Q}.weight".removeprefix("model.")
    assert torch.allclose(after[name], open_tensors(base)[name] + 2)


@pytest.mark.parametrize("first", [False, True])
def test_a_family_that_is_not_known(tmp_path: Path, first: bool) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    shape = (3, 4) if first else (4, 3)
    write_safetensors(
        folder / "model.safetensors", [PendingTensor.of("x.weight", torch.zeros(shape))]
    )
    (folder / "config.json").write_text('{"model_type": "other"}')
    adapter = by_hand(tmp_path / "adapter", lora("x", 4, 3), fan_in_fan_out=first)
    merge(folder, adapter, tmp_path / "out")
    assert torch.equal(open_tensors(tmp_path / "out")["x.weight"], torch.full(shape, 2.0))


@pytest.mark.parametrize("stored", ["language_model.model.x", "model.language_model.x"])
@pytest.mark.parametrize("named", ["language_model.model.x", "model.language_model.x"])
def test_a_language_model_inside_of_another_under_either_of_its_names(
    tmp_path: Path, stored: str, named: str
) -> None:
    """Versions of transformers call it differently, in checkpoints as in adapters."""
    folder = tmp_path / "base"
    folder.mkdir()
    pending = [PendingTensor.of(f"{stored}.weight", torch.zeros(4, 3))]
    write_safetensors(folder / "model.safetensors", pending)
    (folder / "config.json").write_text('{"model_type": "other"}')
    merge(folder, by_hand(tmp_path / "adapter", lora(named, 4, 3)), tmp_path / "out")
    found = open_tensors(tmp_path / "out")
    assert torch.equal(found[f"{stored}.weight"], torch.full((4, 3), 2.0))


@pytest.mark.parametrize("around", ["model.language_model.", "language_model.model."])
def test_an_adapter_of_a_language_model_inside_of_another_and_the_model_alone(
    base: Path, tmp_path: Path, around: str
) -> None:
    inner = {name.replace("model.", around, 1): tensor for name, tensor in lora().items()}
    merge(base, by_hand(tmp_path / "inner", inner), tmp_path / "a")
    merge(base, by_hand(tmp_path / "plain", lora()), tmp_path / "b")
    found, wanted = open_tensors(tmp_path / "a"), open_tensors(tmp_path / "b")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_tensors_that_fit_nothing_are_named(base: Path, tmp_path: Path) -> None:
    adapter = by_hand(
        tmp_path / "adapter",
        {**lora(), **lora("model.layers.9.self_attn.q_proj"), "odd": torch.ones(1)},
    )
    with pytest.raises(WorkError, match=r"3 of 5 tensors .*'base_model\.model\.odd'") as error:
        merge(base, adapter, tmp_path / "out")
    assert "layers.9.self_attn.q_proj.lora_A" in error.value.what
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("tensors", "config", "says"),
    [
        (lora(columns=31), {}, "changes a weight of 32 x 31, the base's .* is 32 x 32"),
        (lora(rank=3), {}, "not of rank 2"),
        ({f"{Q}.lora_A.weight": torch.ones(2, 32)}, {}, "lacks the other factor"),
        (lora(), {"use_dora": True}, "use_dora and the tensors of .* do not agree"),
        ({**lora(), f"{Q}.lora_magnitude_vector": torch.ones(32)}, {}, "use_dora and the tensors"),
        (
            {**lora(), f"{Q}.lora_magnitude_vector": torch.ones(31)},
            {"use_dora": True},
            "changes a weight of",
        ),
        ({f"{Q}.ia3_l": torch.ones(32)}, {"peft_type": "IA3"}, "no row or column"),
        ({f"{Q}.ia3_l": torch.ones(31, 1)}, {"peft_type": "IA3"}, "31 x any"),
        ({"model.norm.weight": torch.ones(3)}, {}, r"is \[3\], the base has \[32\]"),
        (
            {
                **lora(),
                f"{Q}.lora_magnitude_vector": torch.ones(32),
                f"{Q}.lora_magnitude_vector.weight": torch.ones(32),
            },
            {"use_dora": True},
            "are the same part",
        ),
        ({}, {}, "the adapter holds no tensors"),
        ({name: torch.zeros(0) for name in lora()}, {}, "the adapter holds empty tensors alone"),
        ({**lora(), f"{Q}.lora_A.weight": torch.zeros(0)}, {}, "a factor is empty"),
        (lora(), {"peft_type": "VERA"}, "'VERA' is not merged"),
        (lora(), {"use_qalora": True}, "use_qalora: True changes what the adapter computes"),
        (lora(), {"a_key_of_tomorrow": 1}, "a_key_of_tomorrow: 1 changes"),
        (lora(), {"init_lora_weights": "pissa_niter_4"}, "changed the base too"),
        (lora(), {"r": 0}, "'r': input should be greater than 0"),
        (lora(), {"r": True}, "'r': input should be a valid number"),
        (lora(), {"lora_alpha": "4"}, "'lora_alpha': input should be a valid number"),
        (lora(), {"lora_alpha": math.inf}, "'lora_alpha': input should be a finite number"),
        (lora(), {"use_rslora": "no"}, "'use_rslora': input should be a valid boolean"),
        (lora(), {"alpha_pattern": {"q": -1}}, "'alpha_pattern.q': input should be greater"),
        (lora(), {"alpha_pattern": {"(": 1}}, "alpha_pattern: bad pattern"),
        (lora(), {"rank_pattern": [1]}, "'rank_pattern': input should be a valid dictionary"),
    ],
)
def test_adapters_that_are_refused(
    base: Path, tmp_path: Path, tensors: dict[str, Any], config: dict[str, Any], says: str
) -> None:
    adapter = by_hand(tmp_path / "adapter", tensors, **config)
    with pytest.raises(WorkError, match=says):
        merge(base, adapter, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_an_adapter_as_before_any_training_is_merged_with_a_warning(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained = {name: t * 0 if "lora_B" in name else t for name, t in lora().items()}
    for name, tensors in {"untrained": untrained, "trained": lora()}.items():
        output = tmp_path / f"{name}-out"
        adapter = by_hand(tmp_path / name, tensors)
        assert run_app(["merge", str(base), str(adapter), str(output)]) == 0
        warned = "the adapter changes nothing" in capsys.readouterr().err
        assert warned == (name == "untrained")


def test_a_bias_beside_none_is_not_called_another_model_s(base: Path, tmp_path: Path) -> None:
    adapter = by_hand(tmp_path / "adapter", {**lora(), f"{Q}.lora_B.bias": torch.ones(32)})
    with pytest.raises(WorkError, match="fit nothing in the base") as error:
        merge(base, adapter, tmp_path / "out")
    assert "lora_bias adds to biases, and the base has none" in str(error.value.fix)


def test_what_is_no_adapter(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no adapter_config\.json"):
        merge(base, base, tmp_path / "a")
    adapter = by_hand(tmp_path / "adapter", lora())
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(WorkError, match=r"has no adapter_model\.safetensors"):
        merge(base, adapter, tmp_path / "b")
    (tmp_path / "adapter.gguf").write_bytes(b"GGUF\3")
    with pytest.raises(UsageError, match="is a file: adapters are folders"):
        merge(base, tmp_path / "adapter.gguf", tmp_path / "c")


def test_integer_weights_cannot_be_changed(base: Path, tmp_path: Path) -> None:
    source = open_tensors(base)
    tensors = {name: source[name] for name in source}
    tensors[f"{Q}.weight"] = torch.zeros(32, 32, dtype=torch.int8)
    write_safetensors(
        base / "model.safetensors", [PendingTensor.of(n, t) for n, t in tensors.items()]
    )
    with pytest.raises(WorkError, match="holds I8 values"):
        merge(base, by_hand(tmp_path / "adapter", lora()), tmp_path / "out")


def test_both_sides_of_a_tie_replaced_alike_stay_tied(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", tie_word_embeddings=True)
    new = torch.ones(61, 32)
    tensors = {"model.embed_tokens.weight": new, "lm_head.weight": new.clone()}
    result = merge(base, by_hand(tmp_path / "a", tensors), tmp_path / "out")
    assert (result.untied, result.replaced) == ([], 1)
    assert "lm_head.weight" not in open_tensors(tmp_path / "out")
    tensors["lm_head.weight"] = new * 2
    result = merge(base, by_hand(tmp_path / "b", tensors), tmp_path / "apart")
    assert (result.untied, result.replaced) == (["lm_head.weight"], 2)
    assert json.loads((tmp_path / "apart/config.json").read_text())["tie_word_embeddings"] is False


def test_a_tie_that_was_trained_as_one_stays(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", tie_word_embeddings=True)
    tensors = {"model.embed_tokens.weight": torch.ones(61, 32)}
    kept = by_hand(tmp_path / "a", tensors, ensure_weight_tying=True)
    assert merge(base, kept, tmp_path / "out").untied == []
    same = {"model.embed_tokens.base_layer.weight": tiny(LLAMA).model.embed_tokens.weight.data}
    result = merge(base, by_hand(tmp_path / "b", same), tmp_path / "same")
    assert (result.untied, result.replaced) == ([], 0)


def test_a_quantized_base_needs_a_dense_one(base: Path, tmp_path: Path) -> None:
    adapter = by_hand(tmp_path / "adapter", lora())
    packed = tmp_path / "packed"
    save_model(tiny(LLAMA), packed)
    config = json.loads((packed / "config.json").read_text())
    (packed / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    with pytest.raises(UsageError, match="into packed weights") as error:
        merge(packed, adapter, tmp_path / "a")
    assert "--merge-base" in str(error.value.fix)
    with pytest.raises(UsageError, match="packed weights again"):
        merge(packed, adapter, tmp_path / "b", merge_base=str(packed))
    with pytest.raises(UsageError, match="the base is dense already"):
        merge(base, adapter, tmp_path / "c", merge_base=str(base))
    other = base_folder(tmp_path / "other", intermediate_size=64)
    with pytest.raises(WorkError, match="intermediate_size is 64 here and 48"):
        merge(packed, adapter, tmp_path / "d", merge_base=str(other))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """The base, quantized: its linears have 64 inputs, which make two groups."""
    return quantized(tmp_path / "packed", bits=4)


def spread(module: str = Q) -> dict[str, Any]:
    """An adapter of the quantized base, whose product is 1 everywhere."""
    return lora(module, rows=64, columns=64)


def test_the_dense_base_is_what_is_merged_into(
    packed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dense = tmp_path / "packed-dense"
    norm = {"model.norm.weight": torch.full((64,), 3.0)}
    adapter = by_hand(tmp_path / "adapter", {**spread(), **norm})
    result = merge(packed, adapter, tmp_path / "out", merge_base=str(dense))
    before, after = open_tensors(dense), open_tensors(tmp_path / "out")
    assert result.merge_base == str(dense)
    assert set(after) == set(before)
    assert torch.allclose(after[f"{Q}.weight"], before[f"{Q}.weight"] + 2)
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())

    # The distance from the adapter on the quantized base is what quantization cost.
    dequantize(packed, tmp_path / "again", dtype="fp32")
    again = open_tensors(tmp_path / "again")
    found = {tensor.name: tensor.divergence for tensor in result.tensors}
    for name in before:
        change = 2.0 if name == f"{Q}.weight" else 0.0
        if name == "model.norm.weight":
            assert found[name] == 0.0
            continue
        theirs, ours = again[name].float() + change, after[name].float()
        largest = max(theirs.abs().max(), ours.abs().max())
        assert found[name] == pytest.approx(float((theirs - ours).abs().max() / largest), abs=1e-6)
    assert result.max_divergence == max(found.values())  # type: ignore[type-var]
    assert result.max_divergence > 0.01
    assert result.divergence_unknown is None
    said = capfd.readouterr().err
    assert f"{result.max_divergence:.3g} of a tensor's largest value" in said


def test_the_adapter_runs_on_the_quantized_base(packed: Path, tmp_path: Path) -> None:
    adapter = by_hand(tmp_path / "adapter", spread())
    dense = tmp_path / "packed-dense"
    result = merge(packed, adapter, tmp_path / "out", merge_base=str(dense), verify="logits")
    assert result.logits is not None and not result.logits.within
    # Of the quantized base itself nothing is lost.
    dequantize(packed, tmp_path / "again", dtype="fp32")
    same = merge(
        packed, adapter, tmp_path / "same", merge_base=str(tmp_path / "again"), verify="logits"
    )
    assert same.max_divergence == 0
    assert same.logits is not None
    assert same.logits.largest_difference < 1e-4 < result.logits.largest_difference


def test_the_dense_base_is_of_the_same_model(packed: Path, tmp_path: Path) -> None:
    adapter = by_hand(tmp_path / "adapter", spread())
    source = open_tensors(packed)
    kept = [name for name in source if not name.startswith("model.layers.1.mlp.up_proj.")]
    pending = [PendingTensor.of(name, source[name].clone()) for name in kept]
    write_safetensors(packed / "model.safetensors", pending)
    with pytest.raises(WorkError, match=r"up_proj\.weight' is not there; the dense checkpoint has"):
        merge(packed, adapter, tmp_path / "out", merge_base=str(tmp_path / "packed-dense"))
    assert not list((tmp_path / "out").iterdir())


def test_a_base_that_is_packed_in_an_unknown_way(
    packed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((packed / "config.json").read_text())
    config["quantization_config"]["quant_method"] = "vptq"
    (packed / "config.json").write_text(json.dumps(config))
    adapter = by_hand(tmp_path / "adapter", spread())
    dense = str(tmp_path / "packed-dense")
    result = merge(packed, adapter, tmp_path / "out", merge_base=dense)
    assert result.max_divergence is None
    assert "'vptq' is not supported" in str(result.divergence_unknown)
    assert "is not known: quant_method" in capfd.readouterr().err
    with pytest.raises(UsageError, match="the base cannot be unpacked"):
        merge(packed, adapter, tmp_path / "no", merge_base=dense, verify="logits")
    assert not list((tmp_path / "no").iterdir())


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_another_type_is_rounded_to_once(base: Path, tmp_path: Path, dtype: str) -> None:
    norm = torch.full((32,), 1.0 + 2**-12)
    adapter = by_hand(tmp_path / "adapter", {**lora(), "model.norm.weight": norm})
    merge(base, adapter, tmp_path / "exact")
    result = merge(base, adapter, tmp_path / "out", dtype=dtype)
    wanted = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]
    exact, found = open_tensors(tmp_path / "exact"), open_tensors(tmp_path / "out")
    assert all(torch.equal(found[name], exact[name].to(wanted)) for name in exact)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["dtype"] == str(wanted).removeprefix("torch.")
    code = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}[dtype]
    assert {tensor.dtype for tensor in result.tensors} == {code}


def test_files_of_a_size_and_the_card(base: Path, tmp_path: Path) -> None:
    adapter = by_hand(tmp_path / "adapter", lora())
    spec = MergeSpec(
        base=str(base), adapter=str(adapter), output=str(tmp_path / "out"), shard_size="20KB"
    )
    result = execute(spec, Console.silent()).result
    assert isinstance(result, MergeResult)
    assert len(result.files) > 3
    card = (tmp_path / "out/README.md").read_text()
    inputs = json.loads((tmp_path / "out/run.json").read_text())["inputs"]
    assert "# base, merged with adapter" in card
    assert inputs[str(base)] in card and inputs[str(adapter)] in card
    assert f"| tensors | 1 merged, 0 replaced, {result.copied} copied |" in card
    assert str(tmp_path) not in card


def test_logits_of_the_result_are_those_of_the_adapter(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", tie_word_embeddings=True, dtype=torch.bfloat16)
    tensors = {**lora(), "lm_head.weight": torch.randn(61, 32)}
    adapter = by_hand(tmp_path / "adapter", tensors)
    result = merge(base, adapter, tmp_path / "out", verify="logits")
    assert result.logits is not None and result.logits.within
    assert result.untied == ["lm_head.weight"]
    assert 0 < result.logits.relative_difference < 0.1
