"""What we and transformers make of prompts with the same weights and the same keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

import torch
import transformers
from torch import nn

from tests.models.parity import twin
from tfcli.generation.sampling import draw_from
from tfcli.generation.settings import read_settings
from tfcli.generation.tasks import decoding
from tfcli.models.model import Model

PROMPTS = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14]]
NEW = 9
SIZES = {"vocab_size": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
CONFIGS = {
    "llama": transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        **SIZES,
    ),
    "bart": transformers.BartConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        decoder_start_token_id=2,
        init_std=0.3,
        **SIZES,
    ),
    "t5": transformers.T5Config(
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=1,
        initializer_factor=0.8,
        **SIZES,
    ),
}
MODELS = tuple(CONFIGS)


@contextmanager
def drawing_our_way(seed: int) -> Iterator[None]:
    """Has transformers draw one token from a row as we do, by the random numbers of a seed."""
    generator = torch.Generator().manual_seed(seed)

    def draws(likely: torch.Tensor, num_samples: int) -> torch.Tensor:
        assert num_samples == 1
        return torch.tensor([[draw_from(row, generator)] for row in likely])

    with patch("torch.multinomial", draws):
        yield


@cache
def pair(model_type: str, seed: int = 0) -> tuple[nn.Module, Model]:
    """A tiny random model of transformers, and ours with its weights."""
    torch.manual_seed(seed)
    seq2seq = model_type != "llama"
    auto = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    theirs = auto.from_config(CONFIGS[model_type]).eval()
    return theirs, twin(theirs, "seq2seq-lm" if seq2seq else "causal-lm")


def generation_config(model_type: str, said: dict) -> dict:
    """The keys, with those that say where a text begins and ends."""
    start = CONFIGS[model_type].to_dict().get("decoder_start_token_id")
    begin = {} if start is None else {"decoder_start_token_id": start}
    return {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": None} | begin | said


def their_texts(model_type, said, prompt, **options):
    """What transformers makes of a prompt: the whole output, padded, without what it began with."""
    theirs, _ = pair(model_type)
    theirs.generation_config = transformers.GenerationConfig(**generation_config(model_type, said))
    made = theirs.generate(torch.tensor([prompt]), max_new_tokens=NEW, **options)
    return made[:, len(prompt) if model_type == "llama" else 1 :].tolist()


def our_texts(
    model_type, said, prompts=PROMPTS, seeds=(), change=lambda settings: settings, **options
):
    """What we make of prompts in one batch, as many texts of each as the keys say."""
    _, model = pair(model_type)
    settings = change(read_settings(generation_config(model_type, said), model.config))
    count = settings.sequences
    steps = decoding(
        model,
        [prompt for prompt in prompts for _ in range(count)],
        max_new_tokens=[NEW] * len(prompts) * count,
        settings=settings,
        seeds=seeds,
        **options,
    )
    return steps.texts(), steps.scores


def until_end(text, said):
    """A text without the padding after its end."""
    stop = said.get("eos_token_id")
    stop = {stop} if isinstance(stop, int) else {*(stop or ())}
    ends = [at for at, token in enumerate(text) if token in stop]
    return text[: ends[0] + 1] if ends else text
