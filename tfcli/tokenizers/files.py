"""The files beside a checkpoint's weights: which there are, and which of them are a vocabulary.

Fetching, copying and loading follow this one list, so that what is read is also there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tfcli.checkpoints.strict_json import BUDGET, read_json
from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.limits import (
    MAX_MODULE,
    MAX_SIDE,
    MAX_TEMPLATE,
    MAX_TOKENIZER_JSON,
    MAX_VOCABULARY,
)

MODEL_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
"""Usual names of SentencePiece models and rank files; another one ending in .model counts too."""

# A pattern of names -> the most bytes of such a file. A pattern is matched in its own folder only.
_VOCABULARIES = {
    "tokenizer.json": MAX_TOKENIZER_JSON,
    **dict.fromkeys(MODEL_NAMES, MAX_VOCABULARY),
    "*.model": MAX_VOCABULARY,
    "*.spm": MAX_VOCABULARY,  # Marian: source.spm and target.spm
    "*.tiktoken": MAX_VOCABULARY,
    "vocab.json": MAX_VOCABULARY,
    "vocab.txt": MAX_VOCABULARY,
    "merges.txt": MAX_VOCABULARY,
    # No loader here reads those that follow, but one of another library does.
    "vocab.*": MAX_VOCABULARY,
    "vocab-*.json": MAX_VOCABULARY,
    "*_vocab.json": MAX_VOCABULARY,
    "*.codes": MAX_VOCABULARY,
    "tekken.json": MAX_VOCABULARY,
}
_TEXT = {
    **dict.fromkeys(
        ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"), MAX_SIDE
    ),
    "chat_template.jinja": MAX_TEMPLATE,
    "chat_template.json": MAX_SIDE,
    "additional_chat_templates/*.jinja": MAX_TEMPLATE,
}
_OTHERS = dict.fromkeys(
    (
        "generation_config.json",
        "quantize_config.json",
        "quant_config.json",
        "quanto_qmap.json",
        "preprocessor_config.json",
        "processor_config.json",
        "image_processor_config.json",
        "video_preprocessor_config.json",
        "audio_tokenizer_config.json",
        "normalizer.json",
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_*_config.json",
    ),
    MAX_SIDE,
)
# The modules of sentence-transformers that follow the model lie in folders such as 1_Pooling. The
# first, number 0, is the model itself.
_MODULES = {"[1-9]_*/config.json": MAX_SIDE, "[1-9]_*/model.safetensors": MAX_MODULE}
_LIMITS = {**_VOCABULARIES, **_TEXT, **_OTHERS, **_MODULES}

COMPANIONS = tuple(_LIMITS)
"""Patterns of all that goes along with a checkpoint's weights and config.json."""


def find_companions(folder: Path) -> list[str]:
    """The files of a folder that go along with its weights, as names with `/`.

    Folders of modules count where modules.json names them.

    Raises:
        WorkError: one is a link that leads outside the folder, no file, or larger than those of
            its name are; modules.json cannot be read or names a place outside the folder.
    """
    found: dict[str, None] = {}
    for pattern, limit in _LIMITS.items():
        wild = "*" in pattern
        for name in _matching(folder, pattern):
            path = inside(folder, name)
            if name in found or (wild and path.is_dir()):
                continue
            if not path.is_file():
                raise WorkError("not a file, or a link to nothing", where=str(path))
            if path.stat().st_size > limit:
                if wild and pattern in _VOCABULARIES:  # another thing that has such an ending
                    continue
                raise WorkError(
                    f"has {path.stat().st_size:,} bytes; {limit:,} at most are read",
                    where=str(path),
                    fix="it is not what its name says, or it is damaged; get it again",
                )
            found[name] = None
    return list(found)


def _matching(folder: Path, pattern: str) -> Iterator[str]:
    """The names in a folder that a pattern fits, links to nothing among them."""
    if "*" not in pattern:
        if (folder / pattern).exists() or (folder / pattern).is_symlink():
            yield pattern
        return
    place, _, last = pattern.rpartition("/")
    homes = [place] if "*" not in place else _modules(folder, place)
    for home in homes:
        within = inside(folder, home) if home else folder
        for path in sorted(within.iterdir()) if within.is_dir() else ():
            if fnmatchcase(path.name, last) and not path.name.startswith("."):
                yield f"{home}/{path.name}" if home else path.name


def _modules(folder: Path, pattern: str = "*") -> list[str]:
    """The folders that modules.json names and a pattern fits, but for the model's own."""
    path = inside(folder, "modules.json")
    if not path.is_file():
        return []
    listed = read_json(path, limit=MAX_SIDE, budget=BUDGET)
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise WorkError("expected a list of modules", where=str(path))
    named = {str(one.get("path") or "").rstrip("/"): None for one in listed}
    for name in named:
        inside(folder, name or ".")
    return [name for name in named if name and fnmatchcase(name, pattern)]


def left_behind(folder: Path, taken: Iterable[str]) -> list[str]:
    """What a folder holds besides the files `taken`: names, those of modules with their folder.

    Hidden files do not count.
    """
    taken = set(taken)
    homes = {name.partition("/")[0] for name in taken if "/" in name}
    names = [path.name for path in folder.iterdir() if path.name not in homes]
    names += [f"{home}/{path.name}" for home in homes for path in (folder / home).iterdir()]
    return sorted(name for name in names if not name.startswith(".") and name not in taken)


def lost_modules(folder: Path, taken: Iterable[str]) -> list[str]:
    """Files of the modules that modules.json names which are not among those `taken`."""
    taken = set(taken)
    lost = []
    for home in _modules(folder):
        place = inside(folder, home)
        beside = sorted(path.name for path in place.iterdir()) if place.is_dir() else ()
        lost += [f"{home}/{name}" for name in beside if f"{home}/{name}" not in taken]
    return lost


@dataclass(frozen=True)
class Vocabulary:
    """The files that a folder's tokenizer is made of.

    Args:
        kind: `json` (a tokenizer.json), `marian`, `pairs` (vocab.json and merges.txt), `words`
            (a vocab.txt) or `pieces`: a SentencePiece model or a rank file, as the content tells.
        files: of `marian`, the side's model and vocab.json; of `pairs`, vocab.json and merges.txt.
    """

    kind: str
    files: tuple[Path, ...]


def find_vocabulary(folder: Path, *, target: bool = False) -> Vocabulary | None:
    """The vocabulary of a folder; None where there is none.

    Args:
        folder: of a checkpoint.
        target: of a model that translates, the vocabulary of the translations.

    Raises:
        WorkError: a link that leads outside the folder.
    """

    def found(name: str) -> Path | None:
        path = inside(folder, name)
        return path if path.exists() else None

    if file := found("tokenizer.json"):
        return Vocabulary("json", (file,))
    vocab, merges = found("vocab.json"), found("merges.txt")
    side = found("target.spm" if target else "source.spm")
    if side and vocab:
        return Vocabulary("marian", (side, vocab))
    if file := next(filter(None, map(found, MODEL_NAMES)), None) or _only(folder, "*.model"):
        return Vocabulary("pieces", (file,))
    if vocab and merges:
        return Vocabulary("pairs", (vocab, merges))
    if file := found("vocab.txt"):
        return Vocabulary("words", (file,))
    if file := _only(folder, "*.tiktoken"):
        return Vocabulary("pieces", (file,))
    return None


def _only(folder: Path, pattern: str) -> Path | None:
    """The one file of a kind, or None."""
    files = [inside(folder, path.name) for path in sorted(folder.glob(pattern))[:2]]
    return files[0] if len(files) == 1 else None
