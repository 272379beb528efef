"""Tensors that a config does not build are refused by name, in every family that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints.in_memory import written
from tests.checkpoints.models import LLAMA, tiny
from tests.models.tiny import FIRST, tiny_model
from tfcli.checkpoints.expected import expected
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.plain_names import is_plain_decoder
from tfcli.errors import WorkError

Shapes = dict[str, tuple[int, ...]]


def shapes(model_type: str, **changes: object) -> tuple[dict[str, object], Shapes]:
    config, tensors = written(tiny_model(model_type, **changes))
    return config, {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("model_type", FIRST)
def test_what_a_model_of_each_family_holds_fits_and_nothing_less_more_or_else(model_type):
    config, right = shapes(model_type)
    assert require_fit(config, right, Path("in"))
    table = max(right, key=lambda name: len(right[name]))
    wide = {**right, table: (*right[table][:-1], right[table][-1] + 1)}
    with pytest.raises(WorkError, match="do not fit the config"):
        require_fit(config, wide, Path("in"))
    with pytest.raises(WorkError, match="is empty"):
        require_fit(config, {**right, table: (0,)}, Path("in"))
    with pytest.raises(WorkError, match="no place for"):
        require_fit(config, {**right, "encoder.unheard.weight": (2,)}, Path("in"))
    body = next(name for name in right if ".0." in name)
    with pytest.raises(WorkError, match="lack"):
        require_fit(config, {n: s for n, s in right.items() if n != body}, Path("in"))


def test_the_message_names_the_tensor_and_the_key():
    config, right = shapes("llama")
    odd = {**right, "model.embed_tokens.weight": (99, right["model.embed_tokens.weight"][1])}
    with pytest.raises(WorkError, match=r"'model\.embed_tokens\.weight' is .*vocab_size: "):
        require_fit(config, odd, Path("in"))


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_look_without_torch_says_plain_only_of_what_the_classes_build(model_type, tied):
    config, right = shapes(model_type, tie_word_embeddings=tied)
    assert is_plain_decoder(config, right)
    known = expected(config, {"x": (10**9,)})
    assert known is not None
    assert right == {n: s for n, s in known.shapes.items() if n not in known.ties}
    for name, shape in right.items():
        assert not is_plain_decoder(config, {**right, name: (*shape, 1)})
        assert not is_plain_decoder(config, {n: s for n, s in right.items() if n != name})


def test_what_the_look_without_torch_leaves_to_the_classes():
    config, tensors = written(tiny({**LLAMA, "attention_bias": True}))
    assert not is_plain_decoder(config, {n: tuple(t.shape) for n, t in tensors.items()})
    assert not is_plain_decoder({"model_type": "gpt2"}, {})
    assert not is_plain_decoder({**LLAMA, "architectures": ["LlamaForUnheard"]}, {})


def test_of_families_that_are_not_known_nothing_is_refused():
    assert not require_fit({"model_type": "unheard"}, {"a": (0,)}, Path("in"))
