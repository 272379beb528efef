"""One call for text and media together: the base of joint processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.processors.arguments import sort_arguments
from tfcli.processors.conversations import Taken, take_media
from tfcli.processors.features import Features
from tfcli.processors.images.base import VisionProcessor
from tfcli.processors.images.pixels import flat_images
from tfcli.processors.images.qwen2_vl_video import each_video
from tfcli.processors.joint_files import JointFiles, read_joint, write_joint
from tfcli.processors.placeholders import (
    Placeholder,
    check_counts,
    expand,
    image_counts,
    refuse_cut_runs,
)
from tfcli.processors.settings import Settings
from tfcli.processors.text import TextSide, as_rows
from tfcli.tokenizers.batch import Batch
from tfcli.tokenizers.chat import render_chat
from tfcli.tokenizers.chat_folder import choose_template
from tfcli.tokenizers.load import Tokenizer

TEXT_KEYS = (
    "padding",
    "padding_side",
    "truncation",
    "max_length",
    "pad_to_multiple_of",
    "add_special_tokens",
)
_TYPES = {"image": 1, "video": 2}
"""Medium -> what says that an id stands for a part of one."""


@dataclass(frozen=True)
class Prepared:
    """What is made of media, for a text that has places for them.

    Args:
        inputs: what the model takes of them.
        runs: placeholder -> what stands in a text for each medium, in their order.
    """

    inputs: Features
    runs: Mapping[str, Sequence[str]]


class JointProcessor:
    """Text and media to what a model takes of them.

    A family says how its media stand in a text (`media`), how long each is (`run`), and where it
    must, how its texts begin (`texts`).

    Args:
        image_processor: of the model.
        tokenizer: of the model, alone or with the habits of its folder.
        video_processor: of the model, where it takes videos.
        chat_templates: name -> Jinja source; left out, the tokenizer's.
        settings: over the class's own.

    Raises:
        UsageError: no such setting, or a value that does not fit.
        WorkError: the tokenizer lacks a token that stands for a medium.
    """

    names: ClassVar[tuple[str, ...]] = ()
    """What files call it: first the name that is written."""
    defaults: ClassVar[Settings] = Settings()
    text_keys: ClassVar[tuple[str, ...]] = TEXT_KEYS
    """The arguments of a call that are for the text."""
    text_defaults: ClassVar[Mapping[str, Any]] = {}
    """Arguments of `TextSide.batch` where a call does not say."""
    image_defaults: ClassVar[Mapping[str, Any]] = {}
    """Image settings where neither the file nor a call says."""
    video_type: ClassVar[str | None] = None
    """The class of its video processor where files do not say; None: it takes no videos."""
    types_name: ClassVar[str | None] = None
    """The name under which it says which ids stand for which medium; None: only on request."""
    unused: ClassVar[tuple[str, ...]] = ()
    """What the image processor gives for counting only."""

    def __init__(
        self,
        image_processor: VisionProcessor,
        tokenizer: TextSide | Tokenizer,
        video_processor: VisionProcessor | None = None,
        *,
        chat_templates: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.image_processor, self.video_processor = image_processor, video_processor
        self.text = tokenizer if isinstance(tokenizer, TextSide) else TextSide(tokenizer)
        own = self.text.tokenizer.chat_templates
        self.chat_templates = dict(own if chat_templates is None else chat_templates)
        self.settings: Any = self.defaults.changed(settings)
        self.others: dict[str, Any] = {}
        self.placeholders = self.media()
        self.run_ids = {
            self.text.id_of(token): medium
            for medium, each in self.placeholders.items()
            for token in (each.feature, *each.around)
        }

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""
        return self.text.tokenizer

    @property
    def kinds(self) -> dict[str, str]:
        """What a call or a message may call a kind of media -> its name in `placeholders`."""
        return {name: name for name in self.placeholders}

    def media(self) -> dict[str, Placeholder]:
        """`image`, `video` -> how it stands in a text; empty where text and media stay apart."""
        return {}

    def run(self, medium: str, features: Features, at: int, settings: Any) -> str:
        """What a placeholder becomes.

        Args:
            medium: `image` or `video`. features: what was made of all of them. at: which of them.
            settings: those that they were made with.
        """
        raise TypeError(f"{type(self).__name__} does not say what a placeholder becomes")

    def texts(self, texts: Sequence[str] | None, counts: Sequence[int]) -> list[str] | None:
        """Texts as placeholders are looked for in them; None: there are none.

        Args:
            texts: as they are given.
            counts: how many images belong to each; one number: to all together. Empty: no images.
        """
        return None if texts is None else list(texts)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: Any = None,
        *,
        return_tensors: str | None = "pt",
        return_mm_token_type_ids: bool | None = None,
        **given: Any,
    ) -> Features:
        """Process text, media or both.

        Args:
            images: as the image processor takes them; a list for each text, or one list for all.
            text: one or several, with a placeholder for each medium where the model has any.
            videos: as the video processor takes them.
            return_tensors: only "pt".
            return_mm_token_type_ids: also say which ids stand for which medium; None: as the model
                expects.
            given: arguments of `TextSide.batch` and settings of the image and video processors,
                for this call; or `text_kwargs`, `images_kwargs`, `videos_kwargs` with them.

        Returns:
            `input_ids` and `attention_mask` [b, s], and what the image and video processors give.

        Raises:
            UsageError: nothing to process, unknown arguments, or not as many media as placeholders.
            WorkError: as the processors do, and a text that would be cut within a medium.
        """
        if images is None and text is None and videos is None:
            raise UsageError("there is neither text nor an image nor a video", where="text")
        asked = self._sorted(given)
        texts = self._checked(text, images, videos)
        given_media = {"image": images, "video": videos}
        made = self.prepare(
            {medium: media for medium, media in given_media.items() if media is not None},
            {medium: asked[f"{medium}s"] for medium in given_media},
            return_tensors=return_tensors,
            in_text=texts is not None,
        )
        inputs: dict[str, Tensor] = {}
        if texts is not None:
            inputs = self.text_inputs(expand(texts, made.runs), asked["text"])
            name = self.types_name or ("mm_token_type_ids" if return_mm_token_type_ids else None)
            if name and return_mm_token_type_ids is not False:
                inputs[name] = self.types(inputs["input_ids"])
        return Features({**inputs, **made.inputs})

    def prepare(
        self,
        media: Mapping[str, Any],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        return_tensors: str | None = "pt",
        in_text: bool = True,
    ) -> Prepared:
        """What is made of media alone.

        Args:
            media: `image`, `video` -> as their processor takes them.
            options: the same names -> settings for this call; left out, those of a call without
                any.
            return_tensors: only "pt".
            in_text: say what stands for them in a text, too.

        Raises:
            UsageError, WorkError: as the processors do.
        """
        if options is None:
            usual = self._sorted({})
            options = {medium: usual[f"{medium}s"] for medium in media}
        found, runs = Features(), {}
        for medium, processor, count in (
            ("image", self.image_processor, flat_images),
            ("video", self.video_processor, each_video),
        ):
            given = media.get(medium)
            if given is None or processor is None:
                continue
            asked = dict(options.get(medium) or {})
            made = processor(given, return_tensors=return_tensors, **asked)
            found |= made
            if in_text and medium in self.placeholders:
                used, number = processor.settings.changed(asked), len(count(given))
                token = self.placeholders[medium].token
                runs[token] = [self.run(medium, made, at, used) for at in range(number)]
        kept = {key: each for key, each in found.items() if key not in self.unused}
        return Prepared(Features(kept), runs)

    def text_inputs(self, texts: Sequence[str], asked: Mapping[str, Any]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` of texts whose placeholders are replaced."""
        batch = self.batch(texts, None, asked)
        return {
            "input_ids": as_rows(batch.ids),
            "attention_mask": as_rows(batch.attention_mask),
        }

    def batch(
        self, texts: Sequence[str], pairs: Sequence[str] | None, asked: Mapping[str, Any]
    ) -> Batch:
        """The ids of texts, or of pairs of texts.

        Raises:
            WorkError: one would be cut within the features of a medium.
        """
        options = {**self.text_defaults, **asked}
        batch = self.text.batch(texts, pairs, **options)
        if options.get("truncation") and self.run_ids:
            uncut = self.text.batch(
                texts, pairs, **options | {"truncation": False, "padding": False}
            )
            refuse_cut_runs(uncut.ids, batch.ids, self.run_ids)
        return batch

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        chat_template: str | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = False,
        return_dict: bool = False,
        processor_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """The text of a conversation, or what the model takes of it.

        Args:
            conversation: messages, whose content may hold media (`take_media`), or a list of such.
            chat_template: a template's name, or its source; left out, the processor's own.
            tools, documents, add_generation_prompt, continue_final_message: as in `render_chat`.
            tokenize: give ids and not the text; with `return_dict` all that the model takes.
            processor_kwargs: arguments of the call; `images` there counts over the messages'.
            variables: more variables of the template.

        Raises:
            UsageError: no such template, or not as many media as placeholders.
            WorkError: as `render_chat` and the call.
        """
        several = bool(conversation) and isinstance(conversation[0], list | tuple)
        taken = [self.take(each) for each in (conversation if several else [conversation])]
        if chat_template is None or chat_template in self.chat_templates:
            named = choose_template(self.chat_templates, chat_template, tools=bool(tools))
            chat_template = named
        rendered = [
            render_chat(
                chat_template,
                each.messages,
                tools=tools,
                documents=documents,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                special_tokens=self.special_tokens(),
                variables=variables,
            ).text
            for each in taken
        ]
        if not tokenize:
            return rendered if several else rendered[0]
        given = dict(processor_kwargs or {})
        bos = self.special_tokens().get("bos_token")
        if bos and rendered[0].startswith(bos):
            given["add_special_tokens"] = False  # the template has written them
        found = self(**{**self.as_arguments(taken), **given}, text=rendered)
        return found if return_dict else found["input_ids"]

    def take(self, conversation: Sequence[Mapping[str, Any]]) -> Taken:
        """The media of a conversation, and what is left of it."""
        return take_media(conversation)

    def as_arguments(self, taken: Sequence[Taken]) -> dict[str, Any]:
        """The arguments of a call for the media of conversations."""
        return {
            "images": [each.images for each in taken] if any(e.images for e in taken) else None,
            "videos": [video for each in taken for video in each.videos] or None,
        }

    def special_tokens(self) -> dict[str, str]:
        """The text of each special token, as templates take them."""
        to_text = self.tokenizer.backend.id_to_token
        named = {role: to_text(id) or "" for role, id in self.tokenizer.special_ids.items()}
        return {**named, **self.text.tokens}

    def _checked(self, text: Any, images: Any, videos: Any) -> list[str] | None:
        """The texts, with a placeholder for each medium."""
        if videos is not None and self.video_processor is None:
            raise UsageError("the processor takes no videos", where="videos")
        given = [text] if isinstance(text, str) else text
        if given is not None and not (
            isinstance(given, list | tuple) and all(isinstance(each, str) for each in given)
        ):
            raise UsageError("is neither a text nor a list of texts", where="text")
        counts = [] if images is None else image_counts(images, given)
        texts = self.texts(given, counts)
        number = 0 if videos is None else len(each_video(videos))
        for medium, media in (("image", counts or [0]), ("video", [number])):
            if texts is not None and medium in self.placeholders:
                check_counts(texts, self.placeholders[medium].token, media, medium)
        return texts

    def types(self, ids: Tensor) -> Tensor:
        """Which ids [b, s] stand for features of which medium: 0 for none."""
        types = torch.zeros_like(ids)
        for medium, each in self.placeholders.items():
            types[ids == self.text.id_of(each.feature)] = _TYPES[medium]
        return types

    def _sorted(self, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        takers = {
            "text": self.text_keys,
            "images": self.image_processor.settings.names(),
            "videos": self.video_processor.settings.names() if self.video_processor else (),
        }
        asked = sort_arguments(given, takers)
        for key, value in self.image_defaults.items():
            if key in takers["images"] and getattr(self.image_processor.settings, key) is None:
                asked["images"].setdefault(key, value)
        return asked

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """The processor of a folder.

        Raises:
            WorkError: a part that is not there or cannot be read, or a setting that does not fit.
        """
        found = read_joint(Path(folder), cls.defaults, cls.video_type)
        settings = {key: getattr(found.settings, key) for key in found.settings.names()}
        made = cls(
            found.image_processor,
            found.text,
            found.video_processor,
            chat_templates=found.chat_templates,
            **settings,
        )
        made.others = found.others
        return made

    def save_pretrained(self, folder: Path | str) -> None:
        """Write processor_config.json with all parts, the tokenizer, and the chat templates.

        Raises:
            WorkError: a tokenizer that a tokenizer.json cannot express.
        """
        parts = JointFiles(
            self.image_processor,
            self.text,
            self.video_processor,
            self.chat_templates,
            self.settings,
            self.others,
        )
        write_joint(Path(folder), parts, self.names[0])
