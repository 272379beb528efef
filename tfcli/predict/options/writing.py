"""Options of tasks that write text."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tfcli.generation.keys import GenerationKeys
from tfcli.predict.options.shared import Options
from tfcli.recipe.marks import Only


class WritingOptions(GenerationKeys, Options):
    """Of all tasks that write text: the keys of `tfcli generate`, and how long it may be."""

    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="New tokens at most. Left out, what max_length leaves, or "
        "generation_config.json, else 256.",
    )
    max_length: Annotated[int | None, Only(max_new_tokens=(None,))] = Field(
        None, ge=1, description="Tokens of the prompt and the new ones together at most."
    )


class ReturnedOptions(WritingOptions):
    """Of tasks that give ids in place of text on request."""

    return_text: bool = Field(True, description="Give the text; false gives the ids alone.")
    return_tensors: bool = Field(False, description="Give the ids in place of the text.")

    @model_validator(mode="after")
    def _gives_one(self) -> Self:
        if self.return_tensors and "return_text" in self.model_fields_set and self.return_text:
            raise ValueError("return_text has no effect with return_tensors: one of them is given")
        return self

    @property
    def gives_ids(self) -> bool:
        """Whether the ids are given, and not the text."""
        return self.return_tensors or not self.return_text


class TextGenerationOptions(ReturnedOptions):
    """Of `text-generation`."""

    prefix: str = Field("", description="What comes before every text; it is not given back.")
    return_full_text: Annotated[bool, Only(return_tensors=(False,), return_text=(True,))] = Field(
        True, description="Give the text with the prompt before it; of a chat all messages."
    )
    handle_long_generation: Literal["hole"] | None = Field(
        None,
        description="hole leaves out the beginning of a prompt that leaves no room for the new "
        "tokens. Left out, such a prompt gets a shorter text, or is refused.",
    )
    continue_final_message: bool | None = Field(
        None,
        description="The last message of a chat is gone on with. Left out, where it is the "
        "assistant's.",
    )


class Text2TextOptions(ReturnedOptions):
    """Of `text2text-generation` and `summarization`."""

    truncation: bool = Field(False, description="Cut a text that is too long for the model.")
    prefix: str | None = Field(
        None,
        description="What comes before every text. Left out, what the model's config has for the "
        "task.",
    )


class TranslationOptions(Text2TextOptions):
    """Of `translation_xx_to_yy` and `translation`."""

    src_lang: str | None = Field(
        None, description="The language of the texts, by the model's code for it."
    )
    tgt_lang: str | None = Field(None, description="The language that is written.")


class ImageTextOptions(ReturnedOptions):
    """Of `image-text-to-text`."""

    return_full_text: Annotated[bool, Only(return_tensors=(False,), return_text=(True,))] = Field(
        True, description="Give the text with the prompt before it; of a chat all messages."
    )


class VisualQuestionOptions(WritingOptions):
    """Of `visual-question-answering` and `image-to-text`."""
