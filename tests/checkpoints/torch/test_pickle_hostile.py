"""Pickles that attack, lie or are broken: an error that says so within bounds, and no effect."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints.torch.hostile_pickles import (
    called,
    corpus,
    legacy,
    table,
    tensor,
    text,
    valid_legacy,
    valid_zip,
    zipped,
)
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import WorkError

# Opens each file in a process of its own, and says what became of it. One that does not come to an
# end is killed after 10 s of its processor.
OPENER = """
import json, os, resource, sys
from pathlib import Path
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import WorkError

for path in sorted(Path(sys.argv[1]).iterdir()):
    reading, writing = os.pipe()
    if not os.fork():
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            open_tensors(path)
            found = {"what": "opened"}
        except WorkError as error:
            found = {"what": error.what, "where": error.where}
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found["torch"] = "torch" in sys.modules
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        print(pipe.read() or json.dumps({"what": "killed"}))
    os.wait()
"""


def test_every_file_of_the_corpus_is_refused_by_name(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "files", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    expected = {}
    for number, (name, content, says) in enumerate(corpus("touch canary")):
        path = folder / f"{number:03d}.bin"
        path.write_bytes(content)
        expected[path] = (name, says)
    assert len(expected) > 150
    run = subprocess.run(
        [sys.executable, "-c", OPENER, str(folder)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = {}
    for (path, (name, says)), line in zip(expected.items(), run.stdout.splitlines(), strict=True):
        found = json.loads(line)
        if says not in found["what"] or found["where"] != str(path):
            wrong[name] = f"should say {says!r}: {found}"
        elif found["peak"] > 200_000_000 or found["torch"]:
            wrong[name] = f"took too much: {found}"
        elif "\x1b" in found["what"] or len(found["what"]) > 400:
            wrong[name] = f"is not for people: {found}"
    assert wrong == {}
    assert list(elsewhere.iterdir()) == []


def test_the_corpus_bites(tmp_path: Path) -> None:
    """Python's own loader runs what is in it."""
    attack = called("os.system", text("touch canary"), held=text("x"))
    attack = attack.replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cbuiltins\nprint\n")
    (tmp_path / "attack").write_bytes(attack)
    code = f"import pickle; pickle.load(open({str(tmp_path / 'attack')!r}, 'rb'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "canary").exists()


def test_what_the_corpus_is_made_of_is_right_when_nothing_is_wrong(tmp_path: Path) -> None:
    for content in (zipped(table(tensor())), legacy()):
        (tmp_path / "x").write_bytes(content)
        assert open_tensors(tmp_path / "x")["w"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("whole", [valid_zip(), valid_legacy()], ids=["zip", "legacy"])
def test_a_file_that_is_cut_off_anywhere(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(whole)
    assert open_tensors(path).names == ("w",)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WorkError) as error:
            open_tensors(path)
        assert error.value.where == str(path)


def test_what_weights_do_not_need_is_told_apart_from_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(zipped(called("os.system", text("x"))))
    with pytest.raises(WorkError) as error:
        open_tensors(path)
    assert "unless you trust its source" in str(error.value.fix)
    path.write_bytes(zipped(table(tensor())[:-2]))
    with pytest.raises(WorkError) as error:
        open_tensors(path)
    assert "damaged" in str(error.value.fix)


def test_a_link_that_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(zipped(table(tensor())))
    for name in ("pytorch_model.bin", "pytorch_model.bin.index.json", "other.pt"):
        (folder / name).symlink_to(tmp_path / "secret")
        with pytest.raises(WorkError, match="is a link to a place outside"):
            open_tensors(folder)
        (folder / name).unlink()


def test_a_pickle_of_plain_data_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps({"w": [1.0]}, 4))
    with pytest.raises(WorkError, match=r"torch\.save did not write"):
        open_tensors(tmp_path / "x.bin")
