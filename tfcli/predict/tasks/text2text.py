"""`text2text-generation`, `summarization` and `translation`: a text that another is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from tfcli.errors import UsageError
from tfcli.generation.asked import beginning_with
from tfcli.generation.media import Prompt
from tfcli.generation.spec import Answer
from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.names import languages_of
from tfcli.predict.options.writing import Text2TextOptions, TranslationOptions
from tfcli.predict.task import Sample
from tfcli.predict.texts import longest, text_of
from tfcli.predict.writing import WritingTask
from tfcli.tokenizers.translation import marks_languages, translating

T = TypeVar("T", bound=Text2TextOptions)


class _Text2Text(WritingTask[T]):
    """A row has a `text`. The answer is a list of texts, one for each of `num_return_sequences`.

    Class attributes:
        key: how the answer's keys begin.
    """

    inputs = ("text",)
    key: ClassVar[str]

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, "seq2seq-lm")

    def prepare(self) -> None:
        super().prepare()
        prefix = self.options.prefix
        if prefix is None:
            said = self.task_settings().get("prefix", self.parts.checkpoint.config.get("prefix"))
            prefix = said if isinstance(said, str) else ""
        self.prefix = prefix
        self.source = self.parts.tokenizer

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        text = text_of(row, "text")
        room = longest(self.parts)
        cut = self.options.truncation and room is not None
        batch = self.source.batch(
            [self.prefix + text],
            max_length=room if cut else None,
            truncation=self.parts.texts.truncation_side if cut else None,
        )
        return [self.asked_of(Prompt(text, batch.ids[0]), text)]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[list[Answer]]) -> Any:
        if not self.options.gives_ids:
            return [{f"{self.key}_text": self.text_of(answer)} for answer in outputs[0]]
        start = self.settings.start
        if start is None:
            start = getattr(self.parts.config.text, "decoder_start_token_id", None)
        begin = [] if start is None else [start]
        return [{f"{self.key}_token_ids": [*begin, *answer.token_ids]} for answer in outputs[0]]


class Text2Text(_Text2Text[Text2TextOptions]):
    """Whatever the model was trained for."""

    name = "text2text-generation"
    options_class = Text2TextOptions
    key = "generated"


class Summarization(_Text2Text[Text2TextOptions]):
    """A summary."""

    name = "summarization"
    options_class = Text2TextOptions
    key = "summary"


class Translation(_Text2Text[TranslationOptions]):
    """A translation. Of models of several languages the tokens that mark them are put where the
    model has them; of models that are told in words, by the prefix that the config has."""

    name = "translation"
    options_class = TranslationOptions
    key = "translation"

    def prepare(self) -> None:
        super().prepare()
        named = languages_of(self.asked) or (None, None)
        source = self.options.src_lang or named[0]
        target = self.options.tgt_lang or named[1]
        folder = self.parts.checkpoint.beside
        if not marks_languages(folder):
            self._require_prefix(named[0])
            return
        self.source, first = translating(folder, source, target, "options.tgt_lang")
        self.settings = beginning_with(self.settings, first)

    def _require_prefix(self, named: str | None) -> None:
        """Refuse languages that the model is not told."""
        if self.options.src_lang or self.options.tgt_lang:
            raise UsageError(
                "the model's tokenizer does not mark languages",
                where="options.src_lang",
                fix="leave out src_lang and tgt_lang",
            )
        told = self.parts.checkpoint.config.get("task_specific_params")
        if (
            named
            and self.options.prefix is None
            and isinstance(told, Mapping)
            and told
            and self.asked not in told
        ):
            known = ", ".join(name for name in told if name.startswith("translation"))
            raise UsageError(
                f"the model's config has no prefix for {self.asked}",
                where="task",
                fix=f"it has {known or 'none'}; or give options.prefix",
            )
