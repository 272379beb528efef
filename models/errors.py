"""Errors that a person can act on: what is wrong, where, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Problem(Exception):  # noqa: N818 - the base of every error shown to a user, not an error of its own
    """What went wrong, where (a file, a key), and what to do about it.

    Args:
        what: one sentence, no full stop needed.
        where: the file, tensor or key it is about.
        fix: what the user can do.
        code: a stable name of the kind of error, for scripts; the class's own where none is given.
    """

    exit_code = 1
    code = "work.failed"
    step: str | None = None
    """The step of a recipe that was running."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        code: str | None = None,
    ) -> None:
        self.what, self.where, self.fix = what, where, fix
        self.code = code or type(self).code
        super().__init__(" | ".join(part for part in (what, where, fix) if part))


class ModelError(Problem):
    """A config, a tensor or an input that the model core refuses."""

    code = "model.refused"


class TooLargeError(ModelError):
    """A config that asks for far more values than there are in the files beside it."""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` most likely meant, or None when nothing is close."""
    found = difflib.get_close_matches(str(word), list(choices), n=1, cutoff=0.6)
    return found[0] if found else None


def hint(word: str, choices: Iterable[str]) -> str:
    """The way out for a word that is not among `choices`: the nearest one, and what there is."""
    known = list(choices)
    guess = nearest(word, known)
    listing = f"known: {', '.join(known)}" if known else "there is none"
    return f"did you mean {guess!r}? {listing}" if guess else listing
