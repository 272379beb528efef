"""`tfcli data` from the command line."""

import json

import pytest

from tfcli.commands.app import run
from tfcli.data.documents import read_documents


def test_python_docs_become_three_splits_without_a_shared_topic(tmp_path, capsys):
    out = tmp_path / "texts"
    assert run(["data", "python-docs", str(out), "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    ids = set()
    for name, size in result["splits"].items():
        texts = read_documents(out / f"{name}.jsonl")
        lines = (out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert size == {
            "documents": len(texts),
            "characters": sum(map(len, texts)),
            "bytes": sum(len(t.encode()) for t in texts),
        }
        assert len({json.loads(line)["id"] for line in lines} | ids) == len(ids) + len(lines)
        ids |= {json.loads(line)["id"] for line in lines}
    assert (result["schema"], result["documents"]) == ("tfcli.data/1", len(ids))
    total = sum(size["characters"] for size in result["splits"].values())
    assert 0.09 < result["splits"]["test"]["characters"] / total <= 0.1


def test_the_table_names_the_splits(tmp_path, capsys):
    source = tmp_path / "s.jsonl"
    source.write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(20)))
    assert run(["data", str(source), str(tmp_path / "out"), "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "validation" in shown and "20 paragraphs kept once" in shown


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--validation", "0.6", "--test", "0.6"], "must leave a share"),
        (["--test", "1.5"], "less than 1"),
        (["--seed", "-1"], "greater than or equal to 0"),
    ],
)
def test_wrong_shares_are_refused(tmp_path, capsys, flags, what):
    assert run(["data", "python-docs", str(tmp_path / "out"), *flags]) == 2
    assert what in capsys.readouterr().err


def test_a_source_that_is_not_there_is_refused(tmp_path, capsys):
    assert run(["data", "python-dox", str(tmp_path / "out")]) == 2
    assert "no such file or folder: python-dox" in capsys.readouterr().err
