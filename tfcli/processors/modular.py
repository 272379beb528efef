"""The processor of a composed model: a text with a token for every feature of every medium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.files import write_json, write_text
from tfcli.models.configs.modular import MultimodalConfig
from tfcli.models.multimodal.modular import feature_shape
from tfcli.models.registry import read_config
from tfcli.processors.arguments import sort_arguments
from tfcli.processors.conversations import KEYS, Taken, take_media
from tfcli.processors.features import Features
from tfcli.processors.folder import JOINT
from tfcli.processors.joint import JointProcessor, Prepared
from tfcli.processors.modular_parts import MediaPart
from tfcli.processors.placeholders import Placeholder, check_counts, expand, repeated
from tfcli.processors.text import TextSide
from tfcli.tokenizers.chat_folder import find_templates
from tfcli.tokenizers.declared import read_object

PARTS = "encoders"
"""The key of processor_config.json that has a part for each encoder."""


class MultimodalProcessor(JointProcessor):
    """`input_ids`, `attention_mask`, and the inputs of each encoder whose media are given.

    With one encoder these have their own names (`pixel_values`); with several they are addressed
    to it (`vision.pixel_values`).

    Args:
        parts: encoder's name -> what prepares its media.
        tokenizer: of the language model, with the encoders' tokens.
        config: of the whole model: how many features a medium has is asked of the encoders.
        chat_templates: name -> Jinja source; left out, the tokenizer's.

    Raises:
        WorkError: encoders without a part, or tokens that are not the config's.
    """

    names = ("MultimodalProcessor",)

    def __init__(
        self,
        parts: Mapping[str, MediaPart],
        tokenizer: TextSide,
        config: MultimodalConfig,
        *,
        chat_templates: Mapping[str, str] | None = None,
    ) -> None:
        self.parts, self.config, self.text = dict(parts), config, tokenizer
        own = tokenizer.tokenizer.chat_templates
        self.chat_templates = dict(own if chat_templates is None else chat_templates)
        self.settings, self.others = self.defaults, {}
        self.image_processor = self.video_processor = None  # type: ignore[assignment]
        self.placeholders = self.media()
        self.run_ids = {}
        self._shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}
        if self.parts.keys() != config.encoders.keys():
            raise WorkError(
                f"the model has the encoders {', '.join(config.encoders)}, the processor "
                f"{', '.join(self.parts) or 'none'}",
                where=JOINT,
                fix="compose the model again",
            )
        for name, part in self.parts.items():
            found, wanted = tokenizer.id_of(part.token), config.encoders[name].token_id
            if found != wanted:
                raise WorkError(
                    f"{part.token} is token {found} of the tokenizer, but config.json names "
                    f"{wanted} for {name}",
                    where=tokenizer.tokenizer.file,
                    fix="the tokenizer and the config belong to different models",
                )
            self.run_ids[found] = name

    def set_chat_templates(self, templates: Mapping[str, str]) -> None:
        """Give it other chat templates, and the tokenizer that it writes, too."""
        self.chat_templates = dict(templates)
        tokenizer = replace(self.text.tokenizer, chat_templates=dict(templates))
        self.text = replace(self.text, tokenizer=tokenizer)

    def media(self) -> dict[str, Placeholder]:
        return {name: Placeholder(part.token, part.token) for name, part in self.parts.items()}

    @property
    def kinds(self) -> dict[str, str]:
        """What a call or a message may call an encoder's media -> the encoder.

        That is its name, and `image` or `audio` where no other encoder takes any.
        """
        words = [part.medium for part in self.parts.values()]
        common = {
            part.medium: name for name, part in self.parts.items() if words.count(part.medium) == 1
        }
        return {**common, **{name: name for name in self.parts}}

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
            images: of the encoder that takes images, where there is one: as its processor takes
                them, a list for each text or one list for all.
            text: one or several, with the encoder's token for each of its media.
            videos: taken by none.
            return_tensors: only "pt".
            return_mm_token_type_ids: also say which ids stand for which encoder's features: 1 for
                the first's, 2 for the second's, ...
            given: media under their encoder's name, or as `audio` where one takes that; arguments
                of `TextSide.batch`, and of the media's processors, for this call; or `text_kwargs`
                and `<encoder>_kwargs` with them.

        Returns:
            `input_ids` and `attention_mask` [b, s], and the encoders' inputs

        Raises:
            UsageError: nothing to process, unknown arguments, or not as many media as placeholders.
            WorkError: media that cannot be read, or a text that would be cut within one.
        """
        if videos is not None:
            raise UsageError("the processor takes no videos", where="videos")
        if return_tensors not in (None, "pt"):
            raise UsageError("only tensors of torch are made", where="return_tensors")
        media = self._media({"image": images} | given)
        if text is None and not media:
            raise UsageError("there is neither text nor a medium", where="text")
        texts = [text] if isinstance(text, str) else None if text is None else list(text)
        if texts is not None and not all(isinstance(each, str) for each in texts):
            raise UsageError("is neither a text nor a list of texts", where="text")
        taken = {*self.kinds, "images"}
        takers = {"text": self.text_keys} | {n: part.options for n, part in self.parts.items()}
        asked = sort_arguments({k: v for k, v in given.items() if k not in taken}, takers)
        media = {name: self.parts[name].read(each, asked[name]) for name, each in media.items()}
        for name, part in self.parts.items():
            counts = part.counts(media[name], texts) if name in media else [0]
            if texts is not None:
                check_counts(texts, part.token, counts, f"{name} input")
        made = self._prepared(media, asked, in_text=texts is not None)
        inputs = {} if texts is None else self.text_inputs(expand(texts, made.runs), asked["text"])
        if texts is not None and return_mm_token_type_ids:
            inputs["mm_token_type_ids"] = self.types(inputs["input_ids"])
        return Features({**inputs, **made.inputs})

    def prepare(
        self,
        media: Mapping[str, Any],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        return_tensors: str | None = "pt",
        in_text: bool = True,
    ) -> Prepared:
        """As in `JointProcessor`, with media and options under the names of encoders."""
        asked = {name: dict((options or {}).get(name) or {}) for name in self.parts}
        read = {name: self.parts[name].read(each, asked[name]) for name, each in media.items()}
        return self._prepared(read, asked, in_text=in_text)

    def _prepared(
        self, media: Mapping[str, Any], asked: Mapping[str, dict[str, Any]], *, in_text: bool
    ) -> Prepared:
        """What is made of media that are read."""
        found: dict[str, Any] = {}
        runs = {}
        for name, each in media.items():
            part = self.parts[name]
            made = part(each, **asked[name])
            found |= self._addressed(name, made)
            if in_text:
                number = sum(part.counts(each, None))
                runs[part.token] = [repeated(part.token, self.length(name, made, number))] * number
        return Prepared(Features(found), runs)

    def length(self, name: str, inputs: Mapping[str, torch.Tensor], number: int) -> int:
        """How many features the encoder and its projector make of one of a call's media.

        Args:
            name: of the encoder.
            inputs: its inputs for all media of the call.
            number: of these media.

        Raises:
            WorkError: inputs that it does not take, or that do not say where a medium ends.
        """
        try:
            shape = self._shape(name, inputs)
        except ModelError as error:
            made = ", ".join(f"{key} {list(value.shape)}" for key, value in inputs.items())
            raise WorkError(
                f"the processor of {name} ({type(self.parts[name].processor).__name__}) gives "
                f"{made}, and the encoder does not take that: {error.what}",
                where=f"{PARTS}.{name}",
                fix="give the encoder's folder the preprocessor_config.json that belongs to it",
            ) from error
        if len(shape) != 3 or shape[0] != number:
            raise WorkError(
                f"the encoder {name} makes features of shape {list(shape)} of {number} media, "
                "which do not say where each of them ends",
                where=f"{PARTS}.{name}",
                fix="use an encoder and a processor that give each medium a row of its own",
            )
        return shape[1]

    def _shape(self, name: str, inputs: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
        """The shape of the features of inputs; asked once for inputs of the same shapes."""
        key = (name, *((key, value.shape) for key, value in inputs.items()))
        if key not in self._shapes:
            size = self.config.text_config.hidden_size
            self._shapes[key] = feature_shape(self.config.encoders[name], size, inputs)
        return self._shapes[key]

    def take(self, conversation: Sequence[Mapping[str, Any]]) -> Taken:
        keys = {}
        for kind, name in self.kinds.items():
            keys[kind] = tuple(dict.fromkeys((kind, *KEYS[self.parts[name].medium])))
        return take_media(conversation, keys)

    def as_arguments(self, taken: Sequence[Taken]) -> dict[str, Any]:
        rows: dict[str, list[list[Any]]] = {}
        for at, each in enumerate(taken):
            for kind, media in each.media.items():
                row = rows.setdefault(self.kinds[kind], [[] for _ in taken])
                if row[at]:
                    raise UsageError(
                        f"the media of {self.kinds[kind]} have two types in one conversation",
                        where=f"conversation[{at}]",
                        fix=f"call all of them {kind}, so that their order is known",
                    )
                row[at] = media
        found = {}
        for name, each_row in rows.items():
            images = self.parts[name].medium == "image"
            found[name] = each_row if images else [one for row in each_row for one in row]
        return {name: media for name, media in found.items() if any(map(len, rows[name]))}

    def _media(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Encoder -> its media, of those that are given."""
        found: dict[str, Any] = {}
        for key, name in self.kinds.items():
            value = given.get(key)
            if value is None:
                continue
            if name in found:
                raise UsageError(f"the media of {name} are given twice", where=key)
            found[name] = value
        if given.get("image") is not None and "image" not in self.kinds:
            several = [name for name, part in self.parts.items() if part.medium == "image"]
            raise UsageError(
                f"{len(several)} encoders take images",
                where="images",
                fix=f"name the encoder: {', '.join(several)}" if several else None,
            )
        return found

    def _addressed(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if len(self.parts) == 1:
            return dict(inputs)
        return {f"{name}.{key}": value for key, value in inputs.items()}

    def types(self, ids: torch.Tensor) -> torch.Tensor:
        types = torch.zeros_like(ids)
        for number, encoder in enumerate(self.config.encoders.values(), 1):
            types[ids == encoder.token_id] = number
        return types

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """The processor of a composed model's folder.

        Raises:
            WorkError: a file that is not there or cannot be read, or settings that do not fit.
            ModelError: config.json is that of another model.
        """
        folder = Path(folder)
        config = read_config(read_object(folder, "config.json"))
        parts = read_object(folder, JOINT).get(PARTS)
        if not isinstance(config, MultimodalConfig) or not isinstance(parts, dict):
            raise WorkError(
                f"it has no {PARTS}, or the model is not a composed one", where=str(folder / JOINT)
            )
        found = {}
        for name, values in parts.items():
            where = f"{folder / JOINT}, {PARTS}.{name}"
            if not isinstance(values, dict):
                raise WorkError("expected a JSON object", where=where)
            found[name] = MediaPart.from_config(values, where)
        return cls(
            found, TextSide.from_pretrained(folder), config, chat_templates=find_templates(folder)
        )

    def save_pretrained(self, folder: Path | str) -> None:
        """Write processor_config.json with a part for each encoder, the tokenizer, and the chat
        templates. config.json is the model's, and is not written.

        Raises:
            WorkError: a tokenizer that a tokenizer.json cannot express.
        """
        folder = Path(folder)
        self.text.save_pretrained(folder)
        parts = {name: part.config() for name, part in self.parts.items()}
        write_json(folder / JOINT, {PARTS: parts, "processor_class": self.names[0]})
        for key, template in self.chat_templates.items():
            if key == "default":
                write_text(folder / "chat_template.jinja", template)
            else:
                (folder / "additional_chat_templates").mkdir(exist_ok=True)
                write_text(folder / "additional_chat_templates" / f"{key}.jinja", template)
