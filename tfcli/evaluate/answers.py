"""The three calls that a task makes of a language model.

They are those of lm-evaluation-harness: the log likelihood of a continuation in its context, that
of a whole text window by window, and a text that is made until something comes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tfcli.errors import UsageError
from tfcli.evaluate.decode import TextRequest, decode
from tfcli.evaluate.kept import Kept
from tfcli.evaluate.predict import Predict
from tfcli.evaluate.score import score
from tfcli.evaluate.windows import Plan, Window, plan_windows
from tfcli.generation.settings import TextSettings
from tfcli.models.configs.text import TextConfig
from tfcli.models.model import Model
from tfcli.process_group import Processes
from tfcli.tokenizers.load import Tokenizer

Advance = Callable[[int], None]
_PART = 64  # batches after which answers are kept


@dataclass(frozen=True)
class Pair:
    """A continuation and what stands before it."""

    context: str
    continuation: str


@dataclass(frozen=True)
class LogLikelihood:
    """What a model says of a continuation.

    Args:
        total: the sum of its tokens' log probabilities, nats.
        greedy: whether each token is the one that the model finds likeliest there.
        tokens: how many it has.
    """

    total: float
    greedy: bool
    tokens: int


@dataclass(frozen=True)
class LanguageModel:
    """A model that answers.

    Args:
        model: with the head of `task`, in eval mode.
        tokenizer: of the model.
        config: of the model.
        task: how it predicts tokens: `causal-lm`, `masked-lm` or `seq2seq-lm`.
        predict: the predictor of this task.
        settings: how it ends texts.
        prefix: what stands before every text that does not begin with it; none for no BOS.
        room: tokens that it takes at once beside what it sees around them.
        batch_size: texts of a forward pass, of one length, so that nothing is padded.
        exact: one text a pass, so that the bits of an answer do not depend on others.
        overlong: of what is longer than the model takes, whether the context loses its beginning
            (`cut`) or it is refused.
        processes: those that share the work, and all get all answers.
        kept: answers of earlier runs.
    """

    model: Model
    tokenizer: Tokenizer
    config: TextConfig
    task: str
    predict: Predict
    settings: TextSettings
    prefix: tuple[int, ...]
    room: int
    batch_size: int
    exact: bool
    overlong: Literal["refuse", "cut"]
    processes: Processes
    kept: Kept

    def loglikelihood(
        self, pairs: Sequence[Pair], advance: Advance = lambda count: None
    ) -> list[LogLikelihood]:
        """How likely continuations are, each after its context.

        The tokens are those of both texts together, of which the continuation has what the context
        alone has not; spaces that end a context go with the continuation.

        Args:
            pairs: contexts may be empty, continuations not.
            advance: told how many pairs are done.

        Raises:
            UsageError: an empty continuation, a context that is empty where the model has nothing
                to begin with, or more tokens than the model takes.
            WorkError: predictions that are not finite.
        """
        texts, windows = [], []
        for number, pair in enumerate(pairs):
            ids, scored, begins = self._encoded(pair)
            texts.append(ids)
            windows.append(Window(number, 0, len(ids), scored, begins))
        found = self._scored(texts, windows, advance)
        pairs_found = zip(found, windows, strict=True)
        return [
            LogLikelihood(total, greedy, window.scored) for (total, greedy), window in pairs_found
        ]

    def rolling(
        self, texts: Sequence[str], plan: Plan, advance: Advance = lambda count: None
    ) -> list[LogLikelihood]:
        """How likely whole texts are, each token after what its window has before it.

        Args:
            texts: none empty.
            plan: how they are cut into windows.
            advance: told how many windows are done.

        Raises:
            UsageError: a text without a token.
            WorkError: predictions that are not finite.
        """
        documents = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        for text, ids in zip(texts, documents, strict=True):
            if not ids:
                raise UsageError(f"a text has no tokens: {text!r}", where="task")
        windows = plan_windows([len(ids) for ids in documents], plan)
        totals = [0.0] * len(texts)
        greedy, tokens = [True] * len(texts), [0] * len(texts)
        found = self._scored(documents, windows, advance)
        for window, (total, first) in zip(windows, found, strict=True):
            totals[window.document] += total
            greedy[window.document] &= first
            tokens[window.document] += window.scored
        return [LogLikelihood(*each) for each in zip(totals, greedy, tokens, strict=True)]

    def generate_until(
        self,
        prompts: Sequence[str],
        how: Sequence[TextRequest],
        advance: Advance = lambda count: None,
    ) -> list[str]:
        """The text that follows each prompt, up to where it is to end.

        Args:
            prompts: what the model reads.
            how: each text is made.
            advance: told how many texts are done.

        Raises:
            UsageError: an empty prompt where the model has nothing to begin with, or one that
                leaves no room.
        """
        ids = [self._prompt(prompt, each) for prompt, each in zip(prompts, how, strict=True)]
        # Where nothing is drawn, a seed says nothing.
        said = [each if each.draw else replace(each, seed=0) for each in how]
        keys = [Kept.key("text", tokens, each) for tokens, each in zip(ids, said, strict=True)]
        known = self.kept.known(keys)
        waiting = _first_of(keys, known)
        advance(len(keys) - len(waiting))
        step = self.batch_size * self.processes.count
        for start in range(0, len(waiting), step):
            part = waiting[start : start + step]
            mine = part[self.processes.rank :: self.processes.count]
            texts = decode(
                self.model,
                self.tokenizer,
                self.settings,
                [ids[number] for number in mine],
                [how[number] for number in mine],
            )
            made = dict(self.processes.gathered(list(zip(mine, texts, strict=True))))
            known |= self.kept.keep({keys[number]: made[number] for number in part})
            advance(len(part))
        return [known[key] for key in keys]

    def begins(self, text: str) -> bool:
        """Whether the prefix is put before a text: it is not, where the text has it itself."""
        if not self.prefix:
            return False
        first = self.tokenizer.decode(self.prefix, skip_special_tokens=False)
        return not (first and text.startswith(first))

    def _encoded(self, pair: Pair) -> tuple[list[int], int, bool]:
        """The tokens of context and continuation, how many are the continuation's, and whether the
        prefix stands before them."""
        if not pair.continuation:
            raise UsageError("a continuation is empty: there is nothing to score", where="task")
        stripped = pair.context.rstrip()
        context = stripped
        continuation = pair.context[len(stripped) :] + pair.continuation
        begins = self.begins(pair.context)
        if not context:
            context, continuation = "", pair.context + pair.continuation
        before = self.tokenizer.encode(context, add_special_tokens=False) if context else []
        if self.task == "causal-lm":
            ids = self.tokenizer.encode(context + continuation, add_special_tokens=False)
            scored = len(ids) - len(before)
        else:
            after = self.tokenizer.encode(continuation, add_special_tokens=False)
            ids, scored = [*before, *after], len(after)
        if scored < 1:
            raise UsageError(
                f"the continuation {pair.continuation!r} has no token of its own", where="task"
            )
        if not before and not begins:
            first = self._first()
            if ids[0] == first and scored > 1:
                scored -= 1
            else:
                ids = [first, *ids]
        return self._fitting(ids, scored, begins), scored, begins

    def _fitting(self, ids: list[int], scored: int, begins: bool) -> list[int]:
        """As many of the last tokens as there is room for."""
        room = self.room - (len(self.prefix) if begins and self.task == "causal-lm" else 0)
        if len(ids) <= room:
            return ids
        if self.overlong == "refuse" or scored >= room:
            raise UsageError(
                f"a prompt of {len(ids):,} tokens is more than the model's {room:,}",
                where="task",
                fix="--overlong cut leaves out what a context begins with"
                if scored < room
                else "the continuation alone is too long",
            )
        return ids[-room:]

    def _first(self) -> int:
        """What a text without a beginning begins with."""
        declared = (self.tokenizer.bos_id, self.tokenizer.eos_id, self.config.bos_token_id)
        found = next((each for each in declared if each is not None), None)
        if found is None:
            raise UsageError(
                "a prompt is empty, and the model has neither a BOS nor an EOS to begin with",
                where="task",
                fix="give each sample a context",
            )
        return found

    def _prompt(self, prompt: str, how: TextRequest) -> list[int]:
        ids = self.tokenizer.encode(prompt, add_special_tokens=False)
        before = self.prefix if self.begins(prompt) else ()
        around = self.tokenizer.suffix if self.task == "seq2seq-lm" else ()
        if not ids and not before:
            before = (self._first(),)
        limit = self.config.longest_text - len(before) - len(around)
        if self.task == "seq2seq-lm":
            room = limit
        elif self.overlong == "cut":
            room = limit - how.max_new_tokens
        else:
            room = limit - 1
        if len(ids) > room and (self.overlong == "refuse" or room < 1):
            raise UsageError(
                f"a prompt of {len(ids):,} tokens leaves no room for {how.max_new_tokens:,} new "
                f"ones in the model's {self.config.longest_text:,} positions",
                where="task",
                fix="--overlong cut leaves out what a prompt begins with"
                if room >= 1
                else "make generation_kwargs.max_gen_toks smaller",
            )
        return [*before, *ids[max(0, len(ids) - room) :], *around]

    def _scored(
        self, texts: Sequence[Sequence[int]], windows: Sequence[Window], advance: Advance
    ) -> list[tuple[float, bool]]:
        """The summed log probability of each window's scored tokens, and whether all are greedy."""
        keys = [
            Kept.key(
                "score",
                [*self.prefix * each.begins, *texts[each.document][each.start : each.end]],
                each.scored,
            )
            for each in windows
        ]
        known = self.kept.known(keys)
        waiting = _first_of(keys, known)
        waiting.sort(key=lambda number: (-windows[number].length, windows[number].scored))
        advance(len(keys) - len(waiting))
        rows = 1 if self.exact else self.batch_size
        step = rows * self.processes.count * _PART
        for start in range(0, len(waiting), step):
            part = waiting[start : start + step]
            found = score(
                self.model,
                texts,
                [windows[number] for number in part],
                batch_size=rows,
                predict=self.predict,
                prefix=self.prefix,
                processes=self.processes,
            )
            assert found.window is not None and found.greedy is not None, "score tells of both"
            where = found.window.long()
            totals = found.loss.new_zeros(len(part)).index_add_(0, where, -found.loss)
            missed = found.loss.new_zeros(len(part)).index_add_(0, where, 1 - found.greedy)
            pairs = zip(totals.tolist(), (missed == 0).tolist(), strict=True)
            known |= self.kept.keep(
                {keys[number]: list(pair) for number, pair in zip(part, pairs, strict=True)}
            )
            advance(len(part))
        return [(known[key][0], bool(known[key][1])) for key in keys]


def _first_of(keys: Sequence[str], known: Container[str]) -> list[int]:
    """The numbers of questions without an answer; one that is asked several times counts once."""
    first: dict[str, int] = {}
    for number, key in enumerate(keys):
        if key not in known:
            first.setdefault(key, number)
    return list(first.values())
