"""What stands between a way of choosing tokens and a model: it reads texts and tells what is next.

Greedy search, draws, beams and drafts all ask a `Reader`; none of them knows whether a model goes
on from its prompt or reads it with an encoder, nor what is in a cache.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch

from tfcli.errors import ModelError
from tfcli.generation.rows import NOTHING, common, filled, rows_of
from tfcli.generation.step import Step, compiled_step
from tfcli.models.cache import Cache
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class Reader(ABC):
    """Reads the rows of a batch, each token once.

    Attributes:
        model: that reads.
        begin (Tensor): int64 [b, s], what each row has before its first new token, with `NOTHING`
            before shorter ones.
        cache: what the model remembers of what was read.
        keeps_states: whether `states` are kept; False at first.
        states (tuple[Tensor, ...]): [b, s, d] each, of the tokens that were read last: the
            embeddings, then what each block made of them; empty without `keeps_states`.
    """

    model: Model

    def __init__(self, begin: torch.Tensor, cache: Cache) -> None:
        self.begin, self.cache = begin, cache
        self._padded = bool((begin == NOTHING).any())
        self._read = 0
        self.keeps_states = False
        self.states: tuple[torch.Tensor, ...] = ()

    @property
    def read(self) -> int:
        """How many columns were read."""
        return self._read

    @abstractmethod
    def __call__(self, ids: torch.Tensor, last: int = 1) -> torch.Tensor:
        """The model's logits after the last tokens of each row.

        Args:
            ids (Tensor): int64 [b, s], the whole rows; what was read before is not read again.
            last: of how many tokens; no more than are new.

        Returns:
            [b, last, vocab], of the model's type
        """

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these rows in this order; they may repeat, and be more or fewer.

        Args:
            rows (Tensor): int64 [n]
        """
        if self._read:
            self.cache.select(rows)
        self.begin = self.begin[rows]
        self._padded = bool((self.begin == NOTHING).any())

    def crop(self, length: int) -> None:
        """Forget what was read after so many columns, as after a draft that was refused.

        Raises:
            ModelError: the model cannot: its state is of all that it has read.
        """
        self.cache.crop(length)
        self._read = length

    def _logits(self, output: ModelOutput) -> torch.Tensor:
        """The logits of an output, whose states are kept where they are to be."""
        self.states = output.hidden_states or ()
        assert isinstance(output.logits, torch.Tensor)
        return output.logits

    def _filled(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Ids and attention mask; nothing is looked at where no row is shorter than another."""
        return filled(ids) if self._padded else (ids, None)


class TextReader(Reader):
    """A model that goes on from a text.

    Where the model turns all keys otherwise once a text is long enough (longrope), it is read again
    when it becomes so long; give such texts a reader each.

    Args:
        model: a causal language model in eval mode.
        prompts: ids of each row, at least one.
        cache: an empty one; None makes one that grows.
        media: what goes along with the prompts, by the names that the model takes it under.
        compile_with: a backend of torch.compile, for single tokens after the prompt; the cache must
            be a static one. None: they run as they are.
        copies: so many prompts beside each other are one, which is read once, and so are its media.
    """

    def __init__(
        self,
        model: Model,
        prompts: Sequence[Sequence[int]],
        *,
        cache: Cache | None = None,
        media: Mapping[str, torch.Tensor] | None = None,
        compile_with: str | None = None,
        copies: int = 1,
    ) -> None:
        self.model = model
        super().__init__(
            rows_of(prompts, model.device), model.make_cache() if cache is None else cache
        )
        self._media = moved(media or {}, model)
        self._compile_with = compile_with
        self._step: Step | None = None
        self._switch = model.config.text.rotation_switch
        self._copies = copies

    def __call__(self, ids: torch.Tensor, last: int = 1) -> torch.Tensor:
        if self._copies > 1:
            return self._copied(ids, last)
        if self._switch is not None and self._read <= self._switch < ids.shape[1]:
            self.cache.reset()
            self._read = 0
        whole, mask = self._filled(ids)
        new = whole[:, self._read :]
        media = {} if self._read else self._media
        single, self._read = self._read > 0 and new.shape[1] == 1, ids.shape[1]
        if single and mask is None and self._compile_with is not None and not self.keeps_states:
            return self._compiled(new)[:, None]
        output = self.model(
            input_ids=new,
            attention_mask=mask,
            cache=self.cache,
            logits_to_keep=last,
            output_hidden_states=self.keeps_states,
            **media,
        )
        return self._logits(output)

    def _copied(self, ids: torch.Tensor, last: int) -> torch.Tensor:
        """The first time: one row of each prompt is read, and then there are as many as it has."""
        copies, self._copies = self._copies, 1
        logits = self(ids[::copies], last)
        rows = torch.arange(len(logits), device=ids.device).repeat_interleave(copies)
        self.cache.select(rows)
        self.states = tuple(each[rows] for each in self.states)
        return logits[rows]

    def go_on(self, before: Sequence[int], prompt: Sequence[int]) -> int:
        """Take another prompt in the place of a single one, as the next turn of a conversation is.

        Args:
            before: the tokens that were read.
            prompt: token ids; what it has in common with them from the first on stays read.

        Returns:
            how many tokens of it need not be read
        """
        known = common(before, prompt[:-1])  # one token at least is read, for what is next
        try:
            self.crop(known)
        except ModelError:  # a state is of all that was read, and a window has lost the rest
            self.cache.reset()
            self._read = known = 0
        self.begin = rows_of([prompt], self.model.device)
        return known

    def _compiled(self, new: torch.Tensor) -> torch.Tensor:
        """The logits after one token of each row: [b, 1] -> [b, vocab]."""
        assert self._compile_with is not None
        if self._step is None:
            self._step = compiled_step(
                self.model, self.cache, backend=self._compile_with, fullgraph=False
            )
        return self._step(new)


class TargetReader(Reader):
    """The decoder of an encoder-decoder, which goes on from a start while it sees the source.

    Args:
        model: a sequence-to-sequence language model in eval mode.
        states (Tensor): [b, k, d], of `Seq2Seq.encode`.
        begin: what the decoder sees before its first token, of each row.
        mask (Tensor): int64 [b, k], which of the states are of the source; None: all.
        cache: an empty one; None makes one that grows.
    """

    def __init__(
        self,
        model: Seq2SeqLM,
        states: torch.Tensor,
        begin: Sequence[Sequence[int]],
        *,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.model = model
        super().__init__(
            rows_of(begin, model.device), model.make_cache() if cache is None else cache
        )
        self._states: torch.Tensor | None = states
        self._mask = mask

    @classmethod
    def of_sources(
        cls,
        model: Seq2SeqLM,
        sources: Sequence[Sequence[int]],
        *,
        start: int | None = None,
        cache: Cache | None = None,
        copies: int = 1,
    ) -> TargetReader:
        """The reader of sources that an encoder reads now.

        Args:
            sources: token ids of each row, at least one.
            start: what the decoder sees first; None takes the config's decoder_start_token_id.
            copies: so many sources beside each other are one, which is encoded once.

        Raises:
            ModelError: no start is given and the config names none.
        """
        first = model.body.start_id() if start is None else start
        with torch.inference_mode():
            ids, mask = filled(rows_of(sources[::copies], model.device))
            states = model.encode(ids, mask).repeat_interleave(copies, 0)
        mask = None if mask is None else mask.repeat_interleave(copies, 0)
        return cls(model, states, [[first]] * len(sources), mask=mask, cache=cache)

    def __call__(self, ids: torch.Tensor, last: int = 1) -> torch.Tensor:
        whole, mask = self._filled(ids)
        # Every layer keeps what it made of the states, so they are given once.
        states = self._states if self._read == 0 else None
        output = self.model(
            attention_mask=self._mask,
            decoder_input_ids=whole[:, self._read :],
            decoder_attention_mask=mask,
            encoder_states=states,
            cache=self.cache,
            logits_to_keep=last,
            output_hidden_states=self.keeps_states,
        )
        self._read = ids.shape[1]
        return self._logits(output)

    def select(self, rows: torch.Tensor) -> None:
        super().select(rows)
        self._mask = None if self._mask is None else self._mask[rows]
        self._states = None if self._states is None else self._states[rows]


def moved(media: Mapping[str, torch.Tensor], model: Model) -> dict[str, torch.Tensor]:
    """Tensors on the model's device, and numbers with fractions in its type."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in media.items()
    }
