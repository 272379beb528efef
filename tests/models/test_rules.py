"""Rules say where a checkpoint keeps a parameter; reading and writing follow from that."""

from __future__ import annotations

import torch

from tfcli.models.rules import (
    OldName,
    Place,
    Rename,
    Stack,
    Transpose,
    current_name,
    place_of,
    stacked,
)

EXPERTS = (
    Stack(r"experts\.(?P<index>\d+)\.up\.weight", "experts.up"),
    Transpose(r"experts\.up"),
)


def test_no_rule_leaves_a_name():
    assert place_of((), "a.weight") == Place("a.weight")


def test_rename_and_transpose():
    rules = (Rename(r"\bhead\.", "embed_out."), Transpose(r"c_attn\.weight"))
    assert place_of(rules, "head.weight").name == "embed_out.weight"
    assert place_of(rules, "ahead.weight").name == "ahead.weight"
    assert place_of(rules, "h.0.c_attn.weight") == Place("h.0.c_attn.weight", transposed=True)
    assert not place_of(rules, "h.0.c_attn.weight_scale").transposed


def test_a_stack_of_transposed_experts():
    names = [f"l.0.experts.{e}.up.weight" for e in (1, 0, 10)]
    places = {name: place_of(EXPERTS, name) for name in names}
    assert places[names[0]] == Place("l.0.experts.up", index=1, transposed=True)
    assert stacked(places) == {"l.0.experts.up": [names[1], names[0], names[2]]}


def test_reading_is_a_view_and_writing_its_inverse():
    stored = torch.arange(24.0).view(2, 3, 4)
    place = place_of(EXPERTS, "experts.1.up.weight")
    part = place.read(stored)
    assert part.shape == (4, 3)
    assert part.data_ptr() == stored[1].data_ptr()
    assert torch.equal(place.write(part), stored[1])


def test_old_names_are_read_and_never_written():
    rules = (OldName(r"LayerNorm\.gamma$", "LayerNorm.weight"),)
    assert current_name(rules, "x.LayerNorm.gamma") == "x.LayerNorm.weight"
    assert place_of(rules, "x.LayerNorm.weight").name == "x.LayerNorm.weight"
