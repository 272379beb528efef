"""`image-text-to-text`, `visual-question-answering` and `image-to-text`: texts about images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tfcli.errors import WorkError
from tfcli.generation.media import LOOKS, Prompt
from tfcli.generation.spec import Answer
from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.media import medium_of
from tfcli.predict.options.writing import ImageTextOptions, VisualQuestionOptions, WritingOptions
from tfcli.predict.task import Sample
from tfcli.predict.tasks.text_generation import after, is_chat
from tfcli.predict.texts import text_of
from tfcli.predict.writing import WritingTask
from tfcli.processors.joint import JointProcessor

V = TypeVar("V", bound=WritingOptions)


class _Looking(WritingTask[V]):
    """A task of models that read texts with images among their tokens."""

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, LOOKS)

    @property
    def joint(self) -> JointProcessor:
        """What makes inputs of text and images.

        Raises:
            WorkError: the model has none.
        """
        found = self.parts.processor
        if not isinstance(found, JointProcessor):
            raise WorkError("the model's files have no processor of images", where=self.parts.name)
        return found

    def read(self, text: str, images: Sequence[Any]) -> Prompt:
        """A text about images, with a placeholder before it for each that it has none for."""
        joint, before = self.joint, ""
        place = joint.placeholders.get("image")
        if place is not None and images and place.token not in text:
            before = place.token * len(images)
        inputs = joint(text=[before + text], images=list(images) or None)
        return self._prompt(text, inputs)

    def _prompt(self, text: str, inputs: Any) -> Prompt:
        inputs = dict(inputs.to(dtype=self.parts.model.dtype))
        ids = inputs.pop("input_ids")[0].tolist()
        inputs.pop("attention_mask", None)
        return Prompt(text, ids, inputs)

    def read_chat(self, messages: list[dict[str, Any]]) -> Prompt:
        """The messages of a conversation, whose parts may be images."""
        goes_on = messages[-1].get("role") == "assistant"
        inputs = self.joint.apply_chat_template(
            messages,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            tokenize=True,
            return_dict=True,
        )
        return self._prompt("", inputs)


class ImageTextToText(_Looking[ImageTextOptions]):
    """A row has a `text` with `images`, a list or one; or a `text` that is a conversation whose
    parts may be images."""

    name = "image-text-to-text"
    inputs = ("text",)
    optional = ("images",)
    options_class = ImageTextOptions

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        given = row["text"]
        if is_chat(given):
            prompt = self.read_chat(_in_folder(given, row["folder"]))
        else:
            listed = row.get("images", [])
            listed = listed if isinstance(listed, list) else [listed]
            images = [medium_of({**row, "image": each}, "image") for each in listed]
            prompt = self.read(text_of(row, "text"), images)
        return [self.asked_of(prompt, given)]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[list[Answer]]) -> Any:
        given = samples[0].about.given
        found = []
        for answer in outputs[0]:
            if self.options.gives_ids:
                ids = [*answer.prompt_ids, *answer.token_ids]
                found.append({"input_text": given, "generated_token_ids": ids})
                continue
            text: Any = self.text_of(answer)
            if self.options.return_full_text:
                text = self._whole(given, text)
            found.append({"input_text": given, "generated_text": text})
        return found

    def _whole(self, given: Any, text: str) -> Any:
        goes_on = not isinstance(given, str) and given[-1].get("role") == "assistant"
        if not goes_on or isinstance(given[-1]["content"], str):
            return after(given, text, goes_on)
        *parts, last = given[-1]["content"]
        content = [*parts, {**last, "text": last["text"] + text}]
        return [*given[:-1], {"role": given[-1]["role"], "content": content}]


class VisualQuestionAnswering(_Looking[VisualQuestionOptions]):
    """A row has an `image` and a `question`. The answer is a list of texts."""

    name = "visual-question-answering"
    inputs = ("image", "question")
    options_class = VisualQuestionOptions

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        question = text_of(row, "question")
        return [self.asked_of(self.read(question, [medium_of(row, "image")]), question)]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[list[Answer]]) -> Any:
        return [{"answer": self.text_of(answer).strip()} for answer in outputs[0]]


class ImageToText(_Looking[VisualQuestionOptions]):
    """A row has an `image`, and may have a `prompt`. The answer is a list of texts."""

    name = "image-to-text"
    inputs = ("image",)
    optional = ("prompt",)
    options_class = VisualQuestionOptions

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        prompt = text_of(row, "prompt") if "prompt" in row else ""
        return [self.asked_of(self.read(prompt, [medium_of(row, "image")]), prompt)]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[list[Answer]]) -> Any:
        return [{"generated_text": self.text_of(answer)} for answer in outputs[0]]


def _in_folder(messages: Any, folder: Path) -> list[dict[str, Any]]:
    """Messages whose paths of images lead on from a folder."""
    return [
        {**message, "content": [_placed(part, folder) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else dict(message)
        for message in messages
    ]


def _placed(part: Any, folder: Path) -> Any:
    if not isinstance(part, Mapping) or part.get("type") != "image":
        return part
    paths = {
        key: str(folder / value)
        for key, value in part.items()
        if key in ("image", "path", "url") and isinstance(value, str) and ":" not in value
    }
    return {**part, **paths}
