"""The command line itself: what it costs to start, exit codes, and errors people can act on."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tfcli
from tfcli.commands.app import COMMANDS, main, run
from tfcli.errors import CODES

HEAVY = {
    "torch",
    "numpy",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "huggingface_hub",
}


def modules_after(*arguments: str) -> set[str]:
    """The top-level modules that a command line has imported when it ends."""
    code = (
        "import sys\nfrom tfcli.commands.app import run\n"
        f"code = run({list(arguments)!r})\n"
        "print('\\nMODULES', code, *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()[-1].split()
    assert words[:2] == ["MODULES", "0"], done.stdout + done.stderr
    return set(words[2:])


def test_help_imports_nothing_heavy():
    assert not modules_after("--help") & (HEAVY | {"pydantic", "yaml"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("recipe", "validate", "quickstart"),
        ("recipe", "schema"),
        ("recipe", "schema", "--json"),
        ("recipe", "list", "--json"),
        ("train", "--help"),
        ("quantize", "--help"),
    ],
)
def test_recipes_and_help_need_no_torch(arguments):
    assert not modules_after(*arguments) & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_has_help(name, capsys):
    assert run([*name.split(), "--help"]) == 0
    assert "Usage: tfcli" in capsys.readouterr().out


def test_a_word_of_a_verb_is_a_command_only_where_it_stands_first(capsys, tmp_path):
    assert run(["data", "preview", "--help"]) == 0
    assert "Usage: tfcli data preview RECIPE" in capsys.readouterr().out
    assert run(["data", "./preview", str(tmp_path / "out")]) == 2
    assert "preview" in capsys.readouterr().err
    assert run(["preview", "sft"]) == 2
    assert "unknown command 'preview'" in capsys.readouterr().err


def test_an_unknown_command_names_the_nearest(capsys):
    assert run(["quantise"]) == 2
    assert "did you mean 'quantize'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--steps", "many"],
        ["train", "--no-such-flag"],
        ["inspect", "a", "b", "c"],
        ["run"],
        ["train", "missing.yaml"],
        ["recipe", "show", "quickstrat"],
        ["train", "--set", "optimizer.lrr=1"],
    ],
)
def test_wrong_usage_exits_with_2_and_no_traceback(arguments, capsys):
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error:") and "Traceback" not in err


def test_an_error_is_one_json_object_when_asked(capsys):
    assert run(["inspect", "no/such/place/at/all", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert (error["schema"], error["exit_code"]) == ("tfcli.error/1", 2)
    assert "no/such/place/at/all" in json.dumps(error["error"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["quantise"], "usage.unknown_command"),
        (["train", "--no-such-flag"], "usage.unknown_option"),
        (["train", "--max-steps", "many"], "usage.wrong_value"),
        (["train", "--set", "optimizer.lrr=1"], "usage.several"),
        (["inspect", "a", "b"], "usage.too_many_words"),
        (["eval"], "usage.missing_key"),
        (["dequantize", "a"], "usage.missing_key"),
        (["quantize", "a", "b", "--method", "rtn", "--samples", "128"], "usage.no_effect"),
        (["generate", "a", "b", "--dtype", "int3"], "usage.wrong_value"),
        (["eval", "a", "--data", "none.txt"], "input.missing"),
        (["train", "missing.yaml"], "recipe.missing"),
        (["recipe", "show", "quickstrat"], "recipe.missing"),
        (["run"], "usage.missing_key"),
    ],
)
def test_every_error_has_a_stable_code_in_json(arguments, code, capsys):
    assert run([*arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == code
    assert {part["code"] for part in error["errors"]} <= CODES.keys()


def test_codes_that_the_sources_name_are_the_documented_ones():
    """A code that is written down anywhere stands in the table, and is used."""
    root = Path(tfcli.__file__).parent
    named = set()
    folders = (root, root / "models", root / "commands")  # rglob follows no links
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        # What the server answers has codes of the interfaces that it speaks.
        if path != root / "errors.py" and root / "serve" not in path.parents:
            named |= set(re.findall(r'code(?:: str)? ?=\s*"([a-z_.]+)"', path.read_text()))
            named |= set(re.findall(r'"((?:usage|input|recipe)\.[a-z_]+)"', path.read_text()))
    own = {"usage.refused", "usage.several", "work.failed"}  # of the classes themselves
    assert named - own <= CODES.keys()
    assert CODES.keys() <= named | own


def test_debug_shows_the_traceback(capsys):
    run(["inspect", "no/such/place/at/all", "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tfcli 0.")


def test_the_module_form_works_for_launchers():
    done = subprocess.run(
        [sys.executable, "-m", "tfcli.commands", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout[:6]) == (0, "tfcli ")


@pytest.mark.parametrize(
    ("own", "seen"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_share_the_cores_unless_the_user_says_otherwise(own, seen, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handlers of the tests stay
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")  # remembers the value, to put it back after the test
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == seen


LEAVES = [
    *(name.split() for name in COMMANDS if name not in ("recipe", "hub")),
    *(["recipe", name] for name in ("list", "show", "validate", "schema")),
    *(["hub", name] for name in ("ls", "download", "upload")),
]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_takes_the_flags_that_every_command_has(words, capsys):
    assert run([*words, "--help"]) == 0
    page = capsys.readouterr().out
    assert all(flag in page for flag in ("--json", "--quiet, -q", "--verbose, -v", "--debug"))


def complete(*words: str, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    """What the shell is told for a line whose last word is typed in part."""
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    asked |= {"_TYPER_COMPLETE_ARGS": " ".join(words), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = (
        "import atexit, sys\nfrom tfcli.commands.app import main\n"
        "seen = lambda: {name.split('.')[0] for name in sys.modules}\n"
        "atexit.register(lambda: print('MODULES', *seen(), file=sys.stderr))\nmain([])"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked, "_TFCLI_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tfcli conv", ["convert"]),
        ("tfcli quantize --met", ["--method"]),
        ("tfcli quantize --method g", ["gptq"]),
        ("tfcli recipe val", ["validate"]),
        ("tfcli run --on", ["--only"]),
        ("tfcli nonsense --x", []),
    ],
)
def test_the_shell_completes_commands_flags_and_choices_without_torch(line, found):
    done = complete(*line.split(" "))
    assert (done.returncode, done.stdout.split()) == (0, found)
    assert not set(done.stderr.split()) & HEAVY


@pytest.mark.parametrize(("shell", "sign"), [("zsh", "_arguments"), ("fish", "convert\t")])
def test_other_shells_are_told_too(shell, sign):
    done = complete("tfcli", "conv", shell=shell)
    assert sign in done.stdout and "convert" in done.stdout


def test_completion_runs_nothing_of_a_recipe_that_is_named(tmp_path):
    (tmp_path / "family.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"command: eval\nfamily_file: {tmp_path}/family.py\n")
    assert "--dtype" in complete("tfcli", "eval", str(recipe), "--dt").stdout
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("starter", ["script", "module"])
def test_files_of_the_current_folder_stand_in_for_no_module(starter, tmp_path):
    """Neither here nor in child processes, whatever the folder holds."""
    for name in ("torch", "models", "recipes", "commands", "yaml", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the folder ran')")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "quickstart").mkdir()
    ours = str(Path(tfcli.__file__).parent.parent)
    code = (
        f"import sys\nsys.path.append({ours!r})\nimport subprocess\n"
        "from tfcli.commands import app\n"
        "app.run = lambda words: subprocess.call([sys.executable, '-c', 'import yaml, numpy'])\n"
        "app.main([])"
    )
    child = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True)
    assert (child.returncode, child.stderr) == (0, b"")
    script = [str(Path(sys.executable).parent / "tfcli")]
    start = script if starter == "script" else [sys.executable, "-P", "-m", "tfcli.commands"]
    done = subprocess.run(
        [*start, "recipe", "validate", "quickstart"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "valid (data" in done.stdout


def test_python_m_leaves_the_current_folder_as_soon_as_it_is_ours(tmp_path):
    """`torchrun -m tfcli.commands` has the folder on its path: torch is not taken from there."""
    (tmp_path / "torch.py").write_text("raise SystemExit('a file of the folder ran')")
    code = (
        "from tfcli.commands import app\n"
        "app.run = lambda words: bool(__import__('torch').nn) - 1\napp.main([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
