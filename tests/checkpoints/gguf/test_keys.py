"""Every key below the architecture's name is followed, changes nothing, or is refused by name."""

from __future__ import annotations

import gguf
import pytest
import torch

from tests.checkpoints.gguf.convert import from_gguf, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import VOCAB, write_folder
from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.from_gguf import plan_from_gguf
from tfcli.checkpoints.gguf.keys import is_followed, rule_of
from tfcli.checkpoints.gguf.read import read
from tfcli.checkpoints.gguf.rules import DIALECTS
from tfcli.errors import ModelError, WorkError

OWN = r"tfcli\."
ARCHS = {"gemma3_text": "gemma3", "qwen3_moe": "qwen3moe", "gpt_neox": "gptneox"}
ARCHS |= dict.fromkeys(("mixtral", "llama-linear", "llama-yarn", "llama-3"), "llama")
ARCHS |= {"phi3-long": "phi3"}
TRAINED = 32  # the length that llama-yarn was trained on


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """A family's file without our own keys, some dropped and others set."""
    made = {}

    def edit(name, change=None, drop="$^"):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            write_folder(folder / "hf", name)
            to_gguf(folder / "hf", folder / "model.gguf")
            made[name] = folder
        arch = ARCHS.get(name, name)
        keys = {f"{arch}.{key}": value for key, value in (change or {}).items()}
        out = made[name] / f"edited-{len(list(made[name].iterdir()))}.gguf"
        return rewrite(made[name] / "model.gguf", out, rf"{OWN}|{arch}\.({drop})$", keys)

    return edit


def number(value):
    if isinstance(value, bool):
        return Value("bool", value)
    if isinstance(value, str):
        return Value("string", value)
    if isinstance(value, list):
        return Value("array[bool]" if isinstance(value[0], bool) else "array[int32]", value)
    return Value("float32" if isinstance(value, float) else "uint32", value)


def table_of_llama_cpp():
    """The keys of gguf-py's table that stand below an architecture's name."""
    groups = [group for group in vars(gguf.Keys).values() if isinstance(group, type)]
    groups += [each for group in groups for each in vars(group).values() if isinstance(each, type)]
    texts = [text for group in groups for text in vars(group).values() if isinstance(text, str)]
    return [text.removeprefix("{arch}.") for text in texts if text.startswith("{arch}.")]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.model_type)
def test_every_key_of_llama_cpps_table_has_its_place(dialect):
    names = table_of_llama_cpp()
    assert len(names) > 100
    assert not [name for name in names if not (is_followed(name, dialect) or rule_of(name))]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("llama", "attention.scale", 0.5),
        ("llama", "attention.clamp_kqv", 8.0),
        ("llama", "attention.max_alibi_bias", 8.0),
        ("llama", "attention.causal", False),
        ("llama", "attention.value_length", 8),
        ("llama", "attention.head_count_kv", [2, 4]),
        ("llama", "attention.some_new_thing", 1),
        ("llama", "logit_scale", 0.25),
        ("llama", "residual_scale", 0.22),
        ("llama", "embedding_scale", 12.0),
        ("llama", "attn_logit_softcapping", 50.0),
        ("llama", "final_logit_softcapping", 30.0),
        ("llama", "expert_shared_count", 1),
        ("llama", "rope.dimension_count", 8),
        ("llama", "rope.dimension_sections", [8, 4, 4, 0]),
        ("llama", "rope.scaling.alpha", 1000.0),
        ("llama", "rope.scaling.attn_factor", 1.25),
        ("llama", "rope.scaling.type", "su"),
        ("llama-linear", "rope.scaling.attn_factor", 1.25),
        ("llama-yarn", "rope.scaling.yarn_log_multiplier", 0.1),
        ("llama-yarn", "rope.scaling.yarn_ext_factor", 0.5),
        ("llama-3", "rope.scaling.factor", 2.0),
        ("phi3-long", "rope.scaling.factor", 2.0),
        ("qwen2", "attention.sliding_window", 16),
        ("qwen2", "pooling_type", 4),
        ("mixtral", "expert_gating_func", 2),
        ("mixtral", "expert_weights_norm", False),
        ("qwen3_moe", "expert_weights_scale", 2.5),
        ("qwen3_moe", "leading_dense_block_count", 1),
        ("gemma3_text", "attention.shared_kv_layers", 1),
        ("gemma3_text", "attention.sliding_window_pattern", [True]),
        ("gpt2", "attention.scale", 1.0),
        ("bert", "attention.causal", True),
    ],
)
def test_a_setting_that_the_family_does_not_have_is_refused_by_name(name, key, value, edited):
    file = edited(name, {key: number(value)})
    with pytest.raises((WorkError, ModelError)) as caught:
        read(file, Reading())
    last = key.rpartition(".")[2]
    found = str(caught.value).replace("partial_rotary_factor", "dimension_count")
    assert last in found and "edited" in found


