"""Bad ids, masks, keywords and configs get an error that names them, in every family."""

from __future__ import annotations

import pytest
import torch

from tests.models.tiny import TEXT, settings, tiny_model, whole
from tfcli.models.errors import ModelError
from tfcli.models.loading import build
from tfcli.models.registry import FAMILIES, read_config

LEARNED = "learned positions"
every_family = pytest.mark.parametrize("model_type", TEXT)


@pytest.fixture(scope="module")
def model_of():
    """The family's tiny model for its first task. Made once."""
    made = {}
    return lambda name: made[name] if name in made else made.setdefault(name, tiny_model(name))


def inputs(model, **changes):
    """What the model takes, six tokens long."""
    ids = torch.arange(4, 10)[None]
    target = {"decoder_input_ids": ids} if model.task == "seq2seq-lm" else {}
    return {"input_ids": ids, **target, **changes}


def refused(model, match, error=ModelError, **changes):
    with torch.no_grad(), pytest.raises(error, match=match):
        model(**inputs(model, **changes))


@every_family
def test_ids_without_an_embedding_are_named(model_of, model_type):
    model = model_of(model_type)
    rows = model.config.vocab_size
    for bad in (rows, -1, 2**40):
        refused(model, rf"id {bad} is outside .* {rows} rows", input_ids=torch.tensor([[4, bad]]))
    if model.task == "seq2seq-lm":
        ids = torch.tensor([[4, rows]])
        refused(model, f"id {rows} is outside", decoder_input_ids=ids)


@every_family
def test_a_mask_of_another_length_is_named(model_of, model_type):
    model = model_of(model_type)
    for shape in ((1, 5), (1, 7), (2, 6), (6,)):
        refused(model, "attention_mask has shape", attention_mask=torch.ones(shape).long())


@every_family
def test_what_is_no_row_of_ids_is_refused(model_of, model_type):
    model = model_of(model_type)
    refused(model, r"shape \(6,\), expected rows", input_ids=torch.arange(6))
    refused(model, r"shape \(1, 0\), expected rows", input_ids=torch.zeros(1, 0).long())
    refused(model, "floating-point numbers and no ids", input_ids=torch.ones(1, 6))
    refused(model, "has width 7", input_ids=None, inputs_embeds=torch.zeros(1, 6, 7))


@pytest.mark.parametrize(
    "model_type", [name for name in TEXT if FAMILIES[name].kind != "encoder-decoder"]
)
def test_positions_of_another_shape_or_past_a_table_are_named(model_of, model_type):
    model = model_of(model_type)
    for shape in ((1, 5), (2, 6)):
        refused(model, "position_ids has shape", position_ids=torch.zeros(shape).long())
    if LEARNED in FAMILIES[model_type].features:
        for bad in (10**6, -1):
            refused(model, f"id {bad} is outside", position_ids=torch.full((1, 6), bad))


@every_family
def test_an_unknown_keyword_is_named(model_of, model_type):
    refused(model_of(model_type), "attention_masks", TypeError, attention_masks=torch.ones(1, 6))


@every_family
def test_ids_or_embeddings_are_given_and_not_both(model_of, model_type):
    model = model_of(model_type)
    states = torch.zeros(1, 6, model.config.width)
    match = "exactly one of input_ids and inputs_embeds"
    refused(model, match, inputs_embeds=states)
    refused(model, match, input_ids=None)


# Below 1 these mean: none.
MAY_BE_NONE = {
    ("qwen2", "max_window_layers"),
    ("deberta-v2", "position_buckets"),
    ("deberta-v2", "conv_kernel_size"),
    ("deberta", "max_relative_positions"),
}
HEADS = (
    "num_attention_heads",
    "num_key_value_heads",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "num_heads",
    "n_head",
)


def config_of(model_type, **changes):
    content = whole(model_type, settings(model_type) | changes)
    return read_config({"model_type": model_type, **content})


def impossible():
    """Every size and count of the families' tiny configs, with values that none can have."""
    for model_type in TEXT:
        for key, value in settings(model_type).items():
            # Padding may have an id below 0, and CodeGen's n_ctx says nothing.
            if type(value) is not int or key.endswith("_token_id") or key == "n_ctx":
                continue
            if (model_type, key) not in MAY_BE_NONE:
                yield model_type, key, -1
            yield model_type, key, 10**12


@pytest.mark.parametrize(("model_type", "key", "value"), list(impossible()))
def test_an_impossible_size_is_named(model_type, key, value):
    with pytest.raises(ModelError) as error:
        build(config_of(model_type, **{key: value}))
    assert key in str(error.value)


@every_family
def test_a_billion_layers_are_refused_before_one_is_made(model_type):
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
    key = next((name for name in names if name in settings(model_type)), "block_sizes")
    with pytest.raises(ModelError, match=key):
        config_of(model_type, **{key: [10**9] if key == "block_sizes" else 10**9})


@pytest.mark.parametrize(
    ("model_type", "key"),
    [
        (name, key)
        for name in TEXT
        for key in HEADS
        # Theirs need not fill the width.
        if key in settings(name) and name not in ("t5", "mt5", "umt5", "funnel")
    ],
)
def test_heads_that_do_not_divide_are_named(model_type, key):
    with pytest.raises(ModelError, match=key):
        config_of(model_type, **{key: 5})
