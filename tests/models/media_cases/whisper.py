"""Whisper."""

from __future__ import annotations

from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, words

FRAMES, MELS, VOCABULARY = 24, 6, 61
SETTINGS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "num_mel_bins": MELS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_source_positions": FRAMES // 2,
    "max_target_positions": 24,
    "init_std": 0.2,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
}


def spectrograms(random: torch.Generator, rows: int) -> Inputs:
    """One window of noise a row."""
    return {"input_features": torch.randn(rows, MELS, FRAMES, generator=random)}


def with_target(random: torch.Generator, rows: int) -> Inputs:
    """The same, and what has been written of it."""
    target = words(VOCABULARY, (rows, 11), random)
    return {**spectrograms(random, rows), "decoder_input_ids": target}


def target_words(random: torch.Generator, inputs: Inputs) -> torch.Tensor:
    """Labels of a language model: the target itself, some of it not to be learned."""
    ids = inputs["decoder_input_ids"]
    return ids.masked_fill(torch.rand(ids.shape, generator=random) < 0.3, -100)


def classes(random: torch.Generator, inputs: Inputs) -> torch.Tensor:
    """One of five classes a row."""
    rows = len(next(iter(inputs.values())))
    return torch.randint(0, 5, (rows,), generator=random)


def _whisper(name: str, **changes: Any) -> MediaCase:
    return MediaCase(
        f"whisper{name}",
        "speech-seq2seq",
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        SETTINGS | changes,
        with_target,
        outputs=("logits", "encoder_last_hidden_state", "encoder_hidden_states"),
        labels=target_words,
        cached=True,
    )


def _classifier(name: str, **changes: Any) -> MediaCase:
    return MediaCase(
        f"whisper-{name}",
        "audio-classification",
        "WhisperForAudioClassification",
        "WhisperConfig",
        SETTINGS | {"classifier_proj_size": 20, "num_labels": 5} | changes,
        spectrograms,
        labels=classes,
    )


CASES = [
    _whisper(""),
    _whisper("-untied", tie_word_embeddings=False, scale_embedding=True, encoder_layers=1),
    _classifier("classes"),
    _classifier("weighted", use_weighted_layer_sum=True),
]
