"""What the tests of encoder-decoders share: a random transformers model, and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

from tests.models.cases.seq2seq import CASES, Seq2SeqCase
from tests.models.parity import labels_for
from tfcli.models.cache import Cache
from tfcli.models.model import Model

SOURCE, TARGET = 17, 11  # tokens
AUTO = {
    "seq2seq-lm": transformers.AutoModelForSeq2SeqLM,
    "sequence-classification": transformers.AutoModelForSequenceClassification,
    "token-classification": transformers.AutoModelForTokenClassification,
    "question-answering": transformers.AutoModelForQuestionAnswering,
    "embedding": transformers.AutoModel,
}
WHOLE = ("sequence-classification", "embedding")  # one answer for a row
CACHES: dict[str, Callable[[Model], Cache]] = {
    "dynamic": lambda model: model.make_cache(),
    "static": lambda model: model.make_cache("static", TARGET),
}
PAIRS = [(case, task) for case in CASES for task in case.tasks]
LM = [(case, task) for case, task in PAIRS if task == "seq2seq-lm"]


def reference(case: Seq2SeqCase, task: str, attention: str | None = None) -> nn.Module:
    """The transformers model, in eval mode, with no value left at 0 or 1 that could be another."""
    torch.manual_seed(0)
    config = getattr(transformers, case.config)(**case.settings)
    auto = AUTO[task]
    if task == "embedding" and config.model_type in ("t5", "mt5", "umt5"):
        auto = transformers.AutoModelForTextEncoding
    model = auto.from_config(config, attn_implementation=attention or case.attention)
    if case.parts and hasattr(model, "lm_head"):
        model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.normal_()
    return model.eval()


def inputs(case: Seq2SeqCase, task: str, rows: int = 2) -> dict[str, torch.Tensor]:
    """A source, and for a language model a target; both end with the end-of-text token."""
    generator = torch.Generator().manual_seed(1)

    def text(words: int, length: int) -> torch.Tensor:
        ids = torch.randint(4, words, (rows, length), generator=generator)
        ids[:, -1] = getattr(transformers, case.config)(**case.settings).eos_token_id
        return ids

    words = case.settings.get("src_vocab_size") or case.settings["vocab_size"]
    batch = {"input_ids": text(words, SOURCE)}
    if task == "seq2seq-lm" or decoder_words(case):
        batch["decoder_input_ids"] = text(decoder_words(case) or words, TARGET)
    elif task == "embedding" and not reads_itself(case):
        batch["decoder_input_ids"] = batch["input_ids"]
    return batch


def reads_itself(case: Seq2SeqCase) -> bool:
    """Whether their base model makes the decoder's input from the source, or has no decoder."""
    names = ("T5", "MT5", "UMT5", "Bart", "MBart", "LED")
    return case.config.removesuffix("Config") in names


def decoder_words(case: Seq2SeqCase) -> int | None:
    """Words of the target, where it has a vocabulary of its own."""
    return case.settings.get("decoder_vocab_size") or case.settings.get("tgt_vocab_size")


def labels_of(case: Seq2SeqCase, task: str, batch: dict[str, Any]) -> torch.Tensor:
    name = "decoder_input_ids" if task == "seq2seq-lm" else "input_ids"
    return labels_for(case, task, {"input_ids": batch[name]})