@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen3_moe", "gemma3_text", "bert"])
def test_the_value_that_changes_nothing_is_passed_over(name, edited):
    heads = {"llama": 16, "mixtral": 16, "bert": 16}.get(name, 32)
    neutral = {
        "attention.scale": heads**-0.5,
        "attention.clamp_kqv": 0.0,
        "attention.max_alibi_bias": 0.0,
        "attention.causal": name != "bert",
        "logit_scale": 1.0,
        "residual_scale": 0.0,
        "embedding_length_out": 64,
        "expert_shared_count": 0,
        "expert_group_count": 1,
        "expert_gating_func": 1,
        "expert_weights_norm": True,
        "attention.sliding_window_pattern": 6 if name == "gemma3_text" else 0,
        "rope.scaling.finetuned": True,
        "tensor_data_layout": "Meta AI original pth",
    }
    plain = plan_from_gguf(edited(name)).config
    assert plan_from_gguf(edited(name, {k: number(v) for k, v in neutral.items()})).config == plain


def test_a_key_that_is_in_no_table_is_told(edited):
    found = read(edited("llama", {"of.another_program": number(3)}), Reading())
    assert "llama.of.another_program" in " ".join(found.notes)
    assert not read(edited("llama"), Reading()).notes


LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": TRAINED,
}


@pytest.mark.parametrize(
    ("name", "drop", "change", "expected"),
    [
        ("llama-linear", "$^", {}, LINEAR),
        ("llama-linear", "rope.scaling.type", {}, LINEAR),
        ("llama-linear", "rope.scaling.*", {"rope.scale_linear": 4.0}, LINEAR),
        ("llama-linear", "$^", {"rope.scale_linear": 9.0}, LINEAR),  # the newer key counts
        ("llama-linear", "$^", {"rope.scaling.type": "none"}, "default"),
        ("llama-linear", "$^", {"rope.scaling.factor": 0.0}, "default"),
        ("llama-linear", "rope.scaling.factor", {}, "default"),
        ("llama-yarn", "$^", {}, YARN),
        ("llama-yarn", "$^", {"rope.scaling.attn_factor": 1.0}, YARN),
        ("llama-yarn", "$^", {"rope.scaling.yarn_beta_fast": 16.0}, {**YARN, "beta_fast": 16.0}),
        ("llama-yarn", "rope.scaling.factor", {}, "default"),
        (
            "llama-yarn",
            "rope.scaling.original_context_length",
            {},
            {**YARN, "original_max_position_embeddings": 128},
        ),
        ("llama", "rope.freq_base", {}, "default"),
        ("llama", "$^", {"rope.freq_base": 5e5}, {"rope_type": "default", "rope_theta": 5e5}),
    ],
)
def test_every_spelling_of_scaled_positions_is_read(name, drop, change, expected, edited):
    file = edited(name, {k: number(v) for k, v in change.items()}, drop)
    rope = plan_from_gguf(file).sizes.rope_parameters
    plain = {"rope_type": "default", "rope_theta": 1e4}
    assert rope == (plain if expected == "default" else expected)


