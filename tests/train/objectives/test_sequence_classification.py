"""Labels of whole texts: losses beside transformers, labels of the data, what is refused."""

from __future__ import annotations

import csv
import json
import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.train.conftest import WORDS
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import BART, BERT, LLAMA, fed, made, parts, require_same, theirs
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.train.log import read_metrics

AUTO = AutoModelForSequenceClassification


def rows(kind: str, count: int = 8) -> list[dict]:
    """Texts in which the cat and the dog say what the label is."""
    chance, found = random.Random(0), []
    others = [word for word in WORDS if word not in ("cat", "dog")]
    for number in range(count):
        cat, dog = number % 2 == 1, number % 3 == 1
        words = chance.choices(others, k=2 + number % 4) + ["cat"] * cat + ["dog"] * dog
        chance.shuffle(words)
        label = {
            "single": ["none", "one", "two"][cat + dog],
            "multi": [name for name, there in (("cat", cat), ("dog", dog)) if there],
            "number": 0.5 * cat - dog,
        }[kind]
        found.append({"text": " ".join(words), "label": label})
    return found


@pytest.mark.parametrize("config", [BERT, LLAMA], ids=lambda config: config["model_type"])
@pytest.mark.parametrize("kind", ["single", "multi", "number"])
def test_loss_and_gradients_are_those_of_transformers(spec_of, tmp_path, kind, config):
    objective, examples, config = fed(spec_of("sequence-classification", rows(kind), config=config))
    batch = objective.collate(examples.train.items)
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AUTO)
    wanted = reference(**batch).loss
    loss = objective.loss(model, batch) / objective.count(batch)
    assert objective.count(batch) == 8
    require_same(loss, model, wanted, reference)


def test_an_encoder_decoder_is_a_classifier_too(spec_of, pieces, tmp_path):
    keys = {"config": BART, "tokenizer": pieces}
    objective, examples, config = fed(spec_of("sequence-classification", rows("single"), **keys))
    batch = objective.collate(examples.train.items)
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AUTO)
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, reference(**batch).loss, reference)


def test_pairs_of_texts_are_told_apart_as_transformers_does(spec_of, tmp_path, words):
    from transformers import AutoTokenizer

    pairs = [
        {"a": row["text"], "b": "the old cat", "label": row["label"]} for row in rows("single")
    ]
    columns = {"text": "a", "text_pair": "b"}
    objective, examples, _ = fed(spec_of("sequence-classification", pairs, columns=columns))
    batch = objective.collate(examples.train.items)
    texts = ([row["a"] for row in pairs], [row["b"] for row in pairs])
    wanted = AutoTokenizer.from_pretrained(words)(*texts, padding=True, return_tensors="pt")
    for name, tensor in wanted.items():
        assert torch.equal(batch[name], tensor), name


@pytest.mark.parametrize("kind", ["single", "multi", "number"])
def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path, kind):
    objective, examples, config = fed(spec_of("sequence-classification", rows(kind)))
    parts(objective, config, examples.train.items, tmp_path)


def test_a_small_task_is_learned_and_transformers_loads_what_is_written(spec_of, train, rows_file):
    task = rows("single", 40)
    spec = spec_of(
        "sequence-classification",
        task,
        validation=rows_file(rows("single", 20), "held.jsonl"),
        max_steps=60,
        optimizer={"lr": 1e-2},
    )
    result, folder = train(spec)
    losses = [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]
    assert result.train_loss < losses[0] / 3 and result.validation_loss < 0.5
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "none", "1": "one", "2": "two"}
    assert config["label2id"] == {"none": 0, "one": 1, "two": 2}
    assert config["problem_type"] == "single_label_classification"
    assert not (folder / "generation_config.json").exists()
    model = AUTO.from_pretrained(folder).eval()
    assert model.config.num_labels == 3
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    ours = load_model(folder, task=None)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-6)


def test_a_pretrained_body_gets_a_new_head_and_a_classifier_keeps_its_labels(
    spec_of, train, tiny_llama, tmp_path, rows_file
):
    start = {"config": None, "tokenizer": None, "max_steps": 1}
    spec = spec_of("sequence-classification", rows("single"), model=str(tiny_llama), **start)
    _, folder = train(spec)
    folder.rename(first := tmp_path / "first")
    assert json.loads((first / "config.json").read_text())["id2label"]["2"] == "two"
    few = [row for row in rows("single", 20) if row["label"] != "one"]
    train(spec_of("sequence-classification", few, model=str(first), **start))
    assert len(json.loads((folder / "config.json").read_text())["id2label"]) == 3
    wrong = [*few, {"text": "a", "label": "three"}]
    folder.rename(tmp_path / "second")
    spec = spec_of("sequence-classification", wrong, model=str(first), **start)
    problem = refused(lambda: train(spec))
    assert problem.where.endswith(f"rows.jsonl:{len(wrong)}") and "'three'" in problem.what


