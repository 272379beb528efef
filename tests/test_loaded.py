"""The public interface for Python: the page's own lines, run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tfcli
from tfcli.errors import UsageError
from tfcli.recipe.verbs import VERBS

PAGE = Path(__file__).parents[1] / "docs/python.md"


def lines_of_the_page() -> str:
    text = PAGE.read_text()
    shown = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(shown)


def test_the_lines_of_the_page_run_on_any_model(tiny_llama: Path, capsys) -> None:
    lines = lines_of_the_page().replace("runs/quickstart/train", str(tiny_llama))
    found: dict[str, object] = {}
    exec(lines, found)
    ids, vectors = found["ids"], found["vectors"]
    assert capsys.readouterr().out.startswith(f"{len(ids)} ")
    assert vectors.shape == (2, 64) and vectors.dtype == torch.float32


def test_a_text_and_a_vector_are_those_of_the_commands(tiny_llama: Path, tmp_path: Path) -> None:
    from tfcli.console import Console
    from tfcli.generation.spec import GenerateSpec
    from tfcli.recipe.execute import execute

    spec = GenerateSpec(model=str(tiny_llama), prompt="A class", max_new_tokens=8)
    wanted = execute(spec, Console.silent()).result.text
    loaded = tfcli.load(tiny_llama)
    assert loaded.generate("A class", max_new_tokens=8) == wanted
    drafted = {"assistant_model": str(tiny_llama), "max_new_tokens": 8}
    assert loaded.generate("A class", **drafted) == wanted
    (dot,) = loaded.tokenizer.encode(".", add_special_tokens=False)
    dots = loaded.generate("A class", max_new_tokens=8, allowed=lambda number, ids: [dot])
    assert dots == "........"

    model = tfcli.load(tiny_llama, task="embedding")
    alone = torch.cat([model.embed([text]) for text in ("a class", "a much longer text of words")])
    together = model.embed(["a class", "a much longer text of words"])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(UsageError, match="loaded as causal-lm"):
        tfcli.load(tiny_llama).embed(["a"])


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, tfcli; assert tfcli.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_imports_the_compiler_before_it_compiles(verb: str) -> None:
    """It takes a second, and hides behind a decorator, a default or a mask's class."""
    code = f"import sys, {VERBS[verb].package}.run; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
