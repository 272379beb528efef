"""Text to ids and back, as the tokenizer.json of a checkpoint says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.errors import WorkError
from tfcli.files import inside, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer and the special tokens that its folder declares.

    Args:
        backend: the `tokenizers` library's object, without truncation and padding.
        bos_id: begins a text. eos_id ends it, pad_id fills up. None when not declared.
        chat_template: the Jinja source, never rendered here.
    """

    backend: Backend
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    chat_template: str | None = None

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id: the rows that an embedding needs."""
        return 1 + max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1)

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """The ids that `encode` puts before every text: the BOS, or nothing."""
        return self._added[0]

    @cached_property
    def suffix(self) -> tuple[int, ...]:
        """The ids that `encode` puts after every text: nothing, for most causal models."""
        return self._added[1]

    @cached_property
    def _added(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        whole, bare = self.encode("a"), self.encode("a", add_special_tokens=False)
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return tuple(whole[:start]), tuple(whole[start + len(bare) :])
        raise WorkError("its special tokens change the text between them", where="tokenizer.json")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the ids: equal fingerprints, equal encodings."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text, with the special tokens that the tokenizer declares."""
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def encode_batch(
        self, texts: Sequence[str], add_special_tokens: bool = True
    ) -> list[list[int]]:
        """The ids of each text, on all cores."""
        found = self.backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [one.ids for one in found]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Load the tokenizer of a folder, or a tokenizer.json.

    Raises:
        WorkError: no tokenizer.json, or one that cannot be read.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    file = inside(folder, "tokenizer.json") if path.is_dir() else path
    backend = _open(file)
    config = _optional(folder, "tokenizer_config.json")
    names = {**_optional(folder, "special_tokens_map.json"), **config}
    return Tokenizer(
        backend,
        bos_id=_special(backend, names, "bos_token", folder),
        eos_id=_special(backend, names, "eos_token", folder),
        pad_id=_special(backend, names, "pad_token", folder),
        chat_template=_chat_template(folder, config),
    )


def _open(file: Path) -> Backend:
    from tokenizers import Tokenizer as Backend

    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise WorkError(
            f"there is no {file.name}",
            where=str(file.parent),
            fix="name a folder with a tokenizer.json, such as tfcli tokenizer makes",
        ) from None
    except OSError as error:
        raise WorkError(f"cannot be read: {error.strerror}", where=str(file)) from error
    try:
        backend = Backend.from_buffer(data)
    except Exception as error:
        raise WorkError(f"not a readable tokenizer: {error}", where=str(file)) from error
    backend.no_truncation()
    backend.no_padding()
    return backend


def _optional(folder: Path, name: str) -> dict[str, Any]:
    path = inside(folder, name)
    value = read_json(path) if path.exists() else {}
    if not isinstance(value, dict):
        raise WorkError("expected a JSON object", where=str(path))
    return value


def _special(backend: Backend, names: dict[str, Any], key: str, folder: Path) -> int | None:
    """The id of a special token, which may be declared as text or as an object with `content`."""
    token = names.get(key)
    if isinstance(token, dict):
        token = token.get("content")
    if token is None:
        return None
    found = backend.token_to_id(token) if isinstance(token, str) else None
    if found is None:
        raise WorkError(
            f"{key} is {token!r}, which tokenizer.json does not have",
            where=str(folder),
            fix="the files belong to different tokenizers; get them again",
        )
    return found


def _chat_template(folder: Path, config: dict[str, Any]) -> str | None:
    file = inside(folder, "chat_template.jinja")
    if file.exists():
        return file.read_text(encoding="utf-8", errors="replace")
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {item.get("name"): item.get("template") for item in template if item}
        template = named.get("default")
    return template if isinstance(template, str) else None
