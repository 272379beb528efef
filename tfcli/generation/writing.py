"""The answers that a model writes: tokens to texts, piece by piece, each ending by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.generation.ending import Ending
from tfcli.generation.likely import Account, Likelihood
from tfcli.generation.media import Prompt
from tfcli.generation.processors import Allowed
from tfcli.generation.sampling import row_seed
from tfcli.generation.settings import TextSettings
from tfcli.generation.spec import Answer, Likely, LikelyToken
from tfcli.generation.tasks import ANSWERS, decoding
from tfcli.models.model import Model
from tfcli.tokenizers.load import Tokenizer
from tfcli.tokenizers.stream import StreamDecoder

Show = Callable[[int, str], None]
"""Is given the number of a text, and what has come to it."""


class Text:
    """A text that grows by tokens, until a stop text comes.

    Args:
        tokenizer: of the model.
        before: ids that the new ones go on from; empty where the text stands for itself.
        stops: texts that end it.
        special: special tokens are spelt out, as where they mark calls of tools.

    Attributes:
        ids: its tokens.
        text: what they say, cut before a stop text.
        stopped: whether one came.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        before: Sequence[int],
        stops: Sequence[str],
        *,
        special: bool = False,
    ) -> None:
        self._decoder = StreamDecoder(tokenizer, before, special=special)
        self._ending = Ending(stops)
        self.ids: list[int] = []
        self.text = ""

    @property
    def stopped(self) -> bool:
        return self._ending.ended

    def push(self, token: int) -> str:
        """Add a token; returns the text that can be shown."""
        self.ids.append(token)
        return self._added(self._ending.push(self._decoder.push(token)))

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        if self.stopped:
            return ""
        piece = self._ending.push(self._decoder.finish())
        return self._added(piece + self._ending.finish())

    def _added(self, piece: str) -> str:
        self.text += piece
        return piece


@dataclass(frozen=True)
class Writing:
    """How one model writes its answers.

    Args:
        model: in eval mode, with the head of the task.
        tokenizer: of the model.
        task: see `tasks.text_task`.
        settings: of the checkpoint and of the user.
        cache: one of `caches.CACHES`.
        seed: of the draws; the first text of each prompt has it itself, others one of their own.
        assistant: drafts tokens; None: no model does.
        allowed: says which tokens may come in a text, given by its number; None: any.
        logprobs: of how many of the likeliest tokens to tell beside each new one; None: of none,
            nor of the new one itself.
    """

    model: Model
    tokenizer: Tokenizer
    task: str
    settings: TextSettings
    cache: str = "dynamic"
    seed: int = 0
    assistant: Model | None = None
    allowed: Allowed | None = None
    logprobs: int | None = None

    def answers(
        self,
        prompts: Sequence[Prompt],
        lengths: Sequence[int],
        show: Show = lambda number, piece: None,
        advance: Callable[[int], None] = lambda count: None,
    ) -> list[Answer]:
        """Make the texts of some prompts together.

        Args:
            prompts: what the model reads; one that has media must be alone.
            lengths: new tokens of each at most; there is room for them.
            show: is given each piece of a text.
            advance: is told of new tokens.

        Returns:
            the answers in the order of the prompts, several of one prompt beside each other
        """
        count = self.settings.sequences
        asked = [(prompt, each) for prompt in prompts for each in range(count)]
        continues = self.task != ANSWERS  # what an encoder reads is another text

        def begun(prompt: Prompt) -> Text:
            before = prompt.ids if continues else ()
            return Text(self.tokenizer, before, self.settings.stop_strings)

        def ends(number: int, ids: Sequence[int]) -> bool:
            text = begun(prompts[number])
            for token in ids:
                text.push(token)
            return text.stopped

        texts = [begun(prompt) for prompt, _ in asked]
        account = None if self.logprobs is None else Account(self.logprobs)
        likely: list[list[Likelihood]] = [[] for _ in asked]
        steps = decoding(
            self.model,
            [prompt.ids for prompt, _ in asked],
            max_new_tokens=[length for length in lengths for _ in range(count)],
            settings=self.settings,
            seeds=[row_seed(self.seed, each) for _, each in asked],
            cache=self.cache,
            media=prompts[0].media,
            assistant=self.assistant,
            allowed=self.allowed,
            ends=ends if self.settings.stop_strings else None,
            watch=account,
        )
        for tokens in steps:
            for number, token in enumerate(tokens):
                if token is None:
                    continue
                if account is not None:
                    likely[number].append(account.last[number])
                show(number, texts[number].push(token))
                if texts[number].stopped:
                    steps.end(number)
            advance(sum(token is not None for token in tokens))
        for number, text in enumerate(texts):
            show(number, text.finish())
        scores: Sequence[float | None] = steps.scores or [None] * len(texts)
        return [
            Answer(
                prompt=prompt.text,
                prompt_ids=list(prompt.ids),
                token_ids=text.ids,
                text=text.text,
                finish_reason=self._why(text, steps.out_of_time),
                score=score,
                logprobs=None if account is None else self._spelled(text.ids, told),
            )
            for (prompt, _), text, score, told in zip(asked, texts, scores, likely, strict=True)
        ]

    def _spelled(self, ids: Sequence[int], told: Sequence[Likelihood]) -> list[LikelyToken]:
        """What is told of the tokens of a text."""

        def one(token: int, logprob: float) -> dict[str, Any]:
            said = self.tokenizer.decode([token], skip_special_tokens=False)
            return {"id": token, "token": said, "logprob": logprob}

        return [
            LikelyToken(**one(token, own), top=[Likely(**one(*each)) for each in likeliest])
            for token, (own, likeliest) in zip(ids, told, strict=True)
        ]

    def _why(self, text: Text, out_of_time: bool) -> str:
        if text.stopped or text.ids[-1] in self.settings.stop:
            return "stop"
        return "time" if out_of_time else "length"
