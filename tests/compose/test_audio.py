"""Encoders of audio beside one of images: Whisper's, and wav2vec2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tests.compose.conftest import compose, plain
from tests.models.media_cases.wav2vec2 import SETTINGS as WAV2VEC2
from tests.models.media_cases.whisper import SETTINGS as WHISPER
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.processors.load import load_processor

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
RATE = 16_000
SOUND, SHORT = (np.random.default_rng(1).normal(size=n).astype(np.float32) for n in (RATE, 900))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A window has one second: 100 frames, of which the convolutions make 50."""
    folder = tmp_path_factory.mktemp("whisper") / "whisper"
    torch.manual_seed(5)
    config = transformers.WhisperConfig(**plain(WHISPER, max_source_positions=50))
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=6, chunk_length=1).save_pretrained(folder)
    return folder


def test_whisper_s_encoder_beside_a_tower_of_images(llama, clip, whisper, tmp_path):
    audio = {"model": str(whisper), "projector": "mlp"}
    result = compose(tmp_path / "out", llama, {"vision": str(clip), "audio": audio})
    found = result.encoders[1]
    assert (found.model_type, found.tower, found.token) == ("whisper", "encoder", "<audio>")
    assert (found.features, found.processor) == (50, "WhisperFeatureExtractor")
    source, written = open_checkpoint(whisper), open_tensors(tmp_path / "out")
    for name in source.tensors:
        inner = name.removeprefix("model.encoder.")
        whole = f"model.audio_encoder.module.{inner}"
        if inner == name:
            assert "decoder" in found.skipped[name] or "tower encoder" in found.skipped[name]
        else:
            assert torch.equal(written[whole], source.weights[name])

    processor = load_processor(tmp_path / "out")
    given = processor(text="<audio> and <image>", audio=SOUND, images=PHOTO, sampling_rate=RATE)
    ids = given.input_ids[0].tolist()
    assert (ids.count(320), ids.count(321)) == (5, 50)
    assert set(given) > {"vision.pixel_values", "audio.input_features"}
    model = load_model(tmp_path / "out", task=None)
    with torch.no_grad():
        features = model.body.encoders["audio"]({"input_features": given["audio.input_features"]})
        tower = load_model(whisper, task=None).body.encoder
        states = tower.encode(input_features=given["audio.input_features"])
        assert torch.equal(features, model.body.encoders["audio"].projector(states))
        # llama's 64 positions do not limit what it computes
        assert model(**given).logits.shape[:2] == given.input_ids.shape


def test_waves_of_several_lengths(llama, tmp_path):
    torch.manual_seed(6)
    folder = tmp_path / "wav2vec2"
    config = transformers.Wav2Vec2Config(**plain(WAV2VEC2, feat_extract_norm="layer"))
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    extractor.save_pretrained(folder)
    result = compose(tmp_path / "out", llama, {"audio": str(folder)})
    assert "the head for ctc" in result.encoders[0].skipped.values()
    processor = load_processor(tmp_path / "out")
    given = processor(text=["<audio>", "<audio>A"], audio=[SHORT, SHORT[:700]], sampling_rate=RATE)
    assert given.encoder_attention_mask.sum(-1).tolist() == [900, 700]
    model = load_model(tmp_path / "out", task=None)
    with torch.no_grad():
        logits = model(**given).logits
        unmasked = {k: v for k, v in given.items() if k != "encoder_attention_mask"}
        assert not torch.equal(model(**unmasked).logits[1], logits[1])
