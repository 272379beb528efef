"""Decoding ids one by one as they are made, never printing half a character."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.tokenizers.load import Tokenizer

_INCOMPLETE = "\ufffd"


class StreamDecoder:
    """Turns ids into text piece by piece.

    The pieces add up to what all ids decode to together, less what the ids before them decode to:
    some tokenizers drop the space before the first token of a text, and the first new token is
    none where a text goes on. A character's bytes can lie in several tokens, so text that ends
    inside a character is held back.

    Args:
        tokenizer: of the model.
        before: ids that the text goes on from.
        special: special tokens are spelt out; otherwise they are no part of the text.
    """

    def __init__(
        self, tokenizer: Tokenizer, before: Sequence[int] = (), *, special: bool = False
    ) -> None:
        self._tokenizer, self._special = tokenizer, special
        self._ids = list(before)
        self._context = 0  # where decoding starts
        self._printed = len(self._ids)  # ids before this one are printed

    def push(self, token: int) -> str:
        """The text that one more id completes; empty while a character is incomplete."""
        self._ids.append(token)
        piece = self._pending()
        if not piece or piece.endswith(_INCOMPLETE):
            return ""
        self._context, self._printed = self._printed, len(self._ids)
        return piece

    def finish(self) -> str:
        """What was held back, with U+FFFD for bytes that never became a character."""
        piece = self._pending()
        self._context = self._printed = len(self._ids)
        return piece

    def _pending(self) -> str:
        before = self._decoded(self._ids[self._context : self._printed])
        whole = self._decoded(self._ids[self._context :])
        if whole.startswith(before):
            return whole[len(before) :]
        # Tokens of one byte each are decoded as a run, and one byte that is no character makes
        # U+FFFD of all of it, of what is printed too.
        return self._decoded(self._ids[self._printed :])

    def _decoded(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=not self._special)
