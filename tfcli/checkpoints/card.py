"""The model card of an artifact: what it was made of, what was done, how it was checked."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import tfcli
from tfcli.hub import local_path
from tfcli.hub_choice import parse_ref
from tfcli.recipe.record import CARD as CARD
from tfcli.recipe.record import CARD_SAYS


@dataclass(frozen=True)
class Origin:
    """A checkpoint that something was made of.

    Args:
        role: the word for it, such as `base`.
        ref: as the user named it. Of a local path only the last part is told.
        note: said behind its name.
    """

    role: str
    ref: str
    note: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it is a folder or file here, and not on the hub."""
        return local_path(self.ref) is not None

    @property
    def name(self) -> str:
        """What it is called in the card."""
        path = local_path(self.ref)
        return self.ref if path is None else path.resolve().name

    @property
    def repository(self) -> str:
        """The repository of one on the hub, without the revision and the part that were named."""
        ref = parse_ref(self.ref)
        return self.ref if ref is None else ref.name


def card_text(
    done: str, origins: Sequence[Origin], hashes: Mapping[str, str], facts: Mapping[str, str]
) -> str:
    """The text of README.md.

    Args:
        done: what was done with the first origin, such as `converted`.
        origins: what it was made of.
        hashes: the hash or hub commit of each origin, by its ref.
        facts: what is to be told, by its name; those that are empty are left out.
    """
    hub = [origin.repository for origin in origins if not origin.is_local]
    lines = ["---"]
    if len(hub) == 1:
        lines.append(f"base_model: {hub[0]}")
    elif hub:
        lines += ["base_model:", *(f"- {name}" for name in hub)]
    lines += ["tags:", "- tfcli", "---", "", f"# {origins[0].name}, {done}", ""]
    lines += ["| | |", "|---|---|"]
    for origin in origins:
        note = f" ({origin.note})" if origin.note else ""
        lines.append(_row(origin.role, f"`{origin.name}`{note}"))
        if origin.ref in hashes:
            lines.append(_row("its content", f"`{hashes[origin.ref]}`"))
    lines += [_row(name, value) for name, value in facts.items() if value]
    made = f"tfcli {tfcli.__version__}, Python {platform.python_version()}, torch "
    lines += [
        _row("made by", made + version("torch")),
        "",
        CARD_SAYS,
        "",
    ]
    return "\n".join(lines)


def _row(name: str, value: str) -> str:
    cells = (text.replace("|", "\\|").replace("\n", " ") for text in (name, value))
    return "| " + " | ".join(cells) + " |"
