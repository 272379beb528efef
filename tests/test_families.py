"""Families that a user registers: the documented example, end to end, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.commands.app import run
from tfcli.errors import ModelError, UsageError
from tfcli.families import load_family_file
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.models.registry import FAMILIES, read_config

EXAMPLE = Path(__file__).parents[1] / "docs/examples/own_family.py"


@pytest.fixture(autouse=True)
def forget():
    """Forgets the families of a user's own: at the end, and when it is called."""
    known = dict(FAMILIES)

    def forget() -> None:
        FAMILIES.clear()
        FAMILIES.update(known)
        for name in [name for name in sys.modules if name.startswith("tfcli_family_")]:
            del sys.modules[name]

    yield forget
    forget()


@pytest.fixture
def checkpoint(tmp_path, tiny_tokenizer, forget):
    """A checkpoint of the example's family, with a tokenizer."""
    load_family_file(str(EXAMPLE))
    config = config_from_recipe(
        {
            "model_type": "parallel-llama",
            "vocab_size": 320,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "residual_scale": 0.5,
        }
    )
    folder = tmp_path / "model"
    save_model(initialize(build(config)), folder, tokenizer_from=tiny_tokenizer)
    forget()
    return folder


def test_the_example_works_with_the_commands(checkpoint, tmp_path, capsys):
    family = ["--family-file", str(EXAMPLE)]
    assert run(["inspect", str(checkpoint), "--json", *family]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "causal-lm"
    generate = ["generate", str(checkpoint), "a", "--max-new-tokens", "3"]
    assert run([*generate, *family]) == 0
    half = str(tmp_path / "half")
    assert run(["convert", str(checkpoint), half, "--dtype", "bf16", *family]) == 0
    assert load_model(half).dtype == torch.bfloat16


@pytest.fixture
def recipe(tmp_path, tiny_tokenizer, text_file):
    """A recipe that trains a new model of the example's family."""

    def make(family_file, **changes):
        config = {
            "model_type": "parallel-llama",
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            **changes,
        }
        keys = {"tokenizer": str(tiny_tokenizer), "data": str(text_file), "max_steps": 1}
        keys |= {"sequence_length": 8, "batch_size": 1, "output": str(tmp_path / "trained")}
        if family_file is not None:
            keys["family_file"] = str(family_file)
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps({"command": "train", "config": config, **keys}))
        return str(path)

    return make


def test_a_new_model_of_an_own_family_is_trained_wherever_the_file_is_named(recipe, tmp_path):
    out = tmp_path / "trained"
    assert run(["train", recipe(EXAMPLE), "--quiet"]) == 0
    assert json.loads((out / "config.json").read_text())["model_type"] == "parallel-llama"
    shutil.rmtree(out)
    assert run(["train", recipe(None), "--family-file", str(EXAMPLE), "--quiet"]) == 0
    assert (out / "model.safetensors").exists()


def test_the_config_of_an_own_family_is_checked_before_the_work(recipe, tmp_path, capsys):
    assert run(["train", recipe(EXAMPLE, residual_scale=0.0)]) == 2
    assert "residual_scale must be above 0" in capsys.readouterr().err
    assert run(["train", recipe(EXAMPLE, residual_scal=1.0)]) == 2
    assert "did you mean 'residual_scale'" in capsys.readouterr().err
    assert not list(tmp_path.glob("*trained*"))


@pytest.mark.parametrize("form", ["one command", "steps"])
def test_looking_at_a_recipe_runs_nothing_of_it(recipe, tmp_path, capsys, form):
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nFAMILIES = []\n")
    path = Path(recipe(tmp_path / "mine.py"))
    if form == "steps":
        step = json.loads(path.read_text())
        del step["output"]
        path.write_text(json.dumps({"steps": {"train": step}}))
    assert run(["recipe", "show", str(path)]) == 0
    assert run(["recipe", "show", str(path), "--json"]) == 0
    capsys.readouterr()
    assert run(["recipe", "validate", str(path)]) == 0
    said = capsys.readouterr().out
    assert "train: has a family_file, which validating does not run" in said
    assert run(["recipe", "validate", str(path), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["family_files"]
    assert files == {"train": str(tmp_path / "mine.py")}
    assert run(["run", str(path), "--dry-run", "--json"]) == 0
    assert "train: has a family_file, which is run with the step" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_looking_at_a_checkpoint_runs_what_the_user_names_and_nothing_else(tmp_path, checkpoint):
    mine = tmp_path / "mine.py"
    mine.write_text(f"{EXAMPLE.read_text()}\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    look = {"path": str(checkpoint), "family_file": str(mine)}
    recipe = tmp_path / "look.json"
    recipe.write_text(json.dumps(look))
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"source": look["path"], "dry_run": True, "family_file": str(mine)}))
    run(["convert", str(plan)])
    assert run(["inspect", str(recipe)]) == 0
    assert not (tmp_path / "ran").exists()
    assert run(["inspect", str(recipe), "--allow-code"]) == 0
    assert (tmp_path / "ran").exists()


