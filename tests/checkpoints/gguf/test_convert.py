"""Hugging Face -> GGUF -> Hugging Face for every family."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.gguf.convert import from_gguf, plan, run, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import FAMILIES, write_folder
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.from_gguf import plan_from_gguf
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.load import load_tokenizer

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WEIGHTS = "model.safetensors"
OWN = r"tfcli\."


def same(a, b):
    """Whether two state dicts are equal bit for bit."""
    return set(a) == set(b) and all(
        a[n].dtype == b[n].dtype
        and a[n].shape == b[n].shape
        and torch.equal(a[n].reshape(-1).view(torch.uint8), b[n].reshape(-1).view(torch.uint8))
        for n in a
    )


def answer(folder):
    ids = torch.tensor([[5, 9, 100, 3, 77, 12, 250, 30]])
    task = "embedding" if "bert" in folder.name else "causal-lm"
    with torch.no_grad():
        return load_model(folder, task=task)(ids).logits


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_there_and_back_is_the_identity(name, kind, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    write_folder(source, name, DTYPES[kind])
    done = to_gguf(source, tmp_path / "model.gguf", kind)
    assert not done.worst
    from_gguf(tmp_path / "model.gguf", back)
    before, after = load_file(source / WEIGHTS), load_file(back / WEIGHTS)
    assert set(done.planned.skipped) == {n for n in before if n.startswith("cls.")}
    assert same({n: t for n, t in before.items() if n not in done.planned.skipped}, after)
    for file in ("config.json", "tokenizer.json"):
        assert json.loads((back / file).read_text()) == json.loads((source / file).read_text())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_without_our_own_keys_gives_the_same_model(name, tmp_path):
    """As a file of llama.cpp's own conversion: everything follows from its keys."""
    source, back = tmp_path / f"{name}-source", tmp_path / f"{name}-back"
    made = write_folder(source, name)
    to_gguf(source, tmp_path / "model.gguf")
    from_gguf(rewrite(tmp_path / "model.gguf", tmp_path / "plain.gguf", OWN), back)
    config = json.loads((back / "config.json").read_text())
    assert config["model_type"] == made.config.model_type
    torch.testing.assert_close(answer(back), answer(source), atol=2e-5, rtol=1e-5)
    text = "the cat sat, héllo 3.14"
    assert load_tokenizer(back).encode(text) == load_tokenizer(source).encode(text)


def test_a_body_without_its_head_keeps_its_names(tmp_path):
    source = tmp_path / "source"
    write_folder(source, "gpt2")
    bare = {n.removeprefix("transformer."): t for n, t in load_file(source / WEIGHTS).items()}
    save_file(bare, source / WEIGHTS)
    to_gguf(source, tmp_path / "model.gguf")
    from_gguf(tmp_path / "model.gguf", tmp_path / "back")
    assert same(bare, load_file(tmp_path / "back" / WEIGHTS))


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
def test_quantized_types_stay_within_their_error(kind, tmp_path):
    write_folder(tmp_path / "source", "llama", torch.bfloat16)
    done = to_gguf(tmp_path / "source", tmp_path / "model.gguf", kind)
    finer = {"Q8_0": 16} if kind == "Q8_0" else {kind: 15, "Q8_0": 1}
    assert done.types == {**finer, "F32": 5}
    largest = {"Q8_0": 0.006, "Q5_1": 0.04, "Q5_0": 0.07, "Q4_1": 0.08, "Q4_0": 0.13}[kind]
    assert 0 < max(done.worst.values()) < largest
    back = from_gguf(tmp_path / "model.gguf", tmp_path / "back")
    assert {tensor.dtype for tensor in back.tensors.values()} == {"BF16"}


