"""The `tokenizers` library's object: copying it, comparing it, calling it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models

from tfcli.errors import WorkError


def copy_backend(backend: Backend, pre_tokenizer: bool = True) -> Backend:
    """A backend of its own that shares the vocabulary; without its pre-tokenizer on request."""
    other = Backend(backend.model)
    other.normalizer = backend.normalizer
    if pre_tokenizer:
        other.pre_tokenizer = backend.pre_tokenizer
    other.decoder, other.post_processor = backend.decoder, backend.post_processor
    added = sorted(backend.get_added_tokens_decoder().items())
    other.add_tokens([token for _, token in added])
    return other


def literal_backend(backend: Backend) -> Backend:
    """A backend that takes special tokens in a text for ordinary text.

    The library leaves them to the model then, and some models find them whole: a Unigram model has
    them among its pieces. Where a probe shows that, they are taken out of the model.
    """
    literal = copy_backend(backend)
    literal.encode_special_tokens = True
    added = backend.get_added_tokens_decoder()
    special = {token.content: index for index, token in added.items() if token.special}
    probes = [f"{before}{token}{before}" for token in special for before in ("", " ", "a")]
    found = {
        index
        for encoding in run(literal.encode_batch_fast, probes, add_special_tokens=False)
        for index in encoding.ids
    }
    return _without(literal, special) if found & set(special.values()) else literal


def _without(backend: Backend, special: Mapping[str, int]) -> Backend:
    """A backend whose model has other names for special tokens, which no text can have."""
    content = json.loads(copy_backend(backend, pre_tokenizer=False).to_str())
    model = content["model"]
    secret = secrets.token_hex(16)  # nobody can write what nobody knows
    if model["type"] == "Unigram":
        unk = None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
    else:
        unk = model.get("unk_token")
    names = {token: f"{secret} {index}" for token, index in special.items() if token != unk}
    if model["type"] == "Unigram":
        inside = {piece for piece, _ in model["vocab"]}
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        inside = set(model["vocab"])
        model["vocab"] = {names.get(token, token): at for token, at in model["vocab"].items()}
    if "merges" in model:
        model["merges"] = [
            pair for pair in model["merges"] if not {pair[0], pair[1], "".join(pair)} & names.keys()
        ]
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] not in names.keys() & inside
    ]
    other = Backend.from_str(json.dumps(content))
    if backend.pre_tokenizer is not None:
        other.pre_tokenizer = backend.pre_tokenizer
    other.encode_special_tokens = True
    return other


def fingerprint(backend: Backend, pieces: str | None) -> str:
    """SHA-256 of what decides the ids.

    Args:
        pieces: SHA-256 of the SentencePiece model that the backend asks to cut text, where it does.
    """
    said = (backend if pieces is None else copy_backend(backend, pre_tokenizer=False)).to_str()
    if isinstance(backend.model, models.Unigram):
        # The library does not read a score back to its last bit, so that bit does not count.
        content = json.loads(said)
        scores = content["model"].pop("vocab")
        said = json.dumps([content, [(piece, struct.pack("<f", x).hex()) for piece, x in scores]])
    return hashlib.sha256(f"{pieces or ''}{said}".encode()).hexdigest()


def surroundings(backend: Backend) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that stand before and after every text.

    They are asked of the backend's template alone, with a text of one made-up token: no letter is
    in every vocabulary.

    Raises:
        WorkError: the template leaves the text out, or has it twice.
    """
    bare = Backend(models.WordLevel({"text": 0}, unk_token="text"))
    if backend.post_processor is not None:
        bare.post_processor = backend.post_processor
    found = run(bare.encode, "text", "tokenizer.json")
    texts = [at for at, special in enumerate(found.special_tokens_mask) if not special]
    if len(texts) != 1:
        raise WorkError("its special tokens change the text between them", where="tokenizer.json")
    return tuple(found.ids[: texts[0]]), tuple(found.ids[texts[0] + 1 :])


@contextmanager
def panics_are_errors(file: str) -> Iterator[None]:
    """Within the block, what the library fails over is an error that names the file.

    A panic is no Exception, and Rust writes about it to the process's stderr itself: that text is
    left out, and any other passed on.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                yield
            except (KeyboardInterrupt, SystemExit, WorkError):
                raise
            except BaseException as error:
                raise WorkError(f"not a readable tokenizer: {error}", where=file) from error
            finally:
                os.dup2(kept, 2)
                said.seek(0)
                text = said.read()
                os.write(2, b"" if b"panicked at" in text else text)
    finally:
        os.close(kept)


def run(encode: Callable[..., Any], given: Any, file: str | None = None, **options: Any) -> Any:
    """Call the library; its errors become ours.

    Args:
        encode: one of its methods. options: what it takes beside the text.
        given: a text, or several.
        file: of the tokenizer, for errors.
    """
    try:
        return encode(given, **options)
    except TypeError:
        if not all(map(is_unicode, _texts(given))):
            raise WorkError("the text has half a surrogate pair, which no encoding has") from None
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise WorkError(f"the tokenizer cannot encode the text: {error}", where=file) from error


def _texts(given: Any) -> Iterator[str]:
    """The texts in lists of lists."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _texts(one)


def decode(
    backend: Backend, ids: list[int], skip_special_tokens: bool, file: str | None = None
) -> str:
    """The text of ids; the library's errors become ours."""
    try:
        return backend.decode(ids, skip_special_tokens=skip_special_tokens)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # as above
        raise WorkError(f"the tokenizer cannot decode the ids: {error}", where=file) from error


def is_unicode(text: str) -> bool:
    """Whether no character of a text is half a surrogate pair."""
    return not any(0xD800 <= ord(char) < 0xE000 for char in text)
