"""The command line itself: what it costs to start, exit codes, and errors people can act on."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tfcli.commands.app import COMMANDS, main, run

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
        ("recipe", "list", "--json"),
        ("train", "--help"),
        ("quantize", "--help"),
    ],
)
def test_recipes_and_help_need_no_torch(arguments):
    assert not modules_after(*arguments) & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_has_help(name, capsys):
    assert run([name, "--help"]) == 0
    assert "Usage: tfcli" in capsys.readouterr().out


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
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # remembers the value, to put it back after the test
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == seen
