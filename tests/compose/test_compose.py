"""`tfcli compose`: what is written is what Python puts together, and opens everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.compose.conftest import compose, save_clip, save_llama
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.compose.run import run
from tfcli.compose.spec import ComposeSpec
from tfcli.convert.run import run as convert
from tfcli.convert.spec import ConvertSpec
from tfcli.models.configs.modular import PROJECTORS
from tfcli.models.model import Model
from tfcli.models.multimodal.modular import ModalEncoderModule, MultimodalModel
from tfcli.models.saving import export_tensors
from tfcli.processors.load import load_processor
from tfcli.recipe.job import Job


def by_hand(llama: Path, clip: Path, seed: int, kind: str, **more: Any) -> MultimodalModel:
    encoder = ModalEncoderModule(load_model(clip, task=None))
    return MultimodalModel(
        {"vision": encoder},
        load_model(llama),
        init_projector_type=kind,
        token_ids={"vision": 320},
        seed=seed,
        **more,
    ).eval()


@pytest.mark.parametrize("kind", PROJECTORS)
def test_the_output_is_what_python_puts_together_bit_for_bit(kind, llama, clip, tmp_path):
    compose(tmp_path / "out", llama, {"vision": {"model": str(clip), "projector": kind}}, seed=7)
    expected = dict(export_tensors(by_hand(llama, clip, 7, kind)))
    written = open_tensors(tmp_path / "out")
    assert set(written) == expected.keys()
    assert all(torch.equal(written[name], expected[name]) for name in expected)
    loaded, whole = load_model(tmp_path / "out", task=None), by_hand(llama, clip, 7, kind)
    features = 32 if kind in ("qformer", "resampler") else 5
    ids = torch.tensor([[5, *[320] * features, 7]])
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        inputs = {"input_ids": ids, "pixel_values": pixels}
        assert torch.equal(loaded(**inputs).logits, whole(**inputs).logits)


def test_another_seed_gives_other_projectors_and_the_same_parts(llama, clip, tmp_path):
    for seed in (0, 1):
        compose(tmp_path / str(seed), llama, {"vision": str(clip)}, seed=seed)
    one, other = (open_tensors(tmp_path / name) for name in "01")
    apart = [name for name in one if not torch.equal(one[name], other[name])]
    assert apart == ["model.vision_encoder.projector.projection.linear.weight"]


def test_settings_of_an_encoder_are_in_the_config_and_count(llama, clip, small_clip, tmp_path):
    left = {"model": str(small_clip), "projector": "mlp", "activation": "relu"}
    left |= {"feature_layer": -2, "drop_first": True, "token": "<|left|>"}
    result = compose(tmp_path / "out", llama, {"right": str(clip), "left": left})
    assert [(e.token, e.token_id, e.features) for e in result.encoders] == [
        ("<right>", 320, 5),
        ("<|left|>", 321, 9),
    ]
    model = load_model(tmp_path / "out", task=None)
    found = model.config.encoders["left"]
    assert (found.projector_type, found.activation, found.feature_layer) == ("mlp", "relu", -2)
    assert found.drop_first and found.token_id == 321
    pixels = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    encoder = model.body.encoders["left"]
    with torch.no_grad():
        tower = load_model(small_clip, task=None).body
        states = tower.states({"pixel_values": pixels})[-2][:, 1:]
        features = encoder({"pixel_values": pixels})
        assert torch.equal(features, encoder.projector(states))


def test_the_tie_of_the_language_model_is_kept(clip, tiny_tokenizer, tmp_path):
    llama = save_llama(tmp_path / "llama", tiny_tokenizer, tie_word_embeddings=True)
    compose(tmp_path / "out", llama, {"vision": str(clip)})
    written = open_tensors(tmp_path / "out")
    assert "lm_head.weight" not in written
    model = load_model(tmp_path / "out", task=None)
    assert model.lm_head.weight is model.body.language_model.embed_tokens.weight


def test_parts_come_out_again_as_they_went_in(llama, clip, tmp_path):
    compose(tmp_path / "out", llama, {"vision": str(clip)})
    whole = open_checkpoint(tmp_path / "out")
    for folder, prefix in (
        (llama, "model.language_model."),
        (clip, "model.vision_encoder.module."),
    ):
        source = open_checkpoint(folder)
        for name in source.tensors:
            inner = name.removeprefix("vision_model.").removeprefix("model.")
            found = "lm_head.weight" if inner == "lm_head.weight" else prefix + inner
            assert torch.equal(whole.weights[found], source.weights[name]), name


def test_a_whole_is_converted_and_read_again(llama, clip, tmp_path):
    compose(tmp_path / "out", llama, {"vision": str(clip)})
    (tmp_path / "half").mkdir()
    spec = ConvertSpec(
        source=str(tmp_path / "out"), output=str(tmp_path / "half"), dtype="bfloat16"
    )
    result = convert(spec, Job(folder=tmp_path / "half"))
    assert result.converted == len(open_tensors(tmp_path / "half")) and not result.left_out
    config = json.loads((tmp_path / "half/config.json").read_text())
    assert "float32" not in json.dumps(config)
    assert load_model(tmp_path / "half", task=None).dtype == torch.bfloat16
    assert (tmp_path / "half/processor_config.json").is_file()


def test_one_type_for_all_or_each_its_own(llama, clip, tmp_path):
    half = tmp_path / "clip"
    half.mkdir()
    convert(ConvertSpec(source=str(clip), output=str(half), dtype="float16"), Job(folder=half))
    result = compose(tmp_path / "own", llama, {"vision": str(half)})
    kinds = {(t.part, t.dtype) for t in result.tensors}
    assert kinds == {("language_model", "F32"), ("vision", "F16"), ("projector vision", "F32")}
    assert "several types (F16, F32)" in result.notes[0]
    result = compose(tmp_path / "one", llama, {"vision": str(half)}, dtype="bf16")
    assert {t.dtype for t in result.tensors} == {"BF16"} and result.notes == []
    assert "float32" not in (tmp_path / "one/config.json").read_text()
    assert "float16" not in (tmp_path / "one/config.json").read_text().replace("bfloat16", "")


def test_the_tower_of_a_llava_is_taken_and_the_rest_is_told(llama, clip, tmp_path):
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig
    from transformers import LlavaForConditionalGeneration as Llava

    from tests.compose.conftest import plain
    from tests.models.media_cases.llava import CLIP, LLAMA

    torch.manual_seed(3)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**plain(CLIP)),
        text_config=LlamaConfig(**plain(LLAMA)),
        image_token_index=60,
    )
    Llava(config).save_pretrained(tmp_path / "llava")
    (tmp_path / "llava/preprocessor_config.json").write_bytes(
        (clip / "preprocessor_config.json").read_bytes()
    )
    result = compose(tmp_path / "out", llama, {"vision": str(tmp_path / "llava")})
    [encoder] = result.encoders
    assert (encoder.model_type, encoder.tower) == ("clip_vision_model", "vision_tower")
    reasons = set(encoder.skipped.values())
    assert reasons == {"beside the tower vision_tower", "the head for image-text-to-text"}
    source, written = open_checkpoint(tmp_path / "llava"), open_tensors(tmp_path / "out")
    assert len(encoder.skipped) + sum(t.part == "vision" for t in result.tensors) == len(
        source.tensors
    )
    name = "encoder.layers.0.mlp.fc1.weight"
    stored = next(n for n in source.tensors if "vision" in n and n.endswith(name))
    assert torch.equal(written[f"model.vision_encoder.module.{name}"], source.weights[stored])


def test_a_language_model_of_other_layouts(clip, tiny_tokenizer, tmp_path):
    """GPT-2 stores its linears the other way round."""
    import transformers

    torch.manual_seed(4)
    config = transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    for file in tiny_tokenizer.iterdir():
        (tmp_path / "gpt2" / file.name).write_bytes(file.read_bytes())
    compose(tmp_path / "out", tmp_path / "gpt2", {"vision": str(clip)}, seed=2)
    whole: Model = by_hand(tmp_path / "gpt2", clip, 2, "linear")
    loaded = load_model(tmp_path / "out", task=None)
    ids = torch.tensor([[5, 6, 320, 320, 320, 320, 320, 7]])
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 16, 16)}
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, whole(**inputs).logits)


def test_a_dry_run_says_the_same_and_writes_nothing(llama, clip, tmp_path):
    result = compose(tmp_path / "out", llama, {"vision": str(clip)})
    model = {"language_model": str(llama), "encoders": {"vision": str(clip)}}
    spec = ComposeSpec(model=model, dry_run=True)
    assert spec.target() is None
    planned = run(spec, Job())
    assert planned.dry_run and planned.files == [] and planned.verified == 0
    same = {"tensors", "encoders", "bytes", "copied", "new", "converted", "notes"}
    assert planned.model_dump(include=same) == result.model_dump(include=same)


def test_tensors_are_read_one_at_a_time(llama, clip, tmp_path, monkeypatch):
    """What a tensor's turn makes is gone when the next one's comes."""
    import weakref

    from tfcli.compose import whole

    alive: list[weakref.ref[torch.Tensor]] = []
    real = whole.random_values

    def watched(*given: Any) -> torch.Tensor:
        assert not [each for each in alive if each() is not None]
        made = real(*given)
        alive.append(weakref.ref(made))
        return made

    monkeypatch.setattr(whole, "random_values", watched)
    encoder = {"model": str(clip), "projector": "mlp"}
    compose(tmp_path / "out", llama, {"vision": encoder}, dtype="bf16")
    assert len(alive) == 8  # two weights and two biases, and once more to compare


def test_missing_settings_give_the_family_s_processor_at_the_tower_s_size(llama, tmp_path):
    clip = save_clip(tmp_path / "clip")
    (clip / "preprocessor_config.json").unlink()
    result = compose(tmp_path / "out", llama, {"vision": str(clip)})
    assert "taken are the settings of CLIPImageProcessor" in result.notes[0]
    written = json.loads((tmp_path / "out/processor_config.json").read_text())
    settings = written["encoders"]["vision"]["image_processor"]
    assert settings["crop_size"] == {"height": 16, "width": 16}
    assert settings["size"] == {"shortest_edge": 16}


def test_parts_may_be_of_any_container(llama, clip, tmp_path):
    """A language model of llama.cpp's, and a tower of PyTorch's pickles."""
    for source, to in ((llama, "gguf"), (clip, "pt")):
        (tmp_path / to).mkdir()
        spec = ConvertSpec(source=str(source), output=str(tmp_path / to), to=to)
        convert(spec, Job(folder=tmp_path / to))
    compose(tmp_path / "out", tmp_path / "gguf/gguf.gguf", {"vision": str(tmp_path / "pt")})
    compose(tmp_path / "same", llama, {"vision": str(clip)})
    one, other = open_tensors(tmp_path / "out"), open_tensors(tmp_path / "same")
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert load_processor(tmp_path / "out")(text="<image>", images=np.zeros((9, 9, 3), np.uint8))
