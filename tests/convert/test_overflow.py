"""Families that overflow float16 are told of before they become it."""

import pytest

from tests.checkpoints.gguf.folders import write_folder
from tfcli.console import Console
from tfcli.convert.overflow import OVERFLOWING, warn_of_overflow
from tfcli.convert.spec import ConvertSpec
from tfcli.models.registry import get_family
from tfcli.recipe.execute import execute

WORDS = "beyond what fp16 holds"


@pytest.mark.parametrize(
    ("family", "options", "told"),
    [
        ("gemma3_text", {"dtype": "fp16"}, True),
        ("gemma3_text", {"dtype": "bf16"}, False),
        ("gemma3_text", {}, False),
        ("gemma3_text", {"dtype": "fp16", "to": "gguf"}, False),  # llama.cpp computes in float32
        ("llama", {"dtype": "fp16"}, False),
    ],
)
def test_a_family_that_overflows_float16_is_told_of(family, options, told, tmp_path, capsys):
    write_folder(tmp_path / "hf", family)
    spec = ConvertSpec(source=str(tmp_path / "hf"), output=str(tmp_path / "out"), **options)
    execute(spec, Console())
    assert (WORDS in " ".join(capsys.readouterr().err.split())) == told


def test_the_family_inside_a_model_of_several_parts_counts(capsys):
    warn_of_overflow({"model_type": "other", "text_config": {"model_type": "gemma2"}}, Console())
    assert "gemma2" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(OVERFLOWING))
def test_the_families_exist(name):
    assert get_family(name)
