"""Which linears a quantization_config covers, and what is refused by name."""

import pytest
import torch

from tfcli.models.errors import ModelError
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.registry import layout_of
from tfcli.models.loading import build, load_weights
from tfcli.models.quantized import packed_linears, swap_quantized
from tfcli.models.registry import read_config

LLAMA = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True}


def quantized_names(**changes):
    model = build(read_config(LLAMA))
    swapped = swap_quantized(model, GPTQ | changes)
    found = [n for n, module in model.named_modules() if isinstance(module, QuantizedLinear)]
    assert sorted(found) == sorted(swapped)
    return model, swapped


def test_all_linears_of_the_blocks_are_swapped_and_nothing_else():
    model, names = quantized_names()
    assert len(names) == 2 * 7
    assert names[0] == "model.layers.0.self_attn.q_proj"
    assert isinstance(model.lm_head, torch.nn.Linear)
    assert model.model.layers[1].mlp.down_proj.qweight.shape == (96 // 8, 64)
    assert model.model.layers[1].mlp.down_proj.qweight.is_meta


def test_build_swaps_when_the_config_says_so():
    model = build(read_config(LLAMA | {"quantization_config": GPTQ}))
    assert isinstance(model.model.layers[0].mlp.up_proj, QuantizedLinear)


def test_modules_in_block_to_quantize_limits_the_swap():
    _, names = quantized_names(
        modules_in_block_to_quantize=[["self_attn.q_proj"], ["mlp.up_proj", "mlp.gate_proj"]]
    )
    assert [name for name in names if ".1." in name] == [
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
        "model.layers.1.mlp.gate_proj",
    ]


def test_blocks_that_differ_are_swapped_each_as_they_are():
    data = {
        "model_type": "qwen3_moe",
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 32,
        "mlp_only_layers": [0],
    }
    model = build(read_config(LLAMA | data))
    names = swap_quantized(model, GPTQ)
    assert [name for name in names if ".mlp." in name] == [
        *(f"model.layers.0.mlp.{part}_proj" for part in ("gate", "up", "down")),
        *(
            f"model.layers.1.mlp.experts.{expert}.{part}_proj"
            for expert in (0, 1)
            for part in ("gate", "up", "down")
        ),
    ]
    model = build(read_config(LLAMA | data))
    inside = ["mlp.up_proj", "mlp.experts.1.up_proj"]
    assert swap_quantized(model, GPTQ | {"modules_in_block_to_quantize": inside}) == [
        "model.layers.0.mlp.up_proj",
        "model.layers.1.mlp.experts.1.up_proj",
    ]
    for wrong in ("mlp.experts.up_proj", "mlp.gate"):
        with pytest.raises(ModelError, match=f"'{wrong}' is no linear of a block"):
            swap_quantized(
                build(read_config(LLAMA | data)), GPTQ | {"modules_in_block_to_quantize": [wrong]}
            )


def test_dynamic_leaves_out_and_changes_single_linears():
    model, names = quantized_names(
        dynamic={r"-:.*layers\.0\.mlp": {}, r"+:.*layers\.1\.mlp": {"bits": 8, "group_size": 48}}
    )
    assert not any("layers.0.mlp" in name for name in names)
    down = model.model.layers[1].mlp.down_proj
    assert (down.packing.bits, down.packing.group_size) == (8, 48)
    assert down.qweight.shape == (96 // 4, 64)
    assert model.model.layers[1].self_attn.q_proj.packing.bits == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quant_method": "vptq"}, "quant_method: 'vptq' is not supported"),
        ({"quant_method": None}, "quant_method: None"),
        ({"bits": 5}, "bits: 5 is not supported .* supported: 2, 3, 4, 8"),
        ({"bits": None}, "bits: None"),
        ({"group_size": 0}, "group_size: 0"),
        ({"checkpoint_format": "marlin"}, "checkpoint_format: 'marlin'"),
        ({"pack_dtype": "int8"}, "pack_dtype: 'int8'"),
        ({"modules_in_block_to_quantize": ["self_attn.q_prj"]}, "did you mean 'self_attn.q_proj'"),
        ({"dynamic": {"(": {}}}, "bad pattern"),
        ({"dynamic": {".*": {"bits": 7}}}, "bits: 7"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changes, message):
    with pytest.raises(ModelError, match=message.replace(" .* ", ".*")):
        quantized_names(**changes)


def test_widths_that_cannot_be_packed_are_refused():
    model = build(read_config(LLAMA | {"intermediate_size": 80}))
    with pytest.raises(ModelError, match=r"gate_proj has 80 .*multiples of 32"):
        swap_quantized(model, GPTQ)


def test_the_older_key_for_the_format_is_read():
    assert layout_of(GPTQ | {"format": "gptq_v2"}).usual.version == "gptq_v2"
    assert layout_of(GPTQ).usual.version == "gptq"


def whole():
    """A quantized model without values, and tensors that go into it."""
    config = read_config(LLAMA | {"quantization_config": GPTQ})
    tensors = {n: torch.ones_like(t, device="cpu") for n, t in build(config).state_dict().items()}
    for name, tensor in tensors.items():
        if name.endswith(("qzeros", "g_idx")):
            tensor.fill_(0x77777777 if name.endswith("qzeros") else 0)
    return build(config), tensors


def test_verify_names_the_layer():
    model, tensors = whole()
    load_weights(model, tensors)
    tensors["model.layers.1.mlp.up_proj.qzeros"].zero_()
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj\.qzeros"):
        load_weights(whole()[0], tensors)


def test_packed_linears_can_be_replaced_while_the_others_are_read_and_large_ones_come_first(
    monkeypatch,
):
    monkeypatch.setattr("tfcli.models.loading._LARGE", 3_500)
    model, tensors = whole()
    sizes = []

    def filled(name: str) -> None:
        packed = model.get_submodule(name)
        assert not any(part.is_meta for part in packed.parts.values())
        sizes.append(sum(part.nbytes for part in packed.parts.values()))
        path, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(path), leaf, torch.nn.Identity())

    load_weights(model, tensors, filled=filled)
    assert len(sizes) == 14 and not packed_linears(model)
    assert all(size > 3_500 for size in sizes[:6]) and all(size < 3_500 for size in sizes[6:])
