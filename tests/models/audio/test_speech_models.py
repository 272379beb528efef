"""What models of speech have beside their parity with transformers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.media_cases.wav2vec2 import LAYER_NORMED, SAMPLES
from tests.models.media_cases.whisper import FRAMES, MELS
from tests.models.parity import assert_close
from tests.models.tiny import content, tiny_model
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config
from tfcli.models.saving import export_tensors


def wave(samples=SAMPLES, rows=1):
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(3))


def sound(rows=1):
    return torch.randn(rows, MELS, FRAMES, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("task", ["ctc", "audio-classification"])
def test_what_fills_up_a_wave_changes_nothing(task):
    model = tiny_model("wav2vec2", task, **LAYER_NORMED)
    short, long = wave(120), wave(rows=2)
    long[0] = torch.cat((short[0], torch.zeros(SAMPLES - 120)))
    mask = (torch.arange(SAMPLES) < torch.tensor([[120], [SAMPLES]])).long()
    together = model(input_values=long, attention_mask=mask).logits[:1]
    alone = model(input_values=short).logits
    assert_close(together[:, : alone.shape[1]], alone)


def test_the_names_of_earlier_weight_norms_are_read():
    model = tiny_model("wav2vec2")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in export_tensors(model)
    }
    again = build(read_config(content("wav2vec2")))
    load_weights(again, old)
    with torch.no_grad():
        given = {"input_values": wave()}
        assert torch.equal(again.eval()(**given).logits, model(**given).logits)


@pytest.mark.parametrize("first", [False, True])
def test_the_walk_of_wav2vec2_names_its_linears_as_they_run(first):
    model = tiny_model("wav2vec2", do_stable_layer_norm=first)
    block, seen = model.blocks[0], []
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda _module, args, name=name: seen.append(name))
    with torch.no_grad():
        model(input_values=wave())
    assert seen == list(model.calibration.linears(block))


HIDES = {"mask_time_prob": 0.5, "mask_time_length": 3, "mask_time_min_masks": 1}


def test_wav2vec2_hides_states_in_training_alone():
    quiet = {"hidden_dropout": 0, "attention_dropout": 0, "activation_dropout": 0, "layerdrop": 0}
    quiet |= {"final_dropout": 0}
    model = tiny_model("wav2vec2", **HIDES, **quiet)
    whole = model(input_values=wave()).logits
    assert torch.equal(model(input_values=wave()).logits, whole)
    model.train()
    hidden = model(input_values=wave()).logits
    assert not torch.allclose(hidden, whole)
    hidden.sum().backward()
    assert model.wav2vec2.masked_spec_embed.grad.abs().sum() > 0
    never = tiny_model("wav2vec2", **HIDES, **quiet, apply_spec_augment=False).train()
    assert torch.equal(never(input_values=wave()).logits, whole)
    features = {"mask_time_prob": 0.0, "mask_feature_prob": 0.5, "mask_feature_length": 4}
    narrow = tiny_model("wav2vec2", **quiet, **features).train()
    assert not torch.allclose(narrow(input_values=wave()).logits, whole)


def test_whisper_hides_features_in_training_alone():
    model = tiny_model("whisper", **HIDES, apply_spec_augment=True)
    whole = model.encode(input_features=sound())
    assert torch.equal(model.encode(input_features=sound()), whole)
    hidden = model.train().encode(input_features=sound())
    assert not torch.allclose(hidden, whole)
    given = sound()
    model.encode(input_features=given)
    assert torch.equal(given, sound())  # the caller's are left as they are


def test_embeddings_can_be_given_in_place_of_audio():
    model = tiny_model("whisper")
    body = model.body.encoder
    with torch.no_grad():
        x = body.embed(input_features=sound())
        assert torch.equal(body.encode(inputs_embeds=x), model.encode(input_features=sound()))
        vectors = tiny_model("wav2vec2", "embedding")
        x = vectors.body.embed(input_values=wave())
        assert torch.equal(vectors(inputs_embeds=x).logits, vectors(input_values=wave()).logits)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_features": sound()[..., :-1]}, "expected \\[b, 6, 24\\]"),
        ({"input_features": sound()[0]}, "expected \\[b, 6, 24\\]"),
        ({}, "exactly one of input_features and inputs_embeds"),
        ({"inputs_embeds": torch.zeros(1, 5, 32)}, "inputs_embeds has shape"),
    ],
)
def test_what_is_no_window_is_refused(inputs, message):
    with pytest.raises(ModelError, match=message):
        tiny_model("whisper").encode(**inputs)


def test_bad_waves_and_labels_are_refused():
    model = tiny_model("wav2vec2")
    with pytest.raises(ModelError, match="enough samples for one state"):
        model(input_values=wave(9))
    with pytest.raises(ModelError, match="label 17 is outside of the 17 outputs"):
        model(input_values=wave(), labels=torch.tensor([[3, 17]]))


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("whisper", {"d_model": 33, "encoder_attention_heads": 3}, "d_model"),
        ("whisper", {"mask_time_prob": 1.5}, "mask_time_prob must be in"),
        ("wav2vec2", {"feat_extract_norm": "batch"}, "feat_extract_norm is 'batch'"),
        ("wav2vec2", {"conv_kernel": [3, 2]}, "conv_kernel has another length than conv_dim"),
        ("wav2vec2", {"add_adapter": True}, "add_adapter=True is not supported"),
        ("wav2vec2", {"num_conv_pos_embedding_groups": 5}, "hidden_size"),
        ("wav2vec2", {"ctc_loss_reduction": "none"}, "ctc_loss_reduction is 'none'"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(model_type, changes, message):
    with pytest.raises(ModelError, match=message):
        read_config({**content(model_type), **changes})
