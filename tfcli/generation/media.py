"""Prompts with media: what a model that looks at images reads of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.errors import UsageError
from tfcli.generation.spec import GenerateSpec

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.processors.joint import JointProcessor

LOOKS = "image-text-to-text"
"""The task of models that read texts with media among their tokens."""


@dataclass(frozen=True)
class Prompt:
    """What a model reads of a prompt.

    Args:
        text: as it was given.
        ids: of the text, with a token for each feature of a medium.
        media: what goes along with the first ids, by the names that the model takes it under.
    """

    text: str
    ids: list[int]
    media: Mapping[str, Tensor] = field(default_factory=dict)


def given_media(spec: GenerateSpec) -> dict[str, list[str]]:
    """Argument of a processor's call -> the files that were given for it."""
    audio = [] if spec.audio is None or spec.transcribes else [spec.audio]
    named = {"images": spec.image, "audio": audio}
    return {name: list(files) for name, files in named.items() if files}


def require_media_model(spec: GenerateSpec, task: str, model_type: str) -> None:
    """Refuse media for a model that takes none, before anything of it is read.

    Raises:
        UsageError: names the key and the model's family.
    """
    for name in given_media(spec):
        if task != LOOKS:
            key = name.removesuffix("s")
            raise UsageError(
                f"{model_type} takes no {name} beside a text: it reads text alone",
                where=key,
                fix=f"leave out {key}, or give a model that takes {name}",
            )


def read_media(prompt: str, spec: GenerateSpec, checkpoint: Checkpoint) -> Prompt:
    """What the model reads of a prompt and its media, as its own processor makes it.

    Raises:
        UsageError: a folder without a processor, or as many media as there are not placeholders.
        WorkError: media that cannot be read.
    """
    processor = _processor(checkpoint, spec.model)
    given: dict[str, Any] = {**given_media(spec)}
    if spec.chat:
        inputs = _conversation(processor, prompt, spec, given)
    else:
        inputs = processor(text=[_placed(processor, prompt, given)], **given)
    ids = inputs.pop("input_ids")[0].tolist()
    inputs.pop("attention_mask", None)
    return Prompt(prompt, ids, dict(inputs))


def _processor(checkpoint: Checkpoint, where: str) -> JointProcessor:
    from tfcli.processors.joint import JointProcessor
    from tfcli.processors.load import load_processor

    processor = load_processor(checkpoint.beside)
    if not isinstance(processor, JointProcessor):
        raise UsageError(
            "the model has no processor for media beside its weights",
            where=where,
            fix="add its preprocessor_config.json or processor_config.json",
        )
    return processor


def read_conversation(
    checkpoint: Checkpoint,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Prompt:
    """What the model reads of a conversation with images.

    Args:
        checkpoint: of the model.
        messages: the content of each is a text, or parts of which images name files (`path`).
        tools, variables: as in `render_chat`.

    Raises:
        UsageError, WorkError: as `read_media`.
    """
    images = [
        part["path"]
        for message in messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image"
    ]
    apply = _processor(checkpoint, str(checkpoint.path)).apply_chat_template
    for name in sorted(signature(apply).parameters.keys() & (variables or {}).keys()):
        raise UsageError(
            f"{name} is no variable of a chat template", where=name, fix="leave it out"
        )
    inputs = apply(
        [_without_paths(message) for message in messages],
        tools=tools,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"images": images},
        **(variables or {}),
    )
    ids = inputs.pop("input_ids")[0].tolist()
    inputs.pop("attention_mask", None)
    return Prompt("", ids, dict(inputs))


def _without_paths(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, list):
        content = [{key: part[key] for key in part if key != "path"} for part in content]
    return {**message, "content": content}


def _conversation(
    processor: JointProcessor, prompt: str, spec: GenerateSpec, given: Mapping[str, list[str]]
) -> Any:
    media = [{"type": name.removesuffix("s")} for name, files in given.items() for _ in files]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [*media, {"type": "text", "text": prompt}]}
    ]
    if spec.system is not None:
        content = [{"type": "text", "text": spec.system}]
        messages.insert(0, {"role": "system", "content": content})
    return processor.apply_chat_template(
        messages,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs=given,
    )


def _placed(processor: JointProcessor, prompt: str, given: Mapping[str, list[str]]) -> str:
    """The prompt with a placeholder for each medium: before the text, where it names none."""
    before = ""
    for name, files in given.items():
        medium = name.removesuffix("s")
        placeholder = processor.placeholders.get(processor.kinds.get(medium, medium))
        if placeholder is not None and placeholder.token not in prompt:
            before += placeholder.token * len(files)
    return before + prompt
