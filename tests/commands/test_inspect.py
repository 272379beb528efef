"""`tfcli inspect` and `tfcli diff` on a GGUF file, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints.gguf.folders import write_folder
from tfcli.commands.app import run


def test_a_gguf_file_and_what_it_was_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    source, out = tmp_path / "in", tmp_path / "out"
    write_folder(source, "qwen2")
    assert run(["convert", str(source), str(out), "--to", "gguf", "--dtype", "q8_0"]) == 0
    file = str(next(out.glob("*.gguf")))
    capsys.readouterr()
    assert run(["inspect", file]) == 0
    printed = capsys.readouterr().out
    for fact in ("container", "qwen2 (Qwen2ForCausalLM)", "16 Q8_0, 11 F32", "128 tokens", "Q8_0"):
        assert fact in printed
    assert run(["diff", str(source), file]) == 0
    printed = capsys.readouterr().out
    assert "hf, gguf" in printed
    assert "F32, Q8_0 dequantized in B" in printed
    assert run(["inspect", str(source), "--config-from", str(source)]) == 2
    assert "brings its own config" in capsys.readouterr().err