def labels_of(spec) -> dict[str, str]:
    return fed(spec)[2].id2label


def test_labels_are_in_the_order_of_numbers_or_of_the_alphabet(spec_of):
    def found(*labels):
        return [{"text": "a", "label": label} for label in labels]

    def names(*labels, **changes):
        return labels_of(spec_of("sequence-classification", found(*labels), **changes))

    assert names(10, 9, -1) == {"0": "-1", "1": "9", "2": "10"}
    assert names("b", "a") == {"0": "a", "1": "b"}
    assert names("a", 1, "1") == {"0": "1", "1": "a"}, "a number is what it is called"
    assert names("10", "9") == {"0": "10", "1": "9"}, "texts are not counted"
    named = {**BERT, "id2label": {"0": "no", "1": "yes"}}
    assert names("yes", config=named) == {"0": "no", "1": "yes"}, "the config says so"
    assert names(1, config=named) == {"0": "no", "1": "yes"}, "numbers of its labels"


def test_a_csv_has_numbers_as_texts(make_spec, words, tmp_path):
    path = tmp_path / "rows.csv"
    with path.open("w") as file:
        csv.writer(file).writerows([("text", "label"), ("a cat", "1.5"), ("a dog", "-2")])
    values = {"config": BERT, "tokenizer": words, "objective": "sequence-classification"}
    spec = make_spec(data=str(path), problem_type="regression", **values)
    _, examples, config = fed(spec)
    assert [float(each["labels"]) for each in examples.train.items] == [1.5, -2]
    assert config.num_labels == 1


@pytest.mark.parametrize(
    ("changed", "what", "fix"),
    [
        ({"text": "a", "lable": "one"}, "no 'label'", "did you mean 'lable'?"),
        ({"text": "a", "label": None}, "nothing in 'label'", None),
        ({"text": 3, "label": "one"}, "'text' is not a text, but a number", None),
        ({"text": "a", "label": True}, "neither a text nor a whole number", None),
        ({"text": "a", "label": {"is": 1}}, "neither a text nor a whole number", None),
    ],
    ids=str,
)
def test_a_wrong_row_is_refused_with_its_line(spec_of, changed, what, fix):
    spec = spec_of("sequence-classification", [*rows("single"), changed])
    problem = refused(lambda: fed(spec))
    assert what in problem.what and problem.where.endswith("rows.jsonl:9")
    assert fix is None or fix in problem.fix


def test_labels_that_training_never_saw_are_refused(spec_of, rows_file):
    held = rows_file([{"text": "a", "label": "four"}], "held.jsonl")
    problem = refused(
        lambda: fed(spec_of("sequence-classification", rows("single"), validation=held))
    )
    assert problem.where.endswith("held.jsonl:1") and "none, one, two" in problem.what


def test_one_row_no_rows_and_one_label_are_refused(spec_of):
    def said(found):
        return refused(lambda: fed(spec_of("sequence-classification", found))).what

    assert "all rows have the label 'one'" in said([{"text": "a", "label": "one"}])
    assert "no rows" in said([])
    assert "no row has a label" in said([{"text": "a", "label": []}])


def test_long_texts_are_cut_aloud(spec_of, capsys):
    spec = spec_of("sequence-classification", rows("single"), sequence_length=8)
    _, examples, _ = fed(spec, Console())
    assert max(len(each["input_ids"]) for each in examples.train.items) == 8
    assert "of 8 rows are longer than sequence_length (8) and are cut" in capsys.readouterr().err
    spec = spec_of("sequence-classification", rows("single"), sequence_length=1)
    assert refused(lambda: fed(spec)).where == "sequence_length"


def test_columns_of_other_objectives_and_keys_without_effect_are_refused(make_spec):
    with pytest.raises(ValueError, match=r"takes no 'txt'.*did you mean 'text'"):
        make_spec(objective="sequence-classification", columns={"txt": "a"})
    with pytest.raises(ValueError, match="columns has no effect"):
        make_spec(objective="masked-lm", columns={"text": "a"})
    with pytest.raises(ValueError, match="text_field has no effect"):
        make_spec(objective="sequence-classification", text_field="a")