def test_types_by_rule_and_rows_that_do_not_fill_blocks(tmp_path):
    write_folder(tmp_path / "source", "llama", hidden_size=48, head_dim=16)
    done = to_gguf(
        tmp_path / "source",
        tmp_path / "model.gguf",
        "q4_0",
        [(r"ffn_down", "q8_0"), (r"blk\.1\.ffn_down", "F32"), ("attn_q|norm", "bf16")],
    )
    types = {t.name: t.dtype for t in GGUFFile(tmp_path / "model.gguf").tensors.values()}
    assert types["blk.0.ffn_down.weight"] == types["blk.1.ffn_down.weight"] == "Q8_0"
    assert types["blk.0.attn_q.weight"] == "BF16"
    assert types["blk.0.attn_norm.weight"] == types["output_norm.weight"] == "F32"
    assert types["blk.0.attn_k.weight"] == "F16"
    assert (
        "blk.0.attn_k.weight: F16, because rows of 48 do not fill Q4_0's blocks"
        in done.planned.notes
    )


@pytest.mark.parametrize(
    ("kind", "rules", "problem"),
    [
        ("Q4_K", [], "'Q4_K' is no type that can be written"),
        ("F16", [("a", "q9")], "'q9' is no type"),
        ("F16", [("(", "F32")], "is no regular expression"),
    ],
)
def test_wrong_types_are_usage_errors(kind, rules, problem, tmp_path):
    write_folder(tmp_path / "source", "llama")
    with pytest.raises(UsageError, match="no ") as caught:
        plan(tmp_path / "source", kind, rules)
    assert problem in str(caught.value)


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def weights(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("llama", lambda t: t.update(strange=torch.ones(4)), "GGUF's llama: no rule for 'strange'"),
        (
            "llama",
            lambda t: t.pop("model.layers.1.mlp.up_proj.weight"),
            "missing: 'model.layers.1.mlp.up_proj.weight'",
        ),
        ("llama", lambda t: t.pop("lm_head.weight"), "missing: 'lm_head.weight'"),
        ("llama", lambda t: t.pop("model.norm.weight"), "missing: 'model.norm.weight'"),
        (
            "mixtral",
            lambda t: t.pop("model.layers.0.block_sparse_moe.experts.2.w1.weight"),
            "missing: 'model.layers.0.block_sparse_moe.experts.2.w1.weight'",
        ),
        (
            "llama",
            lambda t: t.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)}),
            "no plain numbers",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(name, change, problem, tmp_path):
    write_folder(tmp_path / "source", name)
    weights(tmp_path / "source", change)
    with pytest.raises(WorkError) as caught:
        to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    assert problem in str(caught.value)
    assert not list(tmp_path.glob("*.gguf")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("llama", {"hidden_act": "gelu"}, "the activation gelu; it has silu"),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type dynamic"),
        (
            "llama-yarn",
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_slow": 2.0}},
            "beta_slow=2.0 of rope_type yarn; it computes with 1",
        ),
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob=false"),
        ("gemma2", {"query_pre_attn_scalar": 99}, "query_pre_attn_scalar=99"),
        ("gemma2", {"attn_logit_softcapping": None}, "no attn_logit_softcapping=null"),
        ("gemma2", {"final_logit_softcapping": None}, "no final_logit_softcapping=null"),
        ("gemma2", {"layer_types": ["full_attention"] * 2}, "layer_types"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("llama", {"model_type": "olmo2"}, "model_type 'olmo2' is not covered in GGUF"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(name, changes, problem, tmp_path):
    write_folder(tmp_path / "source", name)
    edit(tmp_path / "source", **changes)
    with pytest.raises(WorkError) as caught:
        plan(tmp_path / "source")
    assert problem in str(caught.value) and "config.json" in str(caught.value)


def test_a_window_that_llama_cpp_ignores_is_told(tmp_path):
    write_folder(tmp_path / "source", "mistral", sliding_window=16)
    assert "window of 16 tokens" in plan(tmp_path / "source").notes[0]


def test_an_embedding_that_is_stored_twice_is_written_once(tmp_path):
    write_folder(tmp_path / "source", "llama-tied")
    weights(
        tmp_path / "source",
        lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}),
    )
    done = to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    assert done.planned.skipped == {"lm_head.weight": "is the embedding, which stands for it"}
    weights(tmp_path / "source", lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(WorkError, match="differ, but the config ties them"):
        to_gguf(tmp_path / "source", tmp_path / "other.gguf")


def test_a_head_that_gguf_has_no_place_for_may_be_any(tmp_path):
    write_folder(tmp_path / "bert", "bert")
    table = load_file(tmp_path / "bert" / WEIGHTS)["bert.embeddings.word_embeddings.weight"]
    head = {"cls.predictions.decoder.weight": table + 1}
    weights(tmp_path / "bert", lambda t: t.update(head))
    done = to_gguf(tmp_path / "bert", tmp_path / "model.gguf")
    assert done.planned.skipped["cls.predictions.decoder.weight"].startswith("GGUF keeps BERT's")


def test_values_beyond_a_type_are_refused_by_name(tmp_path):
    write_folder(tmp_path / "source", "llama")
    name = "model.layers.1.mlp.up_proj.weight"
    weights(tmp_path / "source", lambda t: t[name][0, 0].fill_(1e6))
    with pytest.raises(WorkError, match="1e\\+06 is too large for float16") as caught:
        to_gguf(tmp_path / "source", tmp_path / "model.gguf", "F16")
    assert "blk.1.ffn_up.weight" in str(caught.value)
    weights(tmp_path / "source", lambda t: t[name][0, 0].fill_(float("nan")))
    with pytest.raises(WorkError, match="nan, which Q8_0 cannot hold"):
        to_gguf(tmp_path / "source", tmp_path / "model.gguf", "Q8_0")
    assert not (tmp_path / "model.gguf").exists()


def test_a_plan_without_the_tokenizer_runs_to_the_same_file(tmp_path):
    write_folder(tmp_path / "source", "llama")
    to_gguf(tmp_path / "source", tmp_path / "a.gguf")
    run(plan(tmp_path / "source", tokenizer=False), tmp_path / "b.gguf")
    a, b = GGUFFile(tmp_path / "a.gguf"), GGUFFile(tmp_path / "b.gguf")
    assert a.metadata == b.metadata and list(a.tensors) == list(b.tensors)


def test_a_key_that_was_changed_in_the_file_counts(tmp_path):
    write_folder(tmp_path / "source", "llama")
    to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    edited = rewrite(
        tmp_path / "model.gguf",
        tmp_path / "edited.gguf",
        change={"llama.rope.freq_base": Value("float32", 5e5)},
    )
    config = plan_from_gguf(edited).config
    assert config["rope_theta"] == 5e5 and config["num_hidden_layers"] == 2


def test_a_recorded_config_that_names_code_loses_it(tmp_path):
    write_folder(tmp_path / "source", "llama")
    edit(tmp_path / "source", auto_map={"AutoModel": "evil.Model"})
    to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    assert "evil" not in (tmp_path / "model.gguf").read_bytes().decode("latin-1")
    config = json.dumps({"model_type": "llama", "auto_map": {"AutoModel": "evil.Model"}})
    edited = rewrite(
        tmp_path / "model.gguf",
        tmp_path / "edited.gguf",
        change={"tfcli.config": Value("string", config)},
    )
    assert "auto_map" not in plan_from_gguf(edited).config


def test_llama_3_scaling_is_found_again_from_its_factors(tmp_path):
    scaling = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    write_folder(
        tmp_path / "source", "llama", rope_parameters={**scaling, "rope_theta": 5e5}, head_dim=64
    )
    to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    # llama.cpp's own conversion does not write the trained length.
    drop = rf"{OWN}|llama.rope.scaling.original_context_length"
    plain = rewrite(tmp_path / "model.gguf", tmp_path / "plain.gguf", drop)
    assert plan_from_gguf(plain).config["rope_scaling"] == scaling


def test_a_checkpoint_without_a_tokenizer_gives_a_file_that_says_so(tmp_path):
    write_folder(tmp_path / "source", "llama")
    for file in (tmp_path / "source").glob("tokenizer*"):
        file.unlink()
    done = to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    assert "no tokenizer is there: programs must be given ids" in done.planned.notes
    assert GGUFFile(tmp_path / "model.gguf").metadata["tokenizer.ggml.model"] == "no_vocab"
    assert from_gguf(tmp_path / "model.gguf", tmp_path / "back").vocabulary is None
