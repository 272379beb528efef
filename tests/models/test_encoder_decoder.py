"""Encoder-decoders: what the decoder is shown, what checkpoints may leave out, what is refused."""

from __future__ import annotations

import pytest
import torch

from tests.models.cases.seq2seq import CASES
from tests.models.seq2seq_parity import reference
from tfcli.models.blocks.cross_decoder import bounded
from tfcli.models.blocks.run import run_blocks
from tfcli.models.config import config_from_recipe
from tfcli.models.context import begin
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize, load_weights
from tfcli.models.saving import export_config, export_tensors

TINY = {
    "t5": {"vocab_size": 23, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2},
    "bart": {
        "vocab_size": 23,
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 16,
        "pad_token_id": 1,
        "decoder_start_token_id": 3,
        "eos_token_id": 2,
    },
}
TINY["mt5"] = TINY["t5"]
TINY |= dict.fromkeys(("mbart", "pegasus", "marian", "m2m_100", "blenderbot"), TINY["bart"])
IDS = torch.tensor([[5, 6, 7, 8, 2]])


def config(model_type, **changes):
    return config_from_recipe({"model_type": model_type, **TINY[model_type], **changes})


def checkpoint(model_type, task="seq2seq-lm", **changes):
    """A model with random weights, and its tensors as a checkpoint holds them."""
    model = initialize(build(config(model_type, **changes), task), seed=1).eval()
    return model, dict(export_tensors(model))


def shifted(model_type, rows, mask=None, **changes):
    mask = None if mask is None else torch.tensor(mask)
    body = build(config(model_type, **changes), "seq2seq-lm").body
    return body.shifted(torch.tensor(rows), mask).tolist()


def test_the_decoder_sees_the_labels_one_place_on():
    assert shifted("bart", [[5, 6, 2, -100]]) == [[3, 5, 6, 2]]
    assert shifted("bart", [[-100, 5, -100, 2]]) == [[3, 1, 5, 1]]


def test_t5_begins_with_padding_where_its_config_names_no_other_token():
    assert shifted("t5", [[5, 6, 1]]) == [[0, 5, 6]]
    assert shifted("t5", [[5, 6, 1]], decoder_start_token_id=4) == [[4, 5, 6]]


def test_mbart_begins_with_the_last_token_which_names_the_language():
    assert shifted("mbart", [[5, 6, 2, 9], [5, 2, 9, -100]]) == [[9, 5, 6, 2], [9, 5, 2, 9]]


@pytest.mark.parametrize(("model_type", "first"), [("bart", 3), ("mbart", 9)])
def test_a_text_padded_on_the_left_begins_at_its_first_token(model_type, first):
    mask = [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]
    rows = shifted(model_type, [[1, 1, 5, 2, 9], [5, 6, 2, 9, 1]], mask)
    assert rows[0][2:] == [first, 5, 2]
    assert rows[1][:4] == [first, 5, 6, 2]


@pytest.mark.parametrize("key", ["decoder_start_token_id", "pad_token_id"])
def test_shifting_needs_its_tokens(key):
    with pytest.raises(ModelError, match=key):
        shifted("bart", [[5, 6, 2]], **{key: None})


@pytest.mark.parametrize("model_type", TINY)
def test_new_weights_are_complete_and_those_of_one_seed(model_type):
    first, tensors = checkpoint(model_type)
    again, _ = checkpoint(model_type)
    logits = first(input_ids=IDS, decoder_input_ids=IDS).logits
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, again(input_ids=IDS, decoder_input_ids=IDS).logits)
    assert not any("encoder.embed_tokens" in name or "lm_head" in name for name in tensors)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in ("t5", "t5-v1.1", "bart")])
def test_new_weights_are_as_large_as_theirs(case):
    theirs = dict(reference(case, "seq2seq-lm").named_parameters())
    settings = {k: v for k, v in case.settings.items() if v is not None}
    settings.pop("forced_eos_token_id", None)
    model_type = case.config.removesuffix("Config").lower()
    new = build(config_from_recipe({"model_type": model_type, **settings}))
    for name, tensor in export_tensors(initialize(new)):
        if name in theirs and tensor.ndim == 2:  # norms and biases were changed there
            assert tensor.std() == pytest.approx(theirs[name].std().item(), rel=0.3), name


def test_a_base_model_becomes_a_language_model():
    """As facebook/bart-large is published: no head, and no bias of the logits."""
    model, tensors = checkpoint("bart")
    old = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    del old["final_logits_bias"]
    old["encoder.version"] = torch.ones(1)
    # Tied copies, as files before safetensors hold them.
    old["encoder.embed_tokens.weight"] = old["decoder.embed_tokens.weight"] = old["shared.weight"]
    again = build(config("bart"), "seq2seq-lm")
    account = load_weights(again, old)
    assert account.computed == ["final_logits_bias"]
    assert set(account.tied.values()) == {"model.shared.weight"}
    assert list(account.skipped) == ["encoder.version"]
    given = {"input_ids": IDS, "decoder_input_ids": IDS}
    assert torch.equal(again.eval()(**given).logits, model(**given).logits)


