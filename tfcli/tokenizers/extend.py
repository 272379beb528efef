"""Tokens that a tokenizer learns afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tokenizers import AddedToken

from tfcli.errors import UsageError, WorkError, hint
from tfcli.limits import MAX_TOKEN
from tfcli.tokenizers.backend import copy_backend
from tfcli.tokenizers.declared import ROLES
from tfcli.tokenizers.load import Tokenizer


def extend_tokenizer(
    tokenizer: Tokenizer,
    tokens: Sequence[str] = (),
    *,
    special_tokens: Sequence[str] = (),
    roles: Mapping[str, str] | None = None,
) -> Tokenizer:
    """A tokenizer that finds more tokens whole in a text; the ids of the others stay.

    `save_tokenizer_json` writes it into a folder, and `models.vocabulary.resize_vocabulary` gives a
    model the rows.

    Args:
        tokenizer: stays as it is.
        tokens: new ordinary tokens; they are part of a text, and decoding keeps them. One that the
            vocabulary has keeps its id.
        special_tokens: the same for tokens that decoding leaves out and that a user's text must not
            have.
        roles: special tokens with a role, such as `{"pad_token": "<pad>"}`; added where needed.

    Returns:
        a new tokenizer

    Raises:
        UsageError: an empty token, one that is too long, or an unknown role.
        WorkError: a tokenizer that takes no more tokens.
    """
    roles = roles or {}
    for role in roles:
        if role not in ROLES:
            raise UsageError(f"there is no role {role!r}", where="roles", fix=hint(role, ROLES))
    special = dict.fromkeys((*special_tokens, *roles.values()))
    for token in (*tokens, *special):
        if not token.strip() or len(token) > MAX_TOKEN:
            raise UsageError(f"{token[:40]!r} cannot be a token", where="tokens")
    if tokenizer.pieces is not None:
        raise WorkError(
            "a SentencePiece model numbers its tokens, so none can be added", where=tokenizer.file
        )
    backend = copy_backend(tokenizer.backend)
    backend.encode_special_tokens = tokenizer.backend.encode_special_tokens
    before = backend.get_vocab(with_added_tokens=True)
    plain = [token for token in dict.fromkeys(tokens) if token not in special]
    backend.add_tokens([AddedToken(token, special=False, normalized=True) for token in plain])
    backend.add_special_tokens(list(special))
    after = backend.get_vocab(with_added_tokens=True)
    taken = set(before.values())
    lost = next((token for token in after.keys() - before.keys() if after[token] in taken), None)
    if lost is not None:
        raise WorkError(
            f"the new token {lost[:40]!r} would get the id {after[lost]} of another one, because "
            "the ids of the vocabulary have holes",
            where=tokenizer.file,
        )
    ids = {**tokenizer.special_ids, **{role: after[token] for role, token in roles.items()}}
    return dataclasses.replace(
        tokenizer,
        backend=backend,
        bos_id=ids.get("bos_token"),
        eos_id=ids.get("eos_token"),
        pad_id=ids.get("pad_token"),
        special_ids=ids,
    )
