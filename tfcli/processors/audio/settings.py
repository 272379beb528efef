"""The settings of a feature extractor: preprocessor_config.json, read, checked and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from tfcli.checkpoints.strict_json import BUDGET, read_json
from tfcli.errors import WorkError
from tfcli.files import inside, write_json
from tfcli.limits import MAX_AUDIO_SAMPLES, MAX_SAMPLING_RATE, MAX_SIDE

FILE = "preprocessor_config.json"
NESTED_FILE, NESTED_KEY = "processor_config.json", "feature_extractor"
LOWEST_RATE = 1_000
"""The lowest sampling rate in Hz. Speech needs 8,000; below 1,000 a header is damaged."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every feature extractor of audio has. Names and defaults are Hugging Face's.

    Keys of a file that no field claims are kept in `extra` and written back.

    Class attributes:
        kind: the extractor's name in the file, as `feature_extractor_type`.
        derived: keys of files that follow from others; they are not read.
    """

    kind: ClassVar[str]
    derived: ClassVar[frozenset[str]] = frozenset()

    feature_size: int = 1
    sampling_rate: int = 16_000
    padding_value: float = 0.0
    padding_side: Literal["left", "right"] = "right"
    return_attention_mask: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def check(self, where: str | None = None) -> None:
        """Refuse values that contradict each other or that nothing could be computed with.

        Raises:
            WorkError: names the key.
        """
        if not LOWEST_RATE <= self.sampling_rate <= MAX_SAMPLING_RATE:
            raise WorkError(
                f"sampling_rate is {self.sampling_rate:,}, not in "
                f"{LOWEST_RATE:,}..{MAX_SAMPLING_RATE:,} Hz",
                where=where,
            )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the settings of a folder.

        They are in processor_config.json under `feature_extractor`, where newer checkpoints have
        them, else in preprocessor_config.json.

        Raises:
            WorkError: no such file, one for another kind of extractor, or a wrong value.
        """
        path = inside(folder, NESTED_FILE)
        values = _object(path).get(NESTED_KEY) if path.exists() else None
        if values is None:
            path = inside(folder, FILE)
            values = _object(path)
        if not isinstance(values, dict):
            raise WorkError(f"{NESTED_KEY} is not an object", where=str(path))
        return cls.from_dict(values, str(path))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | None = None) -> Self:
        """Settings from the content of a file.

        Raises:
            WorkError: as `read`.
        """
        found = values.get("feature_extractor_type", cls.kind)
        if found != cls.kind:
            raise WorkError(
                f"feature_extractor_type is {str(found)[:60]!r}, not {cls.kind}", where=where
            )
        hints = get_type_hints(cls)
        names = {one.name for one in fields(cls)} - {"extra"}
        known = {key: _typed(key, value, hints[key], where)
                 for key, value in values.items() if key in names}  # fmt: skip
        rest = {key: value for key, value in values.items()
                if key not in names | cls.derived | {"feature_extractor_type"}}  # fmt: skip
        made = cls(**known, extra=rest)
        made.check(where)
        return made

    def to_dict(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "extra"}
        return dict(sorted({**self.extra, **own, "feature_extractor_type": self.kind}.items()))

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json into a folder, which is made where there is none.

        Where the folder has settings in processor_config.json, which count first, they change too.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, self.to_dict())
        nested = folder / NESTED_FILE
        if nested.exists() and NESTED_KEY in (content := _object(nested)):
            write_json(nested, {**content, NESTED_KEY: self.to_dict()})


def check_samples(samples: int, what: str, where: str | None) -> None:
    """Refuse lengths that no audio has.

    Raises:
        WorkError: below 1 or above the limit; the message begins with `what`.
    """
    if not 1 <= samples <= MAX_AUDIO_SAMPLES:
        raise WorkError(f"{what} {samples:,} samples, not 1..{MAX_AUDIO_SAMPLES:,}", where=where)


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path, limit=MAX_SIDE, budget=BUDGET)
    if not isinstance(value, dict):
        raise WorkError("expected a JSON object", where=str(path))
    return value


def _typed(key: str, value: Any, hint: Any, where: str | None) -> Any:
    """A value of the type that its field has."""
    if get_origin(hint) is Literal:
        good = value in get_args(hint)
        wanted = " or ".join(get_args(hint))
    elif hint is float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        good = good and abs(value) < 1e30  # NaN fails here, too
        wanted = "a number"
    else:
        good = type(value) is hint
        wanted = "true or false" if hint is bool else "a whole number"
    if not good:
        raise WorkError(f"{key} must be {wanted}, not {str(value)[:60]!r}", where=where)
    return float(value) if hint is float else value
