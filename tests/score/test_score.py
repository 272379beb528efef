"""`tfcli score`: figures beside the libraries' own, sentences, rows, and what is refused."""

import json
from pathlib import Path

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from tfcli.commands.app import run
from tfcli.score.romanian import without_diacritics
from tfcli.score.sentences import sentence_lines

SAID = ["The cat sat on a mat. It was old.", "A dog ran.", ""]
RIGHT = ["It was an old cat. The cat sat on the mat.", "The dog ran away.", "Nothing."]


@pytest.fixture
def score(tmp_path, capsys, monkeypatch):
    """Writes predictions and references as lines and scores them; gives the JSON."""
    monkeypatch.chdir(tmp_path)

    def call(*flags: str, said=SAID, right=RIGHT, code: int = 0) -> dict:
        Path("said.txt").write_text("".join(f"{text}\n" for text in said))
        Path("test.target").write_text("".join(f"{text}\n" for text in right))
        capsys.readouterr()
        assert run(["score", "said.txt", "test.target", *flags, "--json", "--quiet"]) == code
        return json.loads(capsys.readouterr().out)

    return call


def values(result: dict) -> dict[str, float]:
    return {each["name"]: each["value"] for each in result["measures"]}


def metrics(*names: str) -> list[str]:
    return [word for name in names for word in ("--metrics", name)]


def rouge(name: str, said: list[str], right: list[str]) -> float:
    scorer = RougeScorer([name], use_stemmer=True)
    scores = [
        scorer.score(one, other)[name].fmeasure for one, other in zip(right, said, strict=True)
    ]
    return sum(scores) / len(scores)


def test_figures_are_the_libraries_and_the_same_each_time(score):
    result = score(*metrics("bleu", "rouge1", "rougeL", "chrf"))
    errors = {each["name"]: each["standard_error"] for each in result["measures"]}
    assert errors["bleu"] is None and errors["rouge1"] > 0
    assert list(values(result)) == ["bleu", "rouge1", "rougeL", "chrf"]
    assert values(result)["bleu"] == sacrebleu.corpus_bleu(SAID, [RIGHT]).score
    assert values(result)["chrf"] == sacrebleu.corpus_chrf(SAID, [RIGHT]).score
    assert values(result)["rougeL"] == pytest.approx(rouge("rougeL", SAID, RIGHT))
    assert (result["conditions"]["samples"], result["empty"]) == (3, 1)
    assert score(*metrics("bleu", "rouge1", "rougeL", "chrf")) == result


def test_sentences_get_lines_of_their_own_or_not(score):
    with_lines = values(score(*metrics("rougeLsum")))["rougeLsum"]
    as_it_is = values(score(*metrics("rougeLsum"), "--no-sentence-lines"))["rougeLsum"]
    cut_said = ["The cat sat on a mat.\nIt was old.", *SAID[1:]]
    cut_right = ["It was an old cat.\nThe cat sat on the mat.", *RIGHT[1:]]
    assert with_lines == pytest.approx(rouge("rougeLsum", cut_said, cut_right))
    assert as_it_is == pytest.approx(rouge("rougeLsum", SAID, RIGHT))
    assert with_lines > as_it_is


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("One. Two! Three? 4 is last.", ["One.", "Two!", "Three?", "4 is last."]),
        ('He said "Go." Then he went.', ['He said "Go."', "Then he went."]),
        ("(It is.) «Nu.» Şi", ["(It is.)", "«Nu.»", "Şi"]),
        ("3.5 of 7.2 e.g. this... and that", ["3.5 of 7.2 e.g. this... and that"]),
        ("一。二！三", ["一。", "二！", "三"]),  # noqa: RUF001 - full-width marks
        ("", [""]),
    ],
)
def test_a_sentence_ends_where_marks_say_so(text, lines):
    assert sentence_lines(text).split("\n") == lines


def test_rows_have_columns_and_the_folder_has_the_scores_of_each_text(score, tmp_path):
    Path("said.jsonl").write_text("".join(json.dumps({"prediction": text}) + "\n" for text in SAID))
    Path("rows.jsonl").write_text("".join(json.dumps({"target": text}) + "\n" for text in RIGHT))
    words = ["score", "said.jsonl", "rows.jsonl", *metrics("rouge1", "bleu"), "-o", "out"]
    assert run([*words, "--quiet"]) == 0
    record = json.loads(Path("out/run.json").read_text())["result"]
    assert values(record) == values(score(*metrics("rouge1", "bleu")))
    rows = [json.loads(line) for line in Path("out/samples.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert {tuple(row["scores"]) for row in rows} == {("rouge1",)}  # BLEU is of all texts together
    mean = sum(row["scores"]["rouge1"] for row in rows) / 3
    assert mean == pytest.approx(values(record)["rouge1"])


def test_romanian_letters_are_plain_ones():
    assert without_diacritics("Ştiinţă şi învăţământ, ŢARĂ, Îș") == (
        "Stiinta si invatamant, TARA, Is"
    )


def test_romanian_texts_are_compared_as_in_wmt16(score):
    pytest.importorskip("sacremoses")
    result = score(
        "--normalize",
        "romanian",
        said=["„Aceasta este o ţară”, a spus el…", "a b c d"],
        right=['"Aceasta este o țară", a spus el...', "a b c d"],
    )
    assert values(result)["bleu"] == pytest.approx(100)
    words = ['" Aceasta este o tara " , a spus el ...', "a b c d"]
    other = score("--normalize", "romanian", said=["Aceasta este o ţară", "a b"], right=words)
    expected = sacrebleu.corpus_bleu(
        ["Aceasta este o tara", "a b"], [words], tokenize="none", smooth_method="none", force=True
    )
    assert values(other)["bleu"] == pytest.approx(expected.score)


def test_without_the_package_romanian_is_refused(score, monkeypatch):
    monkeypatch.setattr("tfcli.score.romanian.find_spec", lambda name: None)
    error = score("--normalize", "romanian", code=2)["error"]
    assert "sacremoses" in error["what"] and error["fix"] == "pip install 'tfcli[metrics]'"


@pytest.mark.parametrize(
    ("flags", "texts", "code", "what"),
    [
        (metrics("blue"), {}, 2, "'blue' is no metric of texts (did you mean 'bleu'?"),
        (["--no-sentence-lines"], {}, 2, "sentence_lines has no effect without rougeLsum"),
        ([], {"said": ["one"]}, 1, "there are 1 predictions and 3 references"),
        ([], {"said": []}, 1, "there is no text in it"),
    ],
)
def test_what_does_not_fit_is_refused(score, flags, texts, code, what):
    assert what in score(*flags, **texts, code=code)["error"]["what"]
