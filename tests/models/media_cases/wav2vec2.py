"""wav2vec2."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase
from tests.models.media_cases.whisper import classes

SAMPLES, LETTERS = 190, 5
SETTINGS: dict[str, Any] = {
    "vocab_size": 17,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [12, 16, 20],
    "conv_stride": [3, 2, 2],
    "conv_kernel": [5, 3, 2],
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4,
    "initializer_range": 0.2,
}
LAYER_NORMED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def waves(random: torch.Generator, rows: int) -> Inputs:
    """Noise."""
    return {"input_values": torch.randn(rows, SAMPLES, generator=random)}


def padded_waves(random: torch.Generator, rows: int) -> Inputs:
    """Noise of several lengths, and which samples are filled up."""
    lengths = torch.arange(rows)[:, None] * 31
    mask = (torch.arange(SAMPLES) < SAMPLES - lengths).long()
    return {**waves(random, rows), "attention_mask": mask}


def letters(random: torch.Generator, inputs: Inputs) -> torch.Tensor:
    """What is said: some rows have fewer letters."""
    rows = len(inputs["input_values"])
    labels = torch.randint(1, 17, (rows, LETTERS), generator=random)
    labels[1:, 3:] = -100
    return labels


def _ctc(name: str, inputs: Any = padded_waves, **changes: Any) -> MediaCase:
    return MediaCase(
        f"wav2vec2{name}",
        "ctc",
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        SETTINGS | changes,
        inputs,
        labels=letters,
    )


def _classifier(name: str, inputs: Any, **changes: Any) -> MediaCase:
    return MediaCase(
        f"wav2vec2-{name}",
        "audio-classification",
        "Wav2Vec2ForSequenceClassification",
        "Wav2Vec2Config",
        SETTINGS | {"classifier_proj_size": 20, "num_labels": 5} | changes,
        inputs,
        labels=classes,
        hidden_states=not changes.get("use_weighted_layer_sum", False),
    )


CASES = [
    _ctc(""),
    _ctc("-layers", **LAYER_NORMED, num_conv_pos_embeddings=5, ctc_loss_reduction="mean"),
    _ctc("-whole", waves, mask_time_prob=0.0, ctc_zero_infinity=True, pad_token_id=3),
    _classifier("classes", padded_waves),
    _classifier("weighted", waves, use_weighted_layer_sum=True, do_stable_layer_norm=True),
]
