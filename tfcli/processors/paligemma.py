"""PaliGemma's processor: images, a prompt, and while training the answer to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from tokenizers import AddedToken
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.processors.features import Features
from tfcli.processors.images.base import VisionProcessor
from tfcli.processors.joint import TEXT_KEYS, JointProcessor
from tfcli.processors.placeholders import Placeholder, repeated
from tfcli.processors.text import TextSide, as_rows
from tfcli.tokenizers.backend import copy_backend
from tfcli.tokenizers.load import Tokenizer

IMAGE = "<image>"
_PLACES = [f"<loc{n:04}>" for n in range(1024)] + [f"<seg{n:03}>" for n in range(128)]
IGNORED = -100


class PaliGemmaProcessor(JointProcessor):
    """`input_ids`, `attention_mask`, `token_type_ids`, `pixel_values`, and with a suffix `labels`.

    With `suffix`, the answer that is to be learned, `token_type_ids` are 1 where it stands.

    A text that has no `<image>` gets one for each of its images. Behind the images come a BOS, the
    prompt and a line feed.
    """

    names = ("PaliGemmaProcessor",)
    text_keys = (*TEXT_KEYS, "suffix")
    text_defaults: ClassVar[Mapping[str, Any]] = {"add_special_tokens": False}

    def __init__(
        self,
        image_processor: VisionProcessor,
        tokenizer: TextSide | Tokenizer,
        video_processor: VisionProcessor | None = None,
        *,
        chat_templates: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        text = tokenizer if isinstance(tokenizer, TextSide) else TextSide(tokenizer)
        super().__init__(
            image_processor, _with_places(text), chat_templates=chat_templates, **settings
        )

    def media(self) -> dict[str, Placeholder]:
        token = self.text.tokens.get("image_token", IMAGE)
        return {"image": Placeholder(token, token)}

    def run(self, medium: str, features: Features, at: int, settings: Any) -> str:
        length = self.image_processor.others.get("image_seq_length")
        if not isinstance(length, int) or isinstance(length, bool):
            raise WorkError(
                f"image_seq_length is {str(length)[:40]}, not the number of an image's features",
                where="preprocessor_config.json",
                fix="set it as the model has it, such as 256",
            )
        return repeated(self.placeholders[medium].feature, length)

    def texts(self, texts: Sequence[str] | None, counts: Sequence[int]) -> list[str] | None:
        if not counts:
            raise UsageError("there is no image", where="images", fix="the model answers on images")
        if texts is None:
            return None
        token = self.placeholders["image"].token
        bos = self.tokenizer.backend.id_to_token(self.tokenizer.special_ids.get("bos_token", -1))
        if any(token in text for text in texts):
            cut = [text.rfind(token) + len(token) if token in text else 0 for text in texts]
            return [
                f"{text[:end]}{bos}{text[end:]}\n" for text, end in zip(texts, cut, strict=True)
            ]
        each = counts if len(counts) == len(texts) else [1] * len(texts)
        return [f"{token * n}{bos}{text}\n" for text, n in zip(texts, each, strict=True)]

    def text_inputs(self, texts: Sequence[str], asked: Mapping[str, Any]) -> dict[str, Tensor]:
        """With a `suffix`, one text or one for each, the labels are its ids and those of an EOS."""
        options = dict(asked)
        suffix = options.pop("suffix", None)
        if suffix is None:
            found = super().text_inputs(texts, options)
            return {**found, "token_type_ids": torch.zeros_like(found["input_ids"])}
        eos = self.tokenizer.backend.id_to_token(self.tokenizer.special_ids.get("eos_token", -1))
        answers = [suffix] if isinstance(suffix, str) else list(suffix)
        batch = self.batch(texts, [f"{answer}{eos}" for answer in answers], options)
        ids, types = as_rows(batch.ids), as_rows(batch.token_type_ids)
        return {
            "input_ids": ids,
            "attention_mask": as_rows(batch.attention_mask),
            "token_type_ids": types,
            "labels": ids.masked_fill(types == 0, IGNORED),
        }


def _with_places(text: TextSide) -> TextSide:
    """The tokenizer with the tokens that the model was trained with, where it lacks some."""
    known = text.tokenizer.backend.get_vocab(with_added_tokens=True)
    lacking = [token for token in _PLACES if token not in known]
    if not lacking and IMAGE in known:
        return text
    backend = copy_backend(text.tokenizer.backend)
    backend.add_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    backend.add_tokens(lacking)
    return dataclasses.replace(text, tokenizer=dataclasses.replace(text.tokenizer, backend=backend))