def test_the_factor_of_long_texts_on_attention_is_the_files(edited):
    said = {"rope.scaling.attn_factor": number(1.5)}
    assert (
        plan_from_gguf(edited("phi3-long", said)).sizes.rope_parameters["attention_factor"] == 1.5
    )
    plain = plan_from_gguf(edited("phi3-long")).sizes.rope_parameters
    assert "attention_factor" not in plain
    lacks = plan_from_gguf(edited("phi3-long", drop="rope.scaling.attn_factor"))
    assert lacks.sizes.rope_parameters["attention_factor"] == 1.0


@pytest.mark.parametrize(
    ("name", "drop", "field", "expected"),
    [
        ("llama", "attention.head_count_kv", "num_key_value_heads", 4),
        ("mixtral", "attention.head_count_kv", "num_key_value_heads", 4),
        ("gemma", "attention.(key|value)_length|rope.dimension_count", "head_dim", 16),
        ("gemma2", "attention.sliding_window", "sliding_window", 4096),
        ("gemma2", "attn_logit_softcapping", "attn_logit_softcapping", 50.0),
        ("gemma3_text", "attention.sliding_window", "layer_types", ["full_attention"] * 2),
        ("qwen3_moe", "expert_feed_forward_length", "moe_intermediate_size", 48),
        ("starcoder2", "attention.sliding_window", "sliding_window", None),
        ("gpt_neox", "use_parallel_residual", "use_parallel_residual", True),
    ],
)
def test_a_missing_key_means_what_llama_cpp_takes_then(name, drop, field, expected, edited):
    assert getattr(plan_from_gguf(edited(name, drop=drop)).sizes, field) == expected


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("llama", "attention.layer_norm_rms_epsilon"),
        ("gpt2", "attention.layer_norm_epsilon"),
        ("mixtral", "expert_used_count"),
    ],
)
def test_a_missing_key_without_which_llama_cpp_does_not_load_is_named(name, key, edited):
    with pytest.raises(WorkError, match=f"{key} is missing"):
        plan_from_gguf(edited(name, drop=key))


def test_one_value_for_each_layer_is_read_where_all_are_equal(edited):
    same = {"attention.head_count_kv": number([2, 2]), "feed_forward_length": number([96, 96])}
    assert plan_from_gguf(edited("llama", same)).config == plan_from_gguf(edited("llama")).config


@pytest.mark.parametrize(
    ("pattern", "types"), [(2, ["sliding", "full"]), ([False, True], ["full", "sliding"])]
)
def test_which_layers_have_a_window_is_read(pattern, types, edited):
    file = edited("gemma3_text", {"attention.sliding_window_pattern": number(pattern)})
    expected = [f"{kind}_attention" for kind in types]
    assert plan_from_gguf(file).config["layer_types"] == expected


@pytest.mark.parametrize("kind", ["adapter", "mmproj"])
def test_a_file_that_holds_no_model_says_what_it_is(kind, edited, tmp_path):
    change = {"general.type": Value("string", kind)}
    file = rewrite(edited("llama"), tmp_path / "other.gguf", change=change)
    with pytest.raises(WorkError, match=f"general.type is '{kind}'"):
        plan_from_gguf(file)


@pytest.mark.interop
@pytest.mark.parametrize(
    ("name", "drop", "change"),
    [
        ("llama-linear", "rope.scaling.type", {}),
        ("llama-linear", "rope.scaling.*", {"rope.scale_linear": 4.0}),
        ("llama-linear", "$^", {"rope.scaling.type": "none"}),
        ("llama-yarn", "rope.scaling.original_context_length", {}),
        ("llama-yarn", "rope.scaling.factor", {}),
        ("gemma3_text", "attention.sliding_window", {}),
        ("gemma2", "final_logit_softcapping", {}),
    ],
)
def test_llama_cpp_reads_the_keys_alike(name, drop, change, edited, tmp_path):
    file = edited(name, {k: number(v) for k, v in change.items()}, drop)
    from_gguf(file, tmp_path / "back")
    ids = list(range(5, 45))
    with torch.no_grad():
        ours = load_model(tmp_path / "back")(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    theirs = LlamaCpp(file, VOCAB).logprobs(ids)
    assert float((theirs - ours).abs().max()) < 1e-2