@pytest.mark.parametrize("model_type", ["pegasus", "marian", "m2m_100"])
def test_computed_positions_need_not_be_stored(model_type):
    model, tensors = checkpoint(model_type)
    places = [name for name in tensors if "embed_positions" in name]
    assert len(places) == (0 if model_type == "m2m_100" else 2)
    lean = {name: tensor for name, tensor in tensors.items() if name not in places}
    again = build(config(model_type), "seq2seq-lm")
    account = load_weights(again, lean)
    assert {"model.encoder.embed_positions.weight"} < set(account.computed)
    given = {"input_ids": IDS, "decoder_input_ids": IDS}
    assert torch.equal(again.eval()(**given).logits, model(**given).logits)


def test_old_m2m_files_hold_positions_that_are_computed():
    _, tensors = checkpoint("m2m_100")
    tensors["model.encoder.embed_positions.weights"] = torch.ones(18, 16)
    account = load_weights(build(config("m2m_100")), tensors)
    assert account.skipped == {"model.encoder.embed_positions.weights": "computed from the config"}


@pytest.mark.parametrize("task", ["token-classification", "embedding"])
def test_tasks_of_the_encoder_leave_the_decoder_out(task):
    model, tensors = checkpoint("t5", tie_word_embeddings=False)
    encoder = build(config("t5"), task)
    account = load_weights(encoder, tensors, new_head=True)
    assert not any("decoder" in name for name, _ in encoder.named_parameters())
    assert account.skipped["lm_head.weight"] == "part of the language-model head"
    assert "does not use the decoder" in account.skipped["decoder.final_layer_norm.weight"]
    if task == "embedding":
        encoder.eval().set_pooling("mean", normalize=False)
        states = model.encode(IDS)
        assert torch.equal(encoder(input_ids=IDS).logits, states.mean(1))


@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_a_language_model_gets_a_new_classifier(model_type):
    _, tensors = checkpoint(model_type, tie_word_embeddings=model_type == "bart")
    model = build(config(model_type, num_labels=4), "sequence-classification")
    with pytest.raises(ModelError, match="new sequence-classification head"):
        load_weights(model, tensors)
    account = load_weights(model, tensors, new_head=True)
    assert len(account.initialized) == 4
    ids = IDS.masked_fill(IDS == 2, model.config.eos_token_id)
    assert model(input_ids=ids).logits.shape == (1, 4)


def test_a_t5_with_two_tables_has_two_whatever_its_config_says():
    model, tensors = checkpoint("t5", tie_word_embeddings=False)
    given = {"input_ids": IDS, "decoder_input_ids": IDS}
    said = config("t5", tie_word_embeddings=True, scale_decoder_outputs=False)
    again = build(said)
    account = load_weights(again, tensors)
    assert "lm_head.weight" in account.loaded
    assert torch.equal(again.eval()(**given).logits, model(**given).logits)
    assert again.lm_head.weight is not again.transformer.shared.weight
    assert export_config(again)["tie_word_embeddings"] is False
    # Two equal tables are one.
    tensors["lm_head.weight"] = tensors["shared.weight"].clone()
    again = build(said)
    assert "lm_head.weight" in load_weights(again, tensors).tied
    assert again.lm_head.weight is again.transformer.shared.weight


