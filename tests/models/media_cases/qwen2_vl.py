"""Qwen2-VL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tests.models.media_case import Inputs, MediaCase, next_words, words

VOCABULARY = 57
IMAGE, VIDEO, START, END = range(VOCABULARY, VOCABULARY + 4)
MERGE = 2
TEXT = {
    "vocab_size": END + 1,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1000.0,
        "mrope_section": [2, 3, 3],
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
VISION = {
    "depth": 2,
    "embed_dim": 32,
    "hidden_size": 32,
    "num_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 4,
    "spatial_merge_size": MERGE,
    "initializer_range": 0.2,
}
SETTINGS = {
    "text_config": TEXT,
    "vision_config": VISION,
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
VALUES = 3 * 2 * 4 * 4  # of a patch
Grid = tuple[int, int, int]


def with_media(images: Sequence[Sequence[Grid]], videos: Sequence[Sequence[Grid]] = ()) -> Any:
    """Texts around media, for each row their grids.

    The rows are filled up with words to one length.
    """
    videos = videos or [()] * len(images)

    def make(random: torch.Generator, rows: int) -> Inputs:
        made = []
        for row in range(rows):
            parts = [words(VOCABULARY, (1, 2 + row), random)[0]]
            for token, grids in ((IMAGE, images[row]), (VIDEO, videos[row])):
                for grid in grids:
                    run = torch.full((tokens_of(grid),), token)
                    parts += [torch.tensor([START]), run, torch.tensor([END])]
                    parts.append(words(VOCABULARY, (1, 2), random)[0])
            made.append(torch.cat(parts))
        length = max(map(len, made)) + 4
        fill = words(VOCABULARY, (rows, length), random)
        ids = torch.stack([torch.cat((row, fill[n, len(row) :])) for n, row in enumerate(made)])
        types = (ids == IMAGE).long() + 2 * (ids == VIDEO).long()
        found = {"input_ids": ids, "mm_token_type_ids": types}
        for name, grids, grid_name in (
            ("pixel_values", images, "image_grid_thw"),
            ("pixel_values_videos", videos, "video_grid_thw"),
        ):
            whole = torch.tensor([grid for row in grids[:rows] for grid in row])
            if len(whole):
                count = int(whole.prod(1).sum())
                found[name] = torch.randn(count, VALUES, generator=random)
                found[grid_name] = whole
        return found

    return make


def tokens_of(grid: Grid) -> int:
    """Features of a medium."""
    return grid[0] * grid[1] * grid[2] // MERGE**2


def text(random: torch.Generator, rows: int) -> Inputs:
    return {"input_ids": words(VOCABULARY, (rows, 12), random)}


def _qwen2_vl(name: str, inputs: Any, **changes: Any) -> MediaCase:
    return MediaCase(
        f"qwen2_vl-{name}",
        "image-text-to-text",
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLConfig",
        SETTINGS | changes,
        inputs,
        labels=next_words,
        cached=True,
    )


WINDOWS = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
CASES = [
    _qwen2_vl("images", with_media([[(1, 4, 6), (1, 2, 4)], [(1, 4, 4)]])),
    _qwen2_vl(
        "videos",
        with_media([[(1, 4, 4)], []], [[], [(6, 2, 4), (2, 4, 2)]]),
        tie_word_embeddings=True,
        text_config=TEXT | WINDOWS,
    ),
    _qwen2_vl("alike", with_media([[(1, 4, 4)], [(1, 4, 4)]])),
    _qwen2_vl("text", text),
    MediaCase(
        "qwen2_vl_text",
        "embedding",
        "Qwen2VLTextModel",
        "Qwen2VLTextConfig",
        TEXT,
        text,
        outputs=("last_hidden_state",),
    ),
]
