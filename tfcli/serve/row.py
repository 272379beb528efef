"""A text that an engine makes: what it has read, what it has written, and when it ends."""

from __future__ import annotations

from time import monotonic

import torch

from tfcli.errors import Problem
from tfcli.generation.likely import likelihoods
from tfcli.generation.loop import processed
from tfcli.generation.rules import processes
from tfcli.generation.strategies.drafted import choose
from tfcli.generation.strategies.drafters import looked_up
from tfcli.generation.writing import Text
from tfcli.models.cache import Cache
from tfcli.serve.ask import Ask, End, Listen, Piece, Reason, Token
from tfcli.tokenizers.load import Tokenizer


class Row:
    """One text. It belongs to the engine's thread, but for `cancelled`.

    Args:
        ask: what is wanted.
        listen: is told of each piece, and at last of the end.
        tokenizer: of the model.

    Attributes:
        ids: what was given and what has come.
        cache: what the model remembers of the first ids; None before it has read any.
        reused: ids that the model did not have to read.
        draft: ids that may come next, which the model reads with the last one.
        kept: how many drafted ids came.
        cancelled: nobody waits for it any more.
        ended: its end was told.
    """

    def __init__(self, ask: Ask, listen: Listen, tokenizer: Tokenizer) -> None:
        self.ask = ask
        self.ids = list(ask.ids)
        self.cache: Cache | None = None
        self.reused = self.kept = 0
        self.draft: list[int] = []
        self.cancelled = False
        self.ended = False
        self._listen = listen
        self._text = Text(
            tokenizer,
            ask.ids if ask.continues else (),
            ask.settings.stop_strings,
            special=ask.special,
        )
        self._left = ask.max_new_tokens
        self._began = monotonic()
        self._generator = torch.Generator().manual_seed(ask.seed)
        source = torch.tensor([ask.ids])
        made = processes(
            ask.settings.rules,
            source=source,
            start=torch.tensor([len(ask.ids)]),
            max_new_tokens=torch.tensor([ask.max_new_tokens]),
            stop=sorted(ask.settings.stop),
        )
        if ask.budget is not None:
            made.append(ask.budget.process(len(ask.ids)))
        if ask.settings.grammar is not None:
            made.append(ask.settings.grammar.process(torch.tensor([len(ask.ids)])))
        self._process = tuple(made)

    @property
    def read(self) -> int:
        """How many ids the model has read."""
        return 0 if self.cache is None else self.cache.length

    @property
    def positions(self) -> int:
        """The most that its cache will hold."""
        return len(self.ask.ids) + self.ask.max_new_tokens

    @property
    def writes(self) -> bool:
        """Whether everything but the last id was read, and a token has come."""
        return len(self.ids) > len(self.ask.ids) and self.read == len(self.ids) - 1

    @property
    def late(self) -> bool:
        """Whether its time is over."""
        limit = self.ask.max_time
        return limit is not None and monotonic() - self._began > limit

    def look_ahead(self) -> None:
        """Draft what may come next from the text itself, as far as there is room."""
        drafts = self.ask.settings.drafts
        most = min(drafts.prompt_lookup_num_tokens, self._left - 1)
        self.draft = looked_up(self.ids, drafts.max_matching_ngram_size, most) if most > 0 else []

    def take_all(self, logits: torch.Tensor) -> None:
        """Pick tokens for as long as the draft has them, and the one after.

        Args:
            logits (Tensor): [draft + 1, vocab], of the model after the last id and each of the
                draft.

        Raises:
            WorkError: no token can be picked.
        """
        for place, each in enumerate(logits.split(1)):
            proposed = self.draft[place] if place < len(self.draft) else None
            holds = self.take(each, proposed)
            self.kept += holds
            if not holds or self.ended:
                return

    def take(self, logits: torch.Tensor, proposed: int | None = None) -> bool:
        """Pick the next token, and tell of it.

        Args:
            logits (Tensor): [1, vocab], of the model after the last id.
            proposed: that was drafted; None: none was.

        Returns:
            whether it is the one that was proposed

        Raises:
            WorkError: no token can be picked.
        """
        logits = logits.cpu()
        ids = torch.tensor([self.ids]) if self._process else torch.empty(1, 0, dtype=torch.long)
        chosen = processed(logits, ids, self._process)[0]
        picked, holds = choose(chosen, self.ask.settings.draw, self._generator, proposed)
        token = self._token(picked, logits[0])
        self.ids.append(picked)
        self._left -= 1
        if picked in self.ask.settings.stop:
            self._text.ids.append(picked)
            self._listen(Piece("", (token,)))
            self.end("stop")
            return holds
        self._listen(Piece(self._text.push(picked), (token,)))
        if self._text.stopped:
            self.end("stop")
        elif self._left == 0:
            self.end("length")
        return holds

    def end(self, reason: Reason, error: Problem | None = None) -> None:
        """Tell that it is over, with the characters that were held back."""
        if self.ended:
            return
        self.ended = True
        if reason in ("stop", "length", "time"):
            rest = self._text.finish()
            if rest:
                self._listen(Piece(rest))
        self._listen(End(reason, self.reused, error))

    def _token(self, picked: int, logits: torch.Tensor) -> Token:
        count = self.ask.logprobs
        if count is None:
            return Token(picked)
        (told,) = likelihoods(logits[None], torch.tensor([picked]), count)
        return Token(picked, told.logprob, told.likeliest)