def test_a_bart_with_two_tables_is_refused():
    _, tensors = checkpoint("bart")
    tensors["lm_head.weight"] = tensors["model.shared.weight"] + 1
    with pytest.raises(ModelError, match=r"differ.*tie_word_embeddings: false"):
        load_weights(build(config("bart"), "seq2seq-lm"), tensors)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"input_ids": IDS}, "exactly one of decoder_input_ids and decoder_inputs_embeds"),
        ({"decoder_input_ids": IDS}, "exactly one of input_ids and inputs_embeds"),
        ({"input_ids": IDS, "decoder_input_ids": IDS + 99}, r"id 107 .* decoder_input_ids"),
        ({"input_ids": IDS + 99, "decoder_input_ids": IDS}, r"id 107 .* \| input_ids"),
        ({"input_ids": IDS, "decoder_input_ids": IDS.repeat(2, 1)}, "1 rows, but the target has 2"),
        ({"input_ids": IDS.repeat(1, 4), "decoder_input_ids": IDS}, "20 positions"),
        ({"input_ids": IDS, "decoder_input_ids": IDS.repeat(1, 4)}, "20 positions"),
        (
            {"encoder_states": torch.ones(1, 5, 16), "attention_mask": torch.ones(1, 4)}
            | {"decoder_input_ids": IDS},
            r"\(1, 4\), expected \(1, 5\)",
        ),
        (
            {"input_ids": IDS, "decoder_input_ids": IDS, "decoder_attention_mask": IDS[:, :3]},
            r"\(1, 3\), expected \(1, 5\)",
        ),
        ({"input_ids": IDS, "labels": IDS, "logits_to_keep": 1}, "labels need the logits of every"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(given, what):
    model, _ = checkpoint("bart")
    with pytest.raises(ModelError, match=what):
        model(**given)


def test_a_used_cache_needs_the_mask_of_its_own_source():
    model, _ = checkpoint("bart")
    cache = model.make_cache()
    model(input_ids=IDS, decoder_input_ids=IDS[:, :1], cache=cache)
    with pytest.raises(ModelError, match=r"\(1, 4\), expected \(1, 5\)"):
        model(decoder_input_ids=IDS[:, :1], attention_mask=torch.ones(1, 4), cache=cache)


def test_a_classifier_needs_the_end_of_text():
    model, _ = checkpoint("bart", "sequence-classification")
    with pytest.raises(ModelError, match="no end-of-text token"):
        model(input_ids=torch.tensor([[5, 6, 2], [5, 6, 7]]))
    with pytest.raises(ModelError, match="needs input_ids"):
        model(inputs_embeds=torch.ones(1, 3, 16))


def test_a_classifier_looks_at_the_last_of_several_ends():
    model, _ = checkpoint("bart", "sequence-classification")
    output = model(input_ids=torch.tensor([[5, 2, 7, 2, 8]]), output_hidden_states=True)
    expected = model.classification_head(output.hidden_states[-1][:, 3])
    assert torch.equal(output.logits, expected)


@pytest.mark.parametrize(
    ("model_type", "changes", "key"),
    [
        ("bart", {"decoder_attention_heads": 3}, "d_model"),
        ("bart", {"decoder_ffn_dim": 0}, "decoder_ffn_dim"),
        ("bart", {"decoder_layers": 10**5}, "decoder_layers"),
        ("bart", {"activation_dropout": 1.5}, "activation_dropout"),
        ("bart", {"encoder_layerdrop": -0.1}, "encoder_layerdrop"),
        ("bart", {"activation_function": "gelo"}, "activation_function"),
        ("bart", {"decoder_start_token_id": 23}, "decoder_start_token_id"),
        ("bart", {"vocab_size": 10**12}, "vocab_size"),
        ("marian", {"decoder_vocab_size": 20}, "decoder_vocab_size"),
        ("m2m_100", {"pad_token_id": None}, "pad_token_id"),
        ("m2m_100", {"d_model": 2}, "d_model"),
        ("t5", {"feed_forward_proj": "gatet-gelu"}, "feed_forward_proj"),
        ("t5", {"feed_forward_proj": "gated-gelo"}, "feed_forward_proj"),
        ("t5", {"relative_attention_num_buckets": 2}, "relative_attention_num_buckets"),
        ("t5", {"relative_attention_max_distance": 16}, "relative_attention_max_distance"),
        ("t5", {"d_kv": 0}, "d_kv"),
        ("t5", {"num_decoder_layers": -1}, "num_decoder_layers"),
        ("t5", {"dropout_rate": 1.0}, "dropout_rate"),
    ],
)
def test_impossible_configs_are_refused_by_key(model_type, changes, key):
    with pytest.raises(ModelError, match=f"key {key}"):
        config(model_type, **changes)


@pytest.mark.parametrize(
    ("model_type", "key", "value"),
    [
        ("bart", "is_encoder_decoder", False),
        ("bart", "is_decoder", True),
        ("t5", "is_decoder", True),
    ],
)
def test_other_architectures_are_refused_by_key(model_type, key, value):
    content = {**config(model_type).to_dict(), key: value}
    with pytest.raises(ModelError, match=f"{key}={value}"):
        type(config(model_type)).from_dict(content)


def test_a_block_is_passed_over_in_training_alone():
    block = torch.nn.Linear(4, 4)
    block.forward = lambda x, context: 2 * x
    x = torch.ones(1, 3, 4)
    torch.manual_seed(0)
    runs = [run_blocks([block], x, begin(x), layer_drop=0.5) for _ in range(100)]
    passed = [float(out[0, 0, 0]) for out in runs].count(1.0)
    assert all(out.unique().tolist() in ([1.0], [2.0]) for out in runs)
    assert 30 < passed < 70
    assert torch.equal(run_blocks([block.eval()], x, begin(x), layer_drop=0.5), 2 * x)


def test_layer_drop_is_the_configs():
    plain, _ = checkpoint("bart", dropout=0.0)
    drops, tensors = checkpoint("bart", dropout=0.0, decoder_layerdrop=0.9, encoder_layerdrop=0.9)
    load_weights(plain, tensors)
    given = {"input_ids": IDS, "decoder_input_ids": IDS}
    assert torch.equal(drops(**given).logits, plain(**given).logits)
    torch.manual_seed(0)
    trained = drops.train()(**given)
    assert not torch.equal(trained.logits, plain.train()(**given).logits)


def test_float16_stays_finite():
    x = torch.tensor([70000.0, -70000.0, 1.0])
    assert bounded(x.half()).tolist() == [65504.0, -65504.0, 1.0]
    assert bounded(x) is x
