"""What `tfcli generate` takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from tfcli.families import FamilyFile
from tfcli.generation.keys import GenerationKeys
from tfcli.generation.strategies.keys import StrategyKeys
from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec, StandardInput

SPOKEN = Only(audio=GIVEN)
"""For keys of how a recording is written down."""
TEXT_ALONE = (
    *("prompts", "chat", "stop", "echo", "num_return_sequences", "max_time"),
    *StrategyKeys.said_of_strategies,
    *("assistant_model", "negative_prompt", "force_words", "logprobs"),
)
"""What says something of a prompt or of an answer to it, which a recording is not."""
CacheName = Literal["dynamic", "static", "quantized8", "quantized4", "offloaded", "paged"]
OF_SPEECH = ("language", "speech_task", "timestamps")
"""What says something of a recording that is written down."""


class GenerateSpec(GenerationKeys, Spec):
    """Continue a prompt, or answer it with an encoder-decoder."""

    verb: ClassVar[str] = "generate"
    loads_first: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = ("model", "prompt")

    model: ModelRef = Field(
        description="The model: a folder or file of any container, or a hub id "
        "org/name[:file][@revision]."
    )
    prompt: StandardInput | None = Field(
        None,
        description="The text to continue, or with chat a user's message; for an encoder-decoder "
        "the text that it reads. On the command line, - reads it from standard input.",
    )
    prompts: InputPath | None = Field(
        None,
        description="A file of prompts in place of one: a .jsonl file with the key prompt, or a "
        "text file with one prompt a line.",
    )
    image: list[InputPath] = Field(
        [],
        description="An image that the prompt is about, of models that look at images. Can be "
        "repeated. Where the prompt does not say by the model's placeholder where it belongs, it "
        "comes first.",
    )
    audio: InputPath | None = Field(
        None,
        description="A recording, whose words are written down. With a prompt, which is then about "
        "it, of models that read texts and listen. An audio file, or a film with sound.",
    )
    language: Annotated[str | None, SPOKEN] = Field(
        None,
        description="The language that is spoken, as a code or an English name. Left out, the "
        "model hears which it is.",
    )
    speech_task: Annotated[Literal["transcribe", "translate"] | None, SPOKEN] = Field(
        None,
        description="Whether what is said is written in its language, or in English. Left out, "
        "generation_config.json decides.",
    )
    timestamps: Annotated[bool, SPOKEN] = Field(
        False,
        description="Say when each part is said. Whisper writes times of recordings of more than "
        "one window, whether they are asked for or not.",
    )
    chat: bool = Field(
        False, description="Take the prompt as a user's message, in the model's chat template."
    )
    system: Annotated[str | None, Only(chat=(True,))] = Field(
        None, description="The system message before the user's."
    )
    source_language: str | None = Field(
        None,
        description="The language of the prompt, by the code that an encoder-decoder of several "
        "languages has for it.",
    )
    target_language: str | None = Field(
        None, description="The language that it writes, by the model's code."
    )
    output: OutputPath | None = Field(None, description="The folder for the record of the result.")
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="Stop after this many tokens, or where the model's positions end. Left out, "
        "after 64; of a recording, each window has as many as there are positions for.",
    )
    echo: bool | None = Field(
        None,
        description="Print the prompt before the new text. Left out, before a continuation, and "
        "not before an answer of a chat or of an encoder-decoder.",
    )
    batch_size: Annotated[int, Only(prompts=GIVEN)] = Field(
        8, ge=1, description="Prompts that are read at a time; texts do not depend on it."
    )
    load_in: LoadIn = None
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    cache: CacheName | None = Field(
        None,
        description="How keys and values of earlier tokens are kept: growing, allocated once in a "
        "fixed shape (on a GPU the step is then compiled), in 8 or 4 bits, in the processor's "
        "memory, or in pages. Recurrent models have a state in their place. Left out, "
        "generation_config.json's cache_implementation, or one that grows.",
    )
    logprobs: Annotated[int | None, Field(ge=0, le=20)] = Field(
        None,
        description="Say the log-probability of each new token, and so many of the likeliest in "
        "its place: the model's own, before anything is excluded or made likelier.",
    )
    family_file: FamilyFile = None

    @model_validator(mode="after")
    def _has_a_prompt(self) -> Self:
        if self.transcribes:
            given = [key for key in TEXT_ALONE if getattr(self, key) not in (None, False, [])]
            if given:
                raise ValueError(f"audio is written down as it is: leave out {', '.join(given)}")
            return self
        heard = [key for key in OF_SPEECH if self.audio is not None and getattr(self, key)]
        if heard:
            raise ValueError(
                f"a recording beside a prompt is not written down: leave out {', '.join(heard)}"
            )
        if (self.prompt is None) == (self.prompts is None):
            raise ValueError("give either prompt, a text, or prompts, a file of them")
        if (self.image or self.audio) and self.prompts is not None:
            raise ValueError("media go with prompt, one text, and not with a file of prompts")
        return self

    @property
    def transcribes(self) -> bool:
        """Whether the words of a recording are written down."""
        return self.audio is not None and self.prompt is None and not self.image

    @property
    def most_new_tokens(self) -> int:
        """How many tokens a text has at most."""
        return 64 if self.max_new_tokens is None else self.max_new_tokens


class Likely(BaseModel):
    """A token with its log-probability."""

    id: int = Field(description="The token's id.")
    token: str = Field(description="What it says by itself.")
    logprob: float = Field(
        description="The natural logarithm of its probability; that of an impossible one is -9999."
    )


class LikelyToken(Likely):
    """A new token with those that were likeliest in its place."""

    top: list[Likely] = Field(description="The likeliest tokens there, the likeliest first.")


class Answer(BaseModel):
    """What was made of one prompt of a file."""

    prompt: str = Field(description="The text that was given, or the user's message.")
    prompt_ids: list[int] = Field(description="What the model read.")
    token_ids: list[int] = Field(description="The new ids; ends with the stop token if one came.")
    text: str = Field(description="The new text.")
    finish_reason: Literal["stop", "length", "time"] = Field(description="Why it ended.")
    score: float | None = Field(
        None,
        description="The sum of the log-probabilities of a beam's tokens, divided by their "
        "number to the power of length_penalty; null for other texts.",
    )
    logprobs: list[LikelyToken] | None = Field(
        None,
        description="How likely each of token_ids was; null where it was not asked for.",
    )


class SpokenPart(BaseModel):
    """A part of a recording."""

    start: float = Field(description="When it begins, in seconds.")
    end: float = Field(description="When it ends, in seconds.")
    text: str = Field(description="What is said.")


class GenerateResult(Result):
    """What `tfcli generate` made.

    Where several texts were made, the fields of a single one are null.
    """

    schema_name: ClassVar[str] = "tfcli.generate/1"

    model: str = Field(description="The model.")
    task: Literal["causal-lm", "seq2seq-lm", "image-text-to-text", "speech-seq2seq", "ctc"] = Field(
        description="Whether the prompt was continued, read by an encoder and answered, or "
        "continued by a model that takes media too; of a recording, whether it was written token "
        "by token, or each moment's letter was predicted."
    )
    prompt: str | None = Field(description="The text that was given, or the user's message.")
    chat: bool = Field(description="Whether it was put into the model's chat template.")
    system: str | None = Field(description="The system message before it.")
    prompt_ids: list[int] | None = Field(
        description="What the model read: the prompt's token ids, with those that the tokenizer "
        "or the chat template adds."
    )
    token_ids: list[int] | None = Field(
        description="The new ids; ends with the stop token if one came."
    )
    text: str | None = Field(
        description="The new text, special tokens left out: what the prompt and the new ids "
        "decode to together, less what the prompt's do; cut before a stop text."
    )
    finish_reason: Literal["stop", "length", "time"] | None = Field(
        description="stop: the model ended the text, or a stop text came; length: max_new_tokens "
        "was reached, or the last position; time: max_time was."
    )
    score: float | None = Field(
        None,
        description="The sum of the log-probabilities of a beam's tokens, divided by their "
        "number to the power of length_penalty; null for other texts.",
    )
    logprobs: list[LikelyToken] | None = Field(
        None,
        description="How likely each of token_ids was; null where it was not asked for.",
    )
    answers: list[Answer] | None = Field(
        None,
        description="The same for each prompt of a file, in their order, or for each of several "
        "texts of one; null for a single one.",
    )
    audio: str | None = Field(None, description="The recording that was written down.")
    language: str | None = Field(
        None, description="The code of its language, as it was said or heard."
    )
    timestamps: bool = Field(False, description="Whether times were asked for.")
    segments: list[SpokenPart] | None = Field(
        None, description="What is said when; null where no times were written."
    )
    generation: dict[str, Any] = Field(
        {},
        description="How tokens were picked: the keys of generation_config.json that change "
        "something, the user's in the place of the file's.",
    )
    temperature: float = Field(description="The temperature; 0 took the likeliest token each time.")
    stop: list[str] = Field([], description="The texts that end an answer.")
    echo: bool = Field(True, description="Whether the prompt belongs before the new text.")
    seed: int = Field(description="The seed of the draws.")
    load_in: str | None = Field(
        None, description="What its linear layers were quantized to at load; null for nothing."
    )
    dtype: str = Field(description="The type of the weights.")
    device: str = Field(description="Where the model ran.")
    cache: str = Field(
        description="How keys and values were kept; none: each moment was predicted by itself."
    )
    seconds: float = Field(
        description="Time from the prompt's first computation to the last token."
    )
    tokens_per_second: float = Field(description="New tokens divided by that time.")

    def all(self) -> list[Answer]:
        """What was made, whether of one prompt or of a file; nothing of a recording."""
        if self.audio is not None:
            return []
        return self.answers or [Answer.model_validate(self, from_attributes=True)]


def shown_before(prompt: str, answer: bool) -> str:
    """A prompt as it is printed before its text: on a line of its own where that is an answer."""
    return prompt + "\n" * answer


def shown_part(part: SpokenPart, timestamps: bool) -> str:
    """A part of a recording as it is printed: on a line of its own where its times are."""
    if not timestamps:
        return part.text
    return f"[{part.start:.2f} - {part.end:.2f}] {part.text.strip()}\n"


def is_answer(task: str, chat: bool) -> bool:
    """Whether the new text stands for itself, and does not go on from the prompt."""
    return chat or task == "seq2seq-lm"
