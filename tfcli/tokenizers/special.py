"""Special and added tokens of a backend, and what is put around a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import AddedToken, processors
from tokenizers import Tokenizer as Backend

from tfcli.errors import WorkError
from tfcli.tokenizers.declared import ROLES, Declared

Defaults = Mapping[str, str | AddedToken]

BERT = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
CLS_SEP = {**BERT, "bos_token": "[CLS]", "eos_token": "[SEP]"}
ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
"""Role -> token, of the habits that most classes follow."""
LIKE_BERT = ("{cls_token} $A {sep_token}", "{cls_token} $A {sep_token} $B:1 {sep_token}:1")
LIKE_ROBERTA = (
    "{cls_token} $A {sep_token}",
    "{cls_token} $A {sep_token} {sep_token} $B {sep_token}",
)
"""What stands around one text and around two."""


def named_tokens(declared: Declared, defaults: Defaults) -> dict[str, AddedToken]:
    """Role -> token: what the files declare, else what the class has always had."""
    found = {}
    for role in ROLES:
        token = declared.named.get(role, defaults.get(role))
        if role in declared.named and token is None:
            continue  # declared as having none
        if isinstance(token, str):
            token = AddedToken(token, special=True)
        if token is not None:
            token.special = True
            found[role] = token
    return found


def role_text(declared: Declared, defaults: Defaults, role: str) -> str:
    """The text of a role's token.

    Raises:
        WorkError: it is declared as having none.
    """
    token = named_tokens(declared, defaults).get(role)
    if token is None:
        raise WorkError(f"{role} must not be null", where=declared.config_file)
    return token.content


def fill_holes(vocab: dict[str, int], declared: Declared) -> dict[str, int]:
    """A vocabulary to which added tokens can be added at the ids that they are declared with.

    The library numbers added tokens one after another. Where the declared ids leave a hole, the
    added tokens go into the vocabulary itself, which may have holes.

    Args:
        vocab: token -> id, of a BPE, a WordPiece or a word-level model.
    """
    following = len(vocab)
    for index, token in declared.added.items():
        if token.content in vocab:
            continue
        if index != following:
            added = {token.content: index for index, token in declared.added.items()}
            return {**added, **vocab}
        following += 1
    return vocab


def add_tokens(
    backend: Backend,
    declared: Declared,
    defaults: Defaults,
    extra: Sequence[AddedToken] = (),
    append: bool = True,
) -> dict[str, int]:
    """Make the declared tokens known to a backend, so that they are found whole in a text.

    Args:
        backend: changed in place.
        declared: what the folder says.
        defaults: role -> token of the class.
        extra: tokens that the vocabulary's own file declares.
        append: give a role's token an id at the end when the vocabulary lacks it. False, for a
            tokenizer.json, which is complete: that is an error, and its own ids count.

    Returns:
        role -> id

    Raises:
        WorkError: an id that is not the declared one, or that belongs to another token.
    """
    named = named_tokens(declared, defaults)
    before = backend.get_vocab(with_added_tokens=True)
    if not append:
        complete = before.keys() | {token.content for token in declared.added.values()}
        for role, token in named.items():
            if token.content not in complete:
                raise WorkError(
                    f"{role} is {token.content!r}, which tokenizer.json does not have",
                    where=str(declared.folder),
                    fix="the files belong to different tokenizers; get them again",
                )
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    new: dict[str, AddedToken] = {}
    for token in (*declared.added.values(), *named.values(), *declared.extra, *extra):
        if token.content not in known:
            new.setdefault(token.content, token)  # what is declared first keeps its flags
    backend.add_tokens(list(new.values()))
    for index, token in declared.added.items():
        if append or token.content not in before:
            _check_declared(backend, index, token, declared)
    _check_free(backend, before, declared)
    after = backend.get_vocab(with_added_tokens=True)
    return {role: after[token.content] for role, token in named.items()}


def _check_declared(backend: Backend, index: int, token: AddedToken, declared: Declared) -> None:
    found = backend.token_to_id(token.content)
    if found != index:
        raise WorkError(
            f"the added token {token.content[:40]!r} is declared with the id {index}, "
            f"but has {found}",
            where=str(declared.folder),
            fix="the files belong to different tokenizers; get them again",
        )


def _check_free(backend: Backend, before: Mapping[str, int], declared: Declared) -> None:
    owner = {index: token for token, index in before.items()}
    for index, token in backend.get_added_tokens_decoder().items():
        if owner.get(index, token.content) != token.content:
            raise WorkError(
                f"the special token {token.content[:40]!r} would get the id {index} of "
                f"{owner[index][:40]!r}, because the ids of the vocabulary have holes",
                where=str(declared.folder),
                fix="list it with its id under added_tokens_decoder in tokenizer_config.json",
            )


def template(
    backend: Backend, ids: Mapping[str, int], single: str, pair: str
) -> processors.PostProcessor:
    """What stands around one text and around two.

    Args:
        single: such as `{cls_token} $A {sep_token}`; in braces are roles, or tokens as they are.
        pair: the same for two, with `:1` after what belongs to the second.
    """
    tokens = {role: str(backend.id_to_token(index)) for role, index in ids.items()}
    used: dict[str, int] = {}

    def parts(text: str) -> list[str]:
        out = []
        for part in text.split(" "):
            name, _, kind = part.rpartition(":") if part[-2:] in (":0", ":1") else (part, "", "0")
            if name.startswith("{"):
                token = tokens.get(name[1:-1], name[1:-1])
                index = backend.token_to_id(token)
                if index is None:
                    raise WorkError(f"the vocabulary lacks {token!r}, which surrounds each text")
                used[token] = index
                name = token
            out.append(f"{name}:{kind}")
        return out

    one, two = parts(single), parts(pair)
    return processors.TemplateProcessing(single=one, pair=two, special_tokens=list(used.items()))


def bos_eos_template(
    backend: Backend, declared: Declared, ids: Mapping[str, int]
) -> processors.PostProcessor:
    """BOS before and EOS after each text, where tokenizer_config.json asks for them."""
    bos = "bos_token" in ids and declared.flag("add_bos_token", False)
    eos = "eos_token" in ids and declared.flag("add_eos_token", False)
    parts = [*(["{bos_token}"] if bos else []), "$A", *(["{eos_token}"] if eos else [])]
    second = [part.replace("$A", "$B") + ":1" for part in parts]
    return template(backend, ids, " ".join(parts), " ".join([*parts, *second]))