def test_with_a_word_validating_checks_the_config_of_an_own_family(recipe, forget, capsys):
    right, wrong = recipe(EXAMPLE), {"residual_scal": 1.0}
    assert run(["recipe", "validate", right, "--allow-code"]) == 0
    assert "train: has a family_file, which was run" in capsys.readouterr().out
    forget()
    assert run(["recipe", "validate", recipe(EXAMPLE, **wrong)]) == 0
    assert run(["recipe", "validate", recipe(EXAMPLE, **wrong), "--allow-code"]) == 2
    assert "did you mean 'residual_scale'" in capsys.readouterr().err


def test_its_rule_holds_bidirectional(checkpoint):
    assert "model.tok_embeddings.weight" in open_tensors(checkpoint)
    load_family_file(str(EXAMPLE))
    model = load_model(checkpoint)
    stored = open_tensors(checkpoint)["model.tok_embeddings.weight"]
    assert torch.equal(model.model.embed_tokens.weight, stored)


def test_without_the_file_the_family_is_unknown(checkpoint, capsys):
    assert run(["generate", str(checkpoint), "a"]) != 0
    assert "unknown model_type 'parallel-llama'" in capsys.readouterr().err


def test_its_config_refuses_what_it_says(checkpoint):
    load_family_file(str(EXAMPLE))
    with pytest.raises(ModelError, match="residual_scale must be above 0"):
        config_from_recipe({"model_type": "parallel-llama", "residual_scale": 0.0})


def test_code_of_a_checkpoint_never_runs(tmp_path):
    (tmp_path / "modeling_evil.py").write_text("raise SystemExit('it ran')")
    content = {"model_type": "evil", "auto_map": {"AutoModel": "modeling_evil.EvilModel"}}
    with pytest.raises(ModelError, match=r"never run") as caught:
        read_config(content)
    assert "--family-file" in caught.value.fix


def test_a_family_that_is_built_in_does_without_the_code():
    config = read_config({"model_type": "llama", "auto_map": {"AutoModel": "modeling_x.X"}})
    assert config.to_dict()["auto_map"] == {"AutoModel": "modeling_x.X"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no list FAMILIES"),
        ("FAMILIES = []", "no list FAMILIES"),
        ("FAMILIES = [3]", "only a Family can be registered, not int"),
        ("x = (", "SyntaxError"),
        ("import no_such_module_here", "no_such_module_here"),
        (EXAMPLE.read_text().replace("parallel-llama", "llama"), "there is a family 'llama'"),
    ],
    ids=["nothing", "empty", "no family", "syntax", "import", "a name that is taken"],
)
def test_files_that_register_nothing(tmp_path, text, message):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises((UsageError, ModelError), match=message):
        load_family_file(str(file))


@pytest.mark.parametrize("missing", ["{here}/no.py", "~nobody-of-this-name/no.py"])
def test_a_missing_file_is_refused_before_the_work(tmp_path, capsys, missing):
    missing = missing.format(here=tmp_path)
    assert run(["inspect", "anything", "--family-file", missing]) == 2
    assert "there is no file" in capsys.readouterr().err


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed distribution with an entry point."""
    site = tmp_path / "site"
    info = site / "own_family-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(EXAMPLE, site / "own_family_package.py")
    with (site / "own_family_package.py").open("a") as file:
        file.write("\nPARALLEL = FAMILIES[0]\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-family\nVersion: 1.0\n")
    entry = "[tfcli.families]\n{} = own_family_package:PARALLEL\n"
    monkeypatch.syspath_prepend(site)
    yield lambda name: (info / "entry_points.txt").write_text(entry.format(name))
    sys.modules.pop("own_family_package", None)


def test_an_installed_package_offers_a_family(package, checkpoint):
    package("parallel-llama")
    assert "own_family_package" not in sys.modules
    assert load_model(checkpoint).config.residual_scale == 0.5


def test_an_entry_point_under_another_name_is_refused(package):
    package("something-else")
    with pytest.raises(ModelError, match="gives the family 'parallel-llama'"):
        read_config({"model_type": "something-else"})
