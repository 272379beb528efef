"""The commands on folders of families that take media: what they do, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.models.media_case import MediaCase
from tests.models.media_cases import CASES
from tfcli.checkpoints.folder import load_model
from tfcli.commands.app import run
from tfcli.models.registry import FAMILIES
from tfcli.models.saving import export_tensors

pytestmark = pytest.mark.families

WRITES = {"causal-lm", "seq2seq-lm", "image-text-to-text", "speech-seq2seq"}
HEARS = {"speech-seq2seq", "ctc"}
FIRST: dict[str, MediaCase] = {}
for _case in CASES:
    FIRST.setdefault(getattr(transformers, _case.config).model_type, _case)

every_media_family = pytest.mark.parametrize("model_type", FIRST)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory) -> Callable[[str], Path]:
    """A folder that transformers wrote. Made once; not to be changed."""
    root = tmp_path_factory.mktemp("media")

    def folder(model_type: str) -> Path:
        path, case = root / model_type, FIRST[model_type]
        if not path.exists():
            torch.manual_seed(0)
            config = getattr(transformers, case.config)(**case.settings)
            getattr(transformers, case.model)._from_config(config).save_pretrained(path)
        return path

    return folder


@pytest.fixture
def tfcli(capsys) -> Callable[..., dict[str, Any]]:
    """Runs a command and gives its JSON."""

    def call(*words: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        ended = run([*map(str, words), "--json"])
        printed = capsys.readouterr()
        assert ended == code, printed.out + printed.err
        return json.loads(printed.out)

    return call


@every_media_family
def test_inspect_knows_task_and_size(tfcli, folder_of, model_type):
    found = tfcli("inspect", folder_of(model_type))
    model = load_model(folder_of(model_type), task=None)
    assert (found["model_type"], found["problem"]) == (model_type, None)
    assert found["task"] == model.task == FIRST[model_type].task
    assert found["architecture"] == FIRST[model_type].model
    assert found["parameters"] == sum(tensor.numel() for _, tensor in export_tensors(model))


@every_media_family
def test_convert_writes_what_loads_here_and_there(tfcli, folder_of, model_type, tmp_path):
    case, out = FIRST[model_type], tmp_path / "bf16"
    tfcli("convert", folder_of(model_type), out, "--dtype", "bf16")
    half, whole = load_model(out, task=None), load_model(folder_of(model_type), task=None)
    assert half.dtype == torch.bfloat16
    for name, value in whole.named_parameters():
        assert torch.equal(half.get_parameter(name), value.to(torch.bfloat16)), name
    _, report = getattr(transformers, case.model).from_pretrained(out, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@every_media_family
def test_gguf_is_refused_by_name(tfcli, folder_of, model_type, tmp_path):
    error = tfcli("convert", folder_of(model_type), tmp_path / "out", "--to", "gguf", code=1)[
        "error"
    ]
    assert error["what"] == f"model_type {model_type!r} is not covered in GGUF"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "model_type", [name for name in FIRST if not (WRITES | HEARS) & set(FAMILIES[name].heads)]
)
def test_generate_is_refused_by_name(tfcli, folder_of, model_type):
    error = tfcli("generate", folder_of(model_type), "A line", code=2)["error"]
    assert error["what"] == f"{model_type} cannot generate text"
    assert next(iter(FAMILIES[model_type].heads)) in error["fix"]
