"""Text to ids and back, as the tokenizer files of a checkpoint say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as Backend

from tfcli.tokenizers.backend import decode, fingerprint, literal_backend, run, surroundings
from tfcli.tokenizers.batch import Batch, Side, Text, cut, encodings, fill
from tfcli.tokenizers.chat_folder import find_templates
from tfcli.tokenizers.declared import read_declared
from tfcli.tokenizers.formats import open_files


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer and the special tokens that its folder declares.

    Args:
        backend: the `tokenizers` library's object, without truncation and padding.
        bos_id: begins a text. eos_id ends it, pad_id fills up. None when not declared.
        chat_templates: name -> Jinja source, never rendered here; the one for everything is
            `default`.
        special_ids: role -> id of every declared special token, such as `mask_token`, or
            `eot_token`, which ends a turn of a conversation.
        pieces: SHA-256 of the SentencePiece model that the backend asks to cut text, where it
            does. Such a backend has no tokenizer.json.
        file: what it was read from, for errors.
    """

    backend: Backend = field(repr=False)
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    special_ids: Mapping[str, int] = field(default_factory=dict)
    pieces: str | None = None
    file: str | None = None

    @property
    def chat_template(self) -> str | None:
        """The chat template for everything."""
        return self.chat_templates.get("default")

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id: the rows that an embedding needs."""
        return 1 + max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1)

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """The ids that `encode` puts before every text: nothing, the BOS, or several (GLM)."""
        return self._added[0]

    @cached_property
    def suffix(self) -> tuple[int, ...]:
        """The ids that `encode` puts after every text: nothing, for most causal models."""
        return self._added[1]

    @cached_property
    def _added(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return surroundings(self.backend)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the ids: equal fingerprints, equal encodings."""
        return fingerprint(self.backend, self.pieces)

    @cached_property
    def _literal(self) -> Backend:
        """The backend that takes special tokens in a text for ordinary text."""
        return literal_backend(self.backend)

    def encode(
        self, text: str, add_special_tokens: bool = True, allow_special: bool = True
    ) -> list[int]:
        """The ids of a text, with the special tokens that the tokenizer declares.

        Args:
            text: any text.
            add_special_tokens: put the BOS and the like around it.
            allow_special: special tokens that stand in the text are recognised. Where the text
                comes from someone who is not trusted, False keeps them ordinary text.

        Raises:
            WorkError: text that the tokenizer has no ids for, or that is not Unicode.
        """
        backend = self.backend if allow_special else self._literal
        return run(backend.encode, text, self.file, add_special_tokens=add_special_tokens).ids

    def encode_batch(
        self, texts: Sequence[str], add_special_tokens: bool = True, allow_special: bool = True
    ) -> list[list[int]]:
        """The ids of each text, on all cores."""
        backend = self.backend if allow_special else self._literal
        encode = backend.encode_batch_fast
        found = run(encode, list(texts), self.file, add_special_tokens=add_special_tokens)
        return [one.ids for one in found]

    def batch(
        self,
        texts: Sequence[Text],
        pairs: Sequence[Text] | None = None,
        *,
        is_split_into_words: bool = False,
        max_length: int | None = None,
        truncation: Side | None = None,
        padding: Side | None = None,
        pad_to_multiple_of: int | None = None,
        return_offsets: bool = False,
        return_word_ids: bool = False,
        add_special_tokens: bool = True,
        allow_special: bool = True,
    ) -> Batch:
        """The ids of each text or pair of texts, cut and filled up to a common length.

        Args:
            texts: first texts.
            pairs: second texts, one for each first.
            is_split_into_words: each text is a list of words, as for tagging. A byte-level BPE
                without `add_prefix_space` sees no space between them.
            max_length: the most ids of one entry, with its special tokens; needs `truncation`.
            truncation: the side on which too long texts lose ids. Of a pair the longer one loses.
            padding: the side on which shorter entries are filled up to the longest.
            pad_to_multiple_of: the common length is a multiple of this; needs `padding`.
            return_offsets: also say which characters each id stands for.
            return_word_ids: also say which word each id is from, and which text. Words are those
                that were given, or those that the tokenizer splits a text into.
            add_special_tokens: as in `encode`.
            allow_special: as in `encode`.

        Raises:
            UsageError: arguments that contradict each other; texts that are not split into words
                where they should be, or the other way round.
            WorkError: padding without a pad token.
        """
        backend = self.backend if allow_special else self._literal
        found = encodings(
            backend,
            texts,
            pairs,
            words=is_split_into_words,
            add_special_tokens=add_special_tokens,
            with_places=return_offsets or return_word_ids,
            file=self.file,
        )
        places = {"with_offsets": return_offsets, "with_words": return_word_ids}
        batch = cut(found, max_length, truncation, **places)
        return fill(batch, self.pad_id, padding, pad_to_multiple_of, max_length)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD."""
        return decode(self.backend, list(ids), skip_special_tokens, self.file)


def load_tokenizer(
    path: Path | str, *, language: str | None = None, target: bool = False
) -> Tokenizer:
    """Load the tokenizer of a folder, or of one file.

    A tokenizer.json counts before every other file. Without one, a SentencePiece model, a
    vocab.json with merges.txt, a vocab.txt or a tiktoken rank file is read.

    Args:
        path: the folder, or the file.
        language: for models that translate, the code of the language of the texts; None: as
            tokenizer_config.json says.
        target: for models that translate, the texts are translations.

    Raises:
        WorkError: no tokenizer, or one that cannot be read.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    declared = read_declared(folder)
    opened = open_files(path, declared, language, target)
    return Tokenizer(
        opened.backend,
        bos_id=opened.ids.get("bos_token"),
        eos_id=opened.ids.get("eos_token"),
        pad_id=opened.ids.get("pad_token"),
        chat_templates=find_templates(folder),
        special_ids=opened.ids,
        pieces=opened.pieces,
        file=str(path),
    )
