"""Answers in contexts beside those of transformers 4.46.3's pipeline, and in tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tfcli
from tests.predict.golden.make import ASKED, CONTEXT, QUESTIONS, models
from tests.predict.support import close, make_model
from tests.tokenizers.folders import make
from tfcli.errors import WorkError
from tfcli.files import write_json

GOLDEN = json.loads((Path(__file__).parent / "golden/question_answering.json").read_text())
TABLE = {
    "actors": ["brad pitt", "leonardo di caprio", "george clooney"],
    "number of movies": ["87", "53", "69"],
}
QUERIES = ["how many movies?", "who?"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    models(folder)
    return folder / "question-answering"


@pytest.mark.parametrize("number", range(len(ASKED)))
def test_answers_are_those_of_the_pipeline(model, number) -> None:
    ask = tfcli.pipeline("question-answering", model, batch_size=4, **ASKED[number])
    rows = [{"question": question, "context": CONTEXT} for question in QUESTIONS]
    assert close(ask(rows), GOLDEN[number])


def test_a_long_question_is_cut_and_an_empty_one_is_refused(model) -> None:
    ask = tfcli.pipeline("question-answering", model, max_question_len=4)
    assert ask(question="What binds a name?", context=CONTEXT) == ask(
        question="What binds a name? And which?", context=CONTEXT
    )
    with pytest.raises(WorkError, match="the question is empty"):
        ask(question="", context=CONTEXT)
    with pytest.raises(WorkError, match="shares 35 with the next"):
        tfcli.pipeline("question-answering", model, max_seq_len=36, doc_stride=35)(
            question="What?", context=CONTEXT
        )


@pytest.fixture(scope="module", params=[0, 4])
def tapas(tmp_path_factory, request) -> Path:
    """A model without functions of cells, and one with four."""
    words = make(tmp_path_factory.mktemp("tapas"), "bert")
    write_json(words / "config.json", {"model_type": "tapas"})
    functions = {"num_aggregation_labels": request.param}
    if request.param:
        names = ("NONE", "SUM", "AVERAGE", "COUNT")
        functions["aggregation_labels"] = {str(n): name for n, name in enumerate(names)}
        functions["no_aggregation_label_index"] = 0
    folder = tmp_path_factory.mktemp("model") / "model"
    return make_model(
        folder,
        words,
        "table-question-answering",
        model_type="tapas",
        vocab_size=400,
        max_position_embeddings=128,
        type_vocab_sizes=[3, 256, 256, 2, 256, 256, 10],
        **functions,
    )


@pytest.mark.parametrize("sequential", [False, True])
def test_cells_are_those_of_transformers(tapas, sequential) -> None:
    from transformers import TapasTokenizer, pipeline

    theirs = pipeline(
        "table-question-answering", str(tapas), tokenizer=TapasTokenizer.from_pretrained(tapas)
    )
    wanted = theirs(table=TABLE, query=QUERIES, sequential=sequential)
    ask = tfcli.pipeline("table-question-answering", tapas, sequential=sequential)
    found = ask(table=TABLE, query=QUERIES)
    assert close(found, wanted)
    assert any(each["cells"] for each in found)


def test_tables_in_other_forms(tapas, tmp_path) -> None:
    ask = tfcli.pipeline("table-question-answering", tapas)
    rows = [list(TABLE), *map(list, zip(*TABLE.values(), strict=True))]
    wanted = ask(table=TABLE, query=QUERIES[0])
    (tmp_path / "table.csv").write_text("\n".join(",".join(row) for row in rows))
    assert ask(table=rows, query=QUERIES[0]) == wanted
    assert ask(table=str(tmp_path / "table.csv"), query=QUERIES[0]) == wanted
    with pytest.raises(WorkError, match="different lengths"):
        ask(table={"a": ["1"], "b": []}, query="?")
    with pytest.raises(WorkError, match="no rows"):
        ask(table={"a": []}, query="?")
