"""Conversations with media as token ids: each medium is as many tokens as it has features."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import torch

from tfcli.data.formats.sample import Chat, Sample
from tfcli.data.media import Medium, Opened
from tfcli.data.supervised import Encoder, Tokens, TrainOn
from tfcli.errors import Problem, WorkError
from tfcli.files import digest_file
from tfcli.models.backbone import Backbone
from tfcli.models.config import BaseConfig
from tfcli.models.multimodal.composite import VisionLanguage
from tfcli.models.registry import get_family
from tfcli.processors.folder import JOINT, SINGLE, VIDEO
from tfcli.processors.joint import JointProcessor, Prepared
from tfcli.tokenizers.chat import Rendered, render_chat
from tfcli.units import plural

_PROBE = "Some words."


class MismatchError(WorkError):
    """A row in whose text media have more or fewer places than there are features."""


class MediaEncoder(Encoder):
    """Makes ids of samples for a model that looks at media.

    Args:
        processor: of the model; its tokenizer and its chat templates are used.
        config: of the model.
        folder, train_on, now: as in `Encoder`.
    """

    takes_media: ClassVar[bool] = True

    def __init__(
        self,
        processor: JointProcessor,
        config: BaseConfig,
        folder: Path,
        train_on: TrainOn = "assistant",
        now: datetime | None = None,
    ) -> None:
        super().__init__(processor.tokenizer, folder, train_on, now)
        self.processor, self.config, self._folder = processor, config, folder
        self.templates = dict(processor.chat_templates)
        self._special = processor.special_tokens()
        self._run_ids = processor.run_ids
        self._body: Backbone[Any] | None = None
        self._counted: dict[Any, dict[str, int]] = {}
        self._in_parts: bool | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """See `Encoder`; how many tokens a medium is follows from the processor's files, too."""
        files = [self._folder / name for name in (JOINT, SINGLE, VIDEO)]
        return {
            **super().identity,
            "processor": {file.name: digest_file(file) for file in files if file.exists()},
            "model": self.config.to_dict(),
        }

    @property
    def feature_ids(self) -> list[int]:
        """The ids that stand for features of media."""
        places = self.processor.placeholders.values()
        return [self.processor.text.id_of(place.feature) for place in places]

    def encode(self, sample: Sample, where: str) -> list[Tokens]:
        """See `Encoder`.

        Raises:
            MismatchError: tokens of features, and no media; names the row.
        """
        found = super().encode(sample, where)
        for tokens in found:
            written = [] if tokens.media else [id for id in tokens.ids if id in self._run_ids]
            if written:
                token = self.tokenizer.decode(written[:1], skip_special_tokens=False)
                raise MismatchError(
                    f"the text has {plural(len(written), 'placeholder')} {token}, and the row has "
                    "no media",
                    where=where,
                    fix="give the media, or write no placeholders into texts",
                )
        return found

    def check_media(self, chat: Chat, where: str) -> None:
        """Refuse media of a kind that the model does not take.

        Raises:
            WorkError: naming the row.
        """
        taken = self.processor.kinds
        for medium in chat.media:
            if medium.kind not in taken or medium.kind == "video":
                known = ", ".join(kind for kind in taken if kind != "video")
                raise WorkError(
                    f"a message has a part of type {medium.kind!r}, and training takes {known}",
                    where=where,
                    fix="leave the row out",
                )

    def prepared(self, media: Sequence[Opened]) -> Prepared:
        """What the model takes of media, in their order.

        Raises:
            WorkError: one that cannot be read.
        """
        given: dict[str, list[Any]] = {}
        for medium in media:
            given.setdefault(self.processor.kinds[medium.kind], []).append(medium.value)
        return self.processor.prepare(given)

    def ids_of_medium(self, medium: Opened) -> list[int]:
        """The ids that stand for one medium in a text."""
        runs = self.prepared([medium]).runs.values()
        text = "".join(run for each in runs for run in each)
        return list(self.ids_of(Rendered(text, None)).ids)

    def inputs_of(self, media: Sequence[Opened], ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """What a model is given beside the ids of a batch.

        Args:
            media: of all rows, in their order.
            ids (Tensor): [b, s]

        Raises:
            WorkError: other media than those that the ids were made of.
        """
        made = self.prepared(media) if media else None
        for name, place in self.processor.placeholders.items():
            runs = () if made is None else made.runs.get(place.token, ())
            wanted = sum(run.count(place.feature) for run in runs)
            there = int((ids == self.processor.text.id_of(place.feature)).sum())
            if there != wanted:
                raise WorkError(
                    f"the rows have {plural(there, 'token')} for {name}s, which have "
                    f"{plural(wanted, 'feature')}",
                    where="data",
                    fix="were the files changed since the training began? Run it again. Encoders "
                    "that fill recordings up to the longest, as wav2vec2, take batch_size: 1",
                )
        inputs: dict[str, torch.Tensor] = {} if made is None else dict(made.inputs)
        if self.processor.types_name:
            inputs[self.processor.types_name] = self.processor.types(ids)
        return inputs

    def encoded(self, texts: Sequence[Rendered], chat: Chat, where: str) -> list[Tokens]:
        """The ids of a conversation's texts, with a token for each feature; none of these is
        learned.

        Raises:
            MismatchError: places and media, or tokens and features, differ in number.
            WorkError: a medium that cannot be read. Both name the row.
        """
        if not chat.media:
            return super().encoded(texts, chat, where)
        made = self._made(chat.media, where)
        return [self._with_media(text, made, len(texts) == 1, where) for text in texts]

    def render(
        self, template: str, messages: Sequence[Mapping[str, Any]], **options: Any
    ) -> Rendered:
        """The text of a conversation. A template that reads parts alone gets texts as such."""
        if self._in_parts is None:
            self._in_parts = not _writes_text(template, self._special)
        if self._in_parts:
            messages = [_as_parts(each) for each in messages]
        return super().render(template, messages, **options)

    def _made(self, media: Sequence[Medium], where: str) -> Prepared:
        """What is made of a row's media.

        Raises:
            MismatchError: the model makes more or fewer features of them than the processor says.
        """
        try:
            made = self.prepared([medium.opened() for medium in media])
            wanted = self._features(made)
        except Problem as error:
            inside = "" if error.where is None else f": {error.where[:200]}"
            raise WorkError(error.what, where=f"{where}{inside}", fix=error.fix) from error
        for name, features in wanted.items():
            place = self.processor.placeholders[name]
            tokens = sum(run.count(place.feature) for run in made.runs.get(place.token, ()))
            if tokens != features:
                raise MismatchError(
                    f"the processor puts {plural(tokens, 'token')} {place.feature} for "
                    f"the row's {name}s, and the model makes {plural(features, 'feature')} of them",
                    where=where,
                    fix="see whether processor_config.json and config.json are of one model: "
                    "patch_size, vision_feature_select_strategy, num_additional_image_tokens",
                )
        return made

    def _features(self, made: Prepared) -> dict[str, int]:
        """Medium -> how many features the model makes. Nothing is computed: shapes alone go
        through the model.

        Raises:
            ModelError: inputs that it does not take.
        """
        family = get_family(self.config.model_type).backbone_class()
        if not issubclass(family, VisionLanguage):
            return {}  # its processor has asked the model for the number
        key = tuple(
            (name, *each.shape, *([] if each.is_floating_point() else each.flatten().tolist()))
            for name, each in made.inputs.items()
        )
        if key not in self._counted:
            with torch.device("meta"), torch.no_grad():
                if self._body is None:
                    self._body = family(self.config).eval()
                assert isinstance(self._body, VisionLanguage)
                shapes = {
                    name: each.to("meta") if each.is_floating_point() else each
                    for name, each in made.inputs.items()
                }
                self._counted[key] = self._body.feature_counts(shapes)
        return self._counted[key]

    def _with_media(self, text: Rendered, made: Prepared, whole: bool, where: str) -> Tokens:
        found = 0
        for place in self.processor.placeholders.values():
            places, media = text.text.count(place.token), len(made.runs.get(place.token, ()))
            if places > media or (whole and places != media):
                raise MismatchError(
                    f"the chat template writes {plural(places, 'placeholder')} {place.token}, and "
                    f"the row has media for {media:,}",
                    where=where,
                    fix="write no placeholders into texts; see whether the template writes one for "
                    'each part {"type": "image"}',
                )
            found += places
        tokens = self.ids_of(expanded(text, made.runs))
        taken = [at for at, id in enumerate(tokens.ids) if id in self._run_ids]
        for name, place in self.processor.placeholders.items():
            used = made.runs.get(place.token, ())[: text.text.count(place.token)]
            wanted = sum(run.count(place.feature) for run in used)
            there = tokens.ids.count(self.processor.text.id_of(place.feature))
            if there != wanted:
                raise MismatchError(
                    f"the tokenizer makes {plural(there, 'token')} {place.feature} of the text, "
                    f"and the {name}s have {plural(wanted, 'feature')}",
                    where=where,
                    fix=f"see whether {place.feature} is a special token of the tokenizer",
                )
        learned = list(tokens.learned)
        for at in taken:
            learned[at] = 0
        return Tokens(tokens.ids, learned, found, taken[-1] + 1 if taken else 0)


def expanded(text: Rendered, runs: Mapping[str, Sequence[str]]) -> Rendered:
    """A text with what stands for each medium in the places of placeholders; spans move along.

    Args:
        text: has at most as many placeholders as there are media.
        runs: placeholder -> what stands for each medium.
    """
    if not runs:
        return text
    waiting: dict[str, Iterator[str]] = {token: iter(each) for token, each in runs.items()}
    pieces, moves, last, shift = list[str](), list[tuple[int, int]](), 0, 0
    for place in re.finditer("|".join(map(re.escape, waiting)), text.text):
        run = next(waiting[place[0]])
        pieces += [text.text[last : place.start()], run]
        last, shift = place.end(), shift + len(run) - len(place[0])
        moves.append((place.end(), shift))

    def moved(at: int) -> int:
        return at + next((by for end, by in reversed(moves) if end <= at), 0)

    spans = text.generation_spans
    return Rendered(
        "".join([*pieces, text.text[last:]]),
        None if spans is None else tuple((moved(begin), moved(end)) for begin, end in spans),
    )


def _writes_text(template: str, special_tokens: Mapping[str, str]) -> bool:
    """Whether a template writes a message whose content is a text."""
    messages = [{"role": "user", "content": _PROBE}]
    try:
        return _PROBE in render_chat(template, messages, special_tokens=special_tokens).text
    except Problem:
        return False


def _as_parts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, str):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}
