"""`tfcli doctor` as a user runs it."""

from __future__ import annotations

import json

import pytest

from tfcli.checkpoints.packed.unpack import PACKINGS
from tfcli.commands import app, doctor
from tfcli.console import Console
from tfcli.devices import explain
from tfcli.doctor import checks
from tfcli.doctor.examine import layouts
from tfcli.doctor.result import DoctorResult
from tfcli.models.layouts.registry import METHODS, runs_packed


def test_doctor_tries_the_real_parts_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = app.run(["doctor", "--thorough", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "tfcli.doctor/1"
    parts = {part["name"]: part for part in found["parts"]}
    wrong = {name: part["detail"] for name, part in parts.items() if part["state"] != "ok"}
    assert not wrong
    assert (code, found["ok"]) == (0, True)
    extras = {"bitsandbytes", "datasets", "gguf", "onnx", "executorch"}
    assert {"torch", "torch.compile", "kernels", "accelerate", *extras} <= set(parts)
    assert found["not_tried"] == []
    assert found["arithmetic"] == explain()
    assert "0 GFLOP/s" not in parts["torch"]["detail"].split()
    assert found["versions"]["torch"].startswith("2.")
    assert found["devices"][0]["type"] == "cpu" and found["devices"][0]["threads"] >= 1
    assert found["disk"]["free_bytes"] > 0


def test_parts_that_compile_wait_until_they_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert app.run(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "not tried: torch.compile, kernels, executorch" in printed and "--thorough" in printed
    assert explain()["training"].split(",")[0] in printed


def test_the_methods_of_quantization_are_told_by_how_they_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = layouts()
    assert set(told) == {*METHODS, *PACKINGS}
    assert {name for name, way in told.items() if way == "packed"} == {
        name for name in told if runs_packed(name) and name != "mlx"
    }
    doctor.show(answer("ok", required=True).model_copy(update={"layouts": told}), Console())
    printed = " ".join(capsys.readouterr().out.split())
    packed, dense = printed.split("run packed", 1)[1].split("run dequantized", 1)
    assert "torchao" in packed and "aqlm" in packed
    assert "fbgemm_fp8" in dense and "torchao" not in dense


@pytest.mark.parametrize(
    ("operations", "said"),
    [(3.2e8, "320 MFLOP/s"), (4.56e9, "4.56 GFLOP/s"), (1.1e12, "1.1 TFLOP/s")],
)
def test_no_machine_multiplies_at_a_rate_of_nothing(operations: float, said: str) -> None:
    assert checks._rate(operations) == said


def answer(state: str, *, required: bool) -> DoctorResult:
    part = {
        "name": "torch [cpu]",
        "needed_for": "everything",
        "required": required,
        "state": state,
        "detail": "OSError: [Errno 2] libtorch.so",
        "fix": "pip install 'tfcli[bnb]'",
        "seconds": 0.1,
    }
    facts = {"versions": {"tfcli": "0"}, "system": "", "memory_bytes": 2**30, "devices": []}
    ok = state == "ok" or not required
    return DoctorResult.model_validate(
        {"ok": ok, "parts": [part], "disk": None, "memory_free_bytes": 2**29, **facts}
    )


@pytest.mark.parametrize(("required", "code"), [(True, 1), (False, 0)])
def test_the_exit_code_follows_the_required_parts(
    required: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "tfcli.doctor.examine.examine",
        lambda console, thorough: answer("broken", required=required),
    )
    assert app.run(["doctor"]) == code
    # Brackets in a package's name or an error are not terminal markup.
    printed = capsys.readouterr().out
    assert "torch [cpu]: pip install 'tfcli[bnb]'" in printed and "[Errno 2]" in printed


def test_the_table_says_what_a_gap_costs(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show(answer("missing", required=False), Console())
    printed = capsys.readouterr().out
    assert "needed for everything (optional)" in printed
    assert "every required part works" in printed
