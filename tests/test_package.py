"""What `pip install .` ships: real files under tfcli/, nothing beside it, and the recipes."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what git tracks, so that no build folder is left behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.split(b"\0")  # fmt: skip
    present = b"\0".join(name for name in names if name and (ROOT / name.decode()).exists())
    pack = ["tar", "--null", "--files-from=-", "--create"]
    archive = subprocess.run(pack, cwd=ROOT, input=present, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract"], cwd=source, input=archive, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", out, source], check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_files_under_tfcli_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"tfcli", "tfcli-0.1.0.dist-info"}
    for name in (
        "models/text/llama.py",
        "commands/app.py",
        "recipes/quickstart.yaml",
        "py.typed",
        "models/kernels/dense.cpp",
        "models/kernels/vectors.h",
    ):
        assert f"tfcli/{name}" in names


def test_an_installed_tfcli_runs_and_knows_its_recipes(wheel, tmp_path):
    home = tmp_path / "empty"
    venv.create(home, with_pip=False)
    packages = next(home.glob("lib/python*/site-packages"))
    # The dependencies come from the environment of the tests; tfcli from the wheel alone, since
    # the hooks of an editable install are not read through a path file.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages]
    subprocess.run([*install, wheel], check=True)

    def tfcli(*arguments: str) -> str:
        command = [home / "bin" / "python", "-m", "tfcli.commands", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    assert "quantize" in tfcli("--help")
    assert '"quickstart"' in tfcli("recipe", "list", "--json")
    where = "import tfcli.models.errors as e; print(e.__file__)"
    done = subprocess.run([home / "bin" / "python", "-c", where], cwd=tmp_path, capture_output=True)
    assert done.stdout.decode().startswith(str(home))
