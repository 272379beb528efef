"""wav2vec2's tokenizer: a vocab.json of letters, read from what connectionist temporal
classification predicts (Graves et al. 2006)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from tokenizers import AddedToken
from torch import Tensor

from tfcli.errors import UsageError, WorkError, hint
from tfcli.files import inside, write_json
from tfcli.limits import MAX_VOCABULARY
from tfcli.tokenizers.bounded import check_vocab, read_vocabulary_json
from tfcli.tokenizers.declared import ROLES, Declared, read_declared
from tfcli.tokenizers.special import named_tokens

SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
"""Role -> token, where tokenizer_config.json does not say."""

# What stands before punctuation and English endings -> what is left of it.
_CLEAN = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m",
          " 's": "'s", " 've": "'ve", " 're": "'re"}  # fmt: skip

Ids = Sequence[int] | Tensor


@dataclass(frozen=True)
class CtcText:
    """A text, and where its parts are among the predictions.

    An offset counts predictions: times `inputs_to_logits_ratio` of the model's config, divided by
    the sampling rate, it is in seconds. `end_offset` is the one after the last.

    Args:
        text: what was said.
        char_offsets: `char`, `start_offset` and `end_offset` of each token; None if not asked for.
        word_offsets: the same with `word`.
    """

    text: str
    char_offsets: list[dict[str, Any]] | None = None
    word_offsets: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class CtcTokenizer:
    """Letters to ids, and predictions to text.

    Args:
        vocab: token -> id.
        added: token -> its id and flags, of those that are found whole in a text.
        special_tokens: role -> token, such as `pad_token`, which is CTC's blank.
        word_delimiter_token: stands for a space.
        replace_word_delimiter_char: what it is in a decoded text.
        do_lower_case: texts are lower case, the vocabulary upper case.
        clean_up_tokenization_spaces: decoded texts lose spaces before punctuation.
        languages: language -> vocabulary, where there are several (MMS). target_lang: the one
            that `vocab` is of.
    """

    vocab: Mapping[str, int] = field(repr=False)
    added: Mapping[str, tuple[int, AddedToken]] = field(repr=False)
    special_tokens: Mapping[str, str]
    word_delimiter_token: str = "|"
    replace_word_delimiter_char: str = " "
    do_lower_case: bool = False
    clean_up_tokenization_spaces: bool = False
    languages: Mapping[str, Mapping[str, int]] | None = field(default=None, repr=False)
    target_lang: str | None = None

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, target_lang: str | None = None) -> Self:
        """Read vocab.json and tokenizer_config.json of a folder.

        Args:
            folder: of a checkpoint.
            target_lang: of a vocabulary with several languages; None: as the config says.

        Raises:
            WorkError: files that cannot be read or do not belong together, or a language that the
                vocabulary does not have.
        """
        folder = Path(folder)
        declared = read_declared(folder)
        file = inside(folder, "vocab.json")
        content = read_vocabulary_json(file, MAX_VOCABULARY)
        language = target_lang or _text(declared, "target_lang", None)
        vocab, languages = _vocabulary(content, language, file)
        delimiter = _text(declared, "word_delimiter_token", None) or "|"
        roles = {role: token.content for role, token in named_tokens(declared, SPECIALS).items()}
        for role in ("unk_token", "pad_token"):
            if role not in roles:
                raise WorkError(f"{role} must not be null", where=declared.config_file)
        return cls(
            vocab=vocab,
            added=_added(vocab, roles, delimiter, declared),
            special_tokens=roles,
            word_delimiter_token=delimiter,
            replace_word_delimiter_char=_text(declared, "replace_word_delimiter_char", " ") or "",
            do_lower_case=declared.flag("do_lower_case", False),
            clean_up_tokenization_spaces=declared.flag("clean_up_tokenization_spaces", False),
            languages=languages,
            target_lang=language,
        )

    def save_pretrained(self, folder: Path | str) -> None:
        """Write vocab.json and tokenizer_config.json, as transformers reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = self.languages or self.vocab
        write_json(folder / "vocab.json", dict(sorted(written.items())))
        flags = ("lstrip", "normalized", "rstrip", "single_word", "special")
        added = {
            str(index): {"content": content, **{flag: getattr(token, flag) for flag in flags}}
            for content, (index, token) in sorted(self.added.items(), key=lambda item: item[1][0])
        }
        config = {
            "added_tokens_decoder": added,
            **self.special_tokens,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "do_lower_case": self.do_lower_case,
            "replace_word_delimiter_char": self.replace_word_delimiter_char,
            "target_lang": self.target_lang,
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "word_delimiter_token": self.word_delimiter_token,
        }
        write_json(folder / "tokenizer_config.json", config)

    @property
    def pad_id(self) -> int:
        """The id of CTC's blank, which fills up labels too."""
        return self._id(self.special_tokens["pad_token"])

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id: the outputs that a model needs."""
        return 1 + max(*self.vocab.values(), *(index for index, _ in self.added.values()))

    def _id(self, token: str) -> int:
        return self.added[token][0] if token in self.added else self.vocab[token]

    @cached_property
    def _tokens(self) -> dict[int, str]:
        added = {index: token for token, (index, _) in self.added.items()}
        return {**added, **{index: token for token, index in self.vocab.items()}}

    @cached_property
    def _special(self) -> frozenset[str]:
        """What `skip_special_tokens` leaves out. The blank goes by itself, after repeats do."""
        declared = {token for token, (_, flags) in self.added.items() if flags.special}
        roles = set(self.special_tokens.values())
        return frozenset((declared | roles) - {self.word_delimiter_token, self._blank})

    @property
    def _blank(self) -> str:
        return self.special_tokens["pad_token"]

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        longest_first = sorted(self.added, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def encode(self, text: str) -> list[int]:
        """The ids of a text, a letter each; tokens of several letters are found whole."""
        parts = self._whole.split(text)
        for place in range(1, len(parts), 2):  # every second part is an added token
            _, token = self.added[parts[place]]
            if token.lstrip:
                parts[place - 1] = parts[place - 1].rstrip()
            if token.rstrip:
                parts[place + 1] = parts[place + 1].lstrip()
        unknown = self._id(self.special_tokens["unk_token"])
        ids = []
        for place, part in enumerate(parts):
            if place % 2:
                ids.append(self._id(part))
                continue
            letters = part.upper() if self.do_lower_case else part
            for letter in letters.replace(" ", self.word_delimiter_token):
                ids.append(self.vocab.get(letter, unknown))
        return ids

    def decode(
        self,
        ids: Ids,
        *,
        skip_special_tokens: bool = False,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
    ) -> str | CtcText:
        """The text of predictions, or of labels.

        Args:
            ids: [n]. One that no token has is the unknown token.
            skip_special_tokens: leave out the beginning, the end and the unknown token. Repeats
                on both sides of a blank stay two letters; transformers takes the blank out first.
            group_tokens: repeats become one, as CTC predicts them; False for labels.
            spaces_between_special_tokens: put a space after each token.
            output_char_offsets, output_word_offsets: also say where they are.

        Returns:
            the text; `CtcText` where offsets are asked for
        """
        listed = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        unknown = self.special_tokens["unk_token"]
        tokens = [self._tokens.get(int(index), unknown) for index in listed]
        if skip_special_tokens:
            tokens = [token for token in tokens if token not in self._special]
        chars = list(self._grouped(tokens, group_tokens))
        join = " " if spaces_between_special_tokens else ""
        text = join.join(char["char"] for char in chars).strip()
        text = text.lower() if self.do_lower_case else text
        if self.clean_up_tokenization_spaces:
            for before, after in _CLEAN.items():
                text = text.replace(before, after)
        if not (output_char_offsets or output_word_offsets):
            return text
        words = self._words(chars) if output_word_offsets else None
        return CtcText(text, chars if output_char_offsets else None, words)

    def batch_decode(self, sequences: Iterable[Ids], **options: Any) -> list[str | CtcText]:
        """`decode` of each sequence."""
        return [self.decode(ids, **options) for ids in sequences]

    def for_language(self, target_lang: str) -> Self:
        """The tokenizer of another language of the same files.

        Raises:
            UsageError: there is one language only, or not this one.
        """
        if self.languages is None:
            raise UsageError("the vocabulary has one language only", where="target_lang")
        if target_lang not in self.languages:
            raise UsageError(
                f"the vocabulary has no language {target_lang!r}",
                where="target_lang",
                fix=hint(target_lang, self.languages),
            )
        vocab = self.languages[target_lang]
        taken = set(vocab.values())
        kept = {token: one for token, one in self.added.items()
                if one[0] not in taken and token not in vocab}  # fmt: skip
        added = {**kept, **_long_tokens(vocab)}
        return replace(self, vocab=vocab, added=added, target_lang=target_lang)

    def _grouped(self, tokens: Sequence[str], group: bool) -> Iterable[dict[str, Any]]:
        """Each run of a token with its place, but for blanks."""
        runs = [(token, len(list(same))) for token, same in groupby(tokens)] if group else [
            (token, 1) for token in tokens
        ]  # fmt: skip
        start = 0
        for token, count in runs:
            if token != self._blank:
                delimits = token == self.word_delimiter_token
                char = self.replace_word_delimiter_char if delimits else token
                yield {"char": char, "start_offset": start, "end_offset": start + count}
            start += count

    def _words(self, chars: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        space = self.replace_word_delimiter_char
        runs = (list(run) for is_space, run in groupby(chars, lambda char: char["char"] == space)
                if not is_space)  # fmt: skip
        return [
            {
                "word": "".join(char["char"] for char in run),
                "start_offset": run[0]["start_offset"],
                "end_offset": run[-1]["end_offset"],
            }
            for run in runs
        ]


def _vocabulary(
    content: Any, language: str | None, file: Path
) -> tuple[dict[str, int], dict[str, dict[str, int]] | None]:
    """The vocabulary of a language, and all of them where there are several."""
    if not isinstance(content, dict) or not content:
        raise WorkError("expected a JSON object of tokens and their ids", where=str(file))
    nested = [key for key, value in content.items() if isinstance(value, dict)]
    if not nested and language is None:
        check_vocab(content, file)
        return content, None
    if len(nested) != len(content):
        what = "has no languages, but target_lang names one" if not nested else (
            "has vocabularies of languages and tokens side by side"
        )  # fmt: skip
        raise WorkError(what, where=str(file))
    for key in nested:
        check_vocab(content[key], file)
    if language not in content:
        what = "target_lang says none of" if language is None else f"{language!r} is none of"
        raise WorkError(
            f"{what} its {len(content)} languages",
            where=str(file),
            fix=hint(language or "", content),
        )
    return content[language], content


def _long_tokens(vocab: Mapping[str, int]) -> dict[str, tuple[int, AddedToken]]:
    """Tokens of several letters: found whole, with the spaces around them."""
    return {
        token: (index, AddedToken(token, lstrip=True, rstrip=True, normalized=False))
        for token, index in vocab.items()
        if len(token) > 1
    }


def _added(
    vocab: Mapping[str, int], roles: Mapping[str, str], delimiter: str, declared: Declared
) -> dict[str, tuple[int, AddedToken]]:
    """Tokens that are found whole, as transformers has them."""
    found: dict[str, tuple[int, AddedToken]] = {}
    for index, token in declared.added.items():
        if vocab.get(token.content, index) != index:
            raise WorkError(
                f"the added token {token.content[:40]!r} is declared with the id {index}, "
                f"but has {vocab[token.content]}",
                where=str(declared.folder),
                fix="the files belong to different tokenizers; get them again",
            )
        found[token.content] = (index, token)
    used = {*vocab.values(), *(index for index, _ in found.values())}
    following = max(used) + 1
    listed = [AddedToken(token.content, special=True) for token in declared.extra]
    for token in [*(AddedToken(roles[role], special=True) for role in ROLES if role in roles),
                  AddedToken(delimiter, special=True), *listed]:  # fmt: skip
        if token.content in found:
            continue
        if token.content in vocab:
            found[token.content] = (vocab[token.content], token)
        else:
            found[token.content] = (following, token)
            following += 1
    return {**found, **_long_tokens(vocab)}


def _text(declared: Declared, key: str, default: str | None) -> str | None:
    """A key of tokenizer_config.json that is a text, or a token as an object."""
    value = declared.config.get(key, default)
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise WorkError(f"{key} must be a text, not {str(value)[:40]}", where=declared.config_file)
    return default if value is None else value
