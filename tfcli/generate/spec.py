"""What `tfcli generate` takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from tfcli.families import FamilyFile
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec, StandardInput


class GenerateSpec(Spec):
    """Continue a prompt, or answer it with an encoder-decoder."""

    verb: ClassVar[str] = "generate"
    positional: ClassVar[tuple[str, ...]] = ("model", "prompt")

    model: ModelRef = Field(description="The model: a folder or org/name[@revision].")
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
    chat: bool = Field(
        False, description="Take the prompt as a user's message, in the model's chat template."
    )
    system: str | None = Field(None, description="With chat: the system message before it.")
    output: OutputPath | None = Field(None, description="Folder for the record of the result.")
    max_new_tokens: int = Field(64, ge=1, description="Stop after this many tokens.")
    temperature: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="0 takes the likeliest token; above it, draws; 1 as the model says.",
    )
    top_k: int | None = Field(None, ge=1, description="Draw from this many of the likeliest only.")
    top_p: float | None = Field(
        None, gt=0, le=1, description="Draw from the fewest likeliest that have this probability."
    )
    min_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Draw from those that have this share of the likeliest one's probability.",
    )
    repetition_penalty: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Tokens that came before, the prompt's too, become less likely by this "
        "factor; 1 changes nothing. Left out, as generation_config.json says.",
    )
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="A text that ends the answer, which is cut before it. Can be repeated."
    )
    echo: bool | None = Field(
        None,
        description="Print the prompt before the new text. Left out, before a continuation, and "
        "not before an answer of a chat or of an encoder-decoder.",
    )
    seed: int = Field(0, ge=0, lt=1 << 64, description="Of the draws: equal seeds give equal text.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Of the weights; auto keeps the checkpoint's."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to run; auto is cuda where there is one."
    )
    attention: Literal["sdpa", "eager", "flex", "flash"] = Field(
        "sdpa", description="Attention backend."
    )
    cache: Literal["static", "dynamic", "quantized8", "quantized4", "offloaded"] = Field(
        "static",
        description="How keys and values of earlier tokens are kept: allocated once, growing, in "
        "8 or 4 bits, or in the processor's memory. Recurrent models have a state in their place.",
    )
    family_file: FamilyFile = None

    @model_validator(mode="after")
    def _every_key_has_an_effect(self) -> Self:
        if (self.prompt is None) == (self.prompts is None):
            raise ValueError("give either prompt, a text, or prompts, a file of them")
        if self.system is not None and not self.chat:
            raise ValueError("system needs chat: a plain text has no system message")
        if self.temperature == 0:
            for key in ("top_k", "top_p", "min_p"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} needs a temperature above 0: nothing is drawn at 0")
        return self


class Answer(BaseModel):
    """What was made of one prompt of a file."""

    prompt: str = Field(description="The text that was given, or the user's message.")
    prompt_ids: list[int] = Field(description="What the model read.")
    token_ids: list[int] = Field(description="The new ids; ends with the stop token if one came.")
    text: str = Field(description="The new text.")
    finish_reason: Literal["stop", "length"] = Field(description="Why it ended.")


class GenerateResult(Result):
    """What `tfcli generate` made.

    Of a file of prompts the fields of a single one are null.
    """

    schema_name: ClassVar[str] = "tfcli.generate/1"

    model: str = Field(description="The model.")
    task: Literal["causal-lm", "seq2seq-lm"] = Field(
        description="Whether the prompt was continued, or read by an encoder and answered."
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
    finish_reason: Literal["stop", "length"] | None = Field(
        description="stop: the model ended the text, or a stop text came; length: max_new_tokens "
        "was reached."
    )
    answers: list[Answer] | None = Field(
        None, description="Of a file of prompts: the same for each of them, in their order."
    )
    temperature: float = Field(description="0: the likeliest token each time.")
    top_k: int | None = Field(description="As asked for.")
    top_p: float | None = Field(description="As asked for.")
    min_p: float | None = Field(None, description="As asked for.")
    repetition_penalty: float = Field(
        1.0, description="As asked for, or as generation_config.json says."
    )
    stop: list[str] = Field([], description="The texts that end an answer.")
    echo: bool = Field(True, description="Whether the prompt belongs before the new text.")
    seed: int = Field(description="Of the draws.")
    dtype: str = Field(description="Of the weights.")
    device: str = Field(description="Where the model ran.")
    cache: str = Field(description="How keys and values were kept.")
    seconds: float = Field(description="From the prompt's first computation to the last token.")
    tokens_per_second: float = Field(description="New tokens by that time.")

    def all(self) -> list[Answer]:
        """What was made, whether of one prompt or of a file."""
        return self.answers or [Answer.model_validate(self, from_attributes=True)]


def shown_before(prompt: str, answer: bool) -> str:
    """A prompt as it is printed before its text: on a line of its own where that is an answer."""
    return prompt + "\n" * answer


def is_answer(task: str, chat: bool) -> bool:
    """Whether the new text stands for itself, and does not go on from the prompt."""
    return chat or task == "seq2seq-lm"
