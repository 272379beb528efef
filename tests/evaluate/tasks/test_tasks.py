"""Tasks from the command line: what they measure, what is kept of them and what is refused."""

import json
import math

import pytest
import torch

from tests.evaluate.tasks.files import CHOICE, CONTINUE, QUESTIONS, ROLL, TEXTS, WRITE, write_task
from tfcli.checkpoints.folder import load_model
from tfcli.commands.app import run
from tfcli.evaluate.samples import read_samples
from tfcli.evaluate.tasks.file import files_of_task
from tfcli.tokenizers.load import load_tokenizer


@pytest.fixture
def evaluate(capsys, tiny_llama):
    def call(*flags, model=tiny_llama, code=0, command="eval"):
        capsys.readouterr()
        assert run([command, str(model), *map(str, flags), "--json", "--quiet"]) == code
        found = json.loads(capsys.readouterr().out)
        return found if code == 0 else found["error"]

    return call


def values(found):
    return {measure["name"]: measure["value"] for measure in found["measures"]}


@torch.no_grad()
def by_hand(model, before, after):
    """The log probability of tokens behind others, one pass, and whether each is the likeliest."""
    logits = model(input_ids=torch.tensor([[*before, *after]])).logits[0].double().log_softmax(-1)
    rows = logits[len(before) - 1 : -1]
    ids = torch.tensor(after)
    return float(rows.gather(1, ids[:, None]).sum()), bool((rows.argmax(-1) == ids).all())


def test_choices_are_judged_by_a_direct_computation(evaluate, tiny_llama, tmp_path):
    found = evaluate("--task", write_task(tmp_path, CHOICE))
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    right = {"acc": 0, "acc_norm": 0, "acc_bytes": 0, "exact_match": 0}
    for row in QUESTIONS:
        context = tokenizer.encode(f"Question: {row['question']}\nAnswer:")
        totals, greedy = [], []
        for choice in row["choices"]:
            whole = tokenizer.encode(f"Question: {row['question']}\nAnswer: {choice}")
            total, likeliest = by_hand(model, context, whole[len(context) :])
            totals.append(total)
            greedy.append(likeliest)
        sizes = {
            "acc": [1] * 3,
            "acc_norm": list(map(len, row["choices"])),
            "acc_bytes": [len(choice.encode()) for choice in row["choices"]],
        }
        for name, counts in sizes.items():
            each = [total / count for total, count in zip(totals, counts, strict=True)]
            right[name] += each.index(max(each)) == row["label"]
        right["exact_match"] += greedy[row["label"]]
    assert values(found) == {name: count / len(QUESTIONS) for name, count in right.items()}
    (task,) = found["tasks"]
    assert (task["conditions"]["task_version"], found["samples"]) == ("1.0", len(QUESTIONS))


def test_texts_are_judged_in_windows(evaluate, tiny_llama, tmp_path):
    found = evaluate("--task", write_task(tmp_path, ROLL))
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    assert all(len(tokenizer.encode(row["text"])) <= 128 for row in TEXTS)
    losses = []
    for row in TEXTS:
        ids = tokenizer.encode(row["text"])
        losses.append(-by_hand(model, ids[:1], ids[1:])[0])
    size = sum(len(row["text"].encode()) for row in TEXTS)
    measured = values(found)
    assert measured["bits_per_byte"] == pytest.approx(sum(losses) / math.log(2) / size, rel=1e-5)
    assert measured["byte_perplexity"] == pytest.approx(math.exp(sum(losses) / size), rel=1e-5)


def test_exact_scores_are_the_same_bits_for_every_batch(evaluate, tmp_path, monkeypatch):
    path = write_task(tmp_path, CONTINUE)
    kept = []
    for size in (1, 8, 32):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{size}"))
        flags = ("--task", path, "--batch-size", size)
        kept.append([evaluate(*flags, *more)["measures"] for more in ((), ("--exact",))])
    loose, exact = zip(*kept, strict=True)
    assert exact[0] == exact[1] == exact[2]
    first, *others = [math.log(measures[0]["value"]) for measures in loose]
    assert others == pytest.approx([first] * 2, abs=1e-5)


def test_answers_are_kept_and_a_second_run_asks_nothing(evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_task(tmp_path, CHOICE)
    first = evaluate("--task", path, "--limit", 3)
    import tfcli.evaluate.answers as answers

    asked = []
    whole = answers.score

    def counted(model, texts, windows, **more):
        asked.append(len(windows))
        return whole(model, texts, windows, **more)

    monkeypatch.setattr(answers, "score", counted)
    assert values(evaluate("--task", path, "--limit", 3)) == values(first)
    assert asked == []
    evaluate("--task", path, "--limit", 4)
    assert asked == [3]  # the choices of the fourth sample


def test_a_likeliest_text_is_kept_for_any_place_in_a_task(evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    import tfcli.evaluate.answers as answers

    path = write_task(tmp_path, WRITE)
    evaluate("--task", path, "--limit", 3)
    asked = []
    whole = answers.decode

    def counted(model, tokenizer, settings, prompts, how):
        asked.append(len(prompts))
        return whole(model, tokenizer, settings, prompts, how)

    monkeypatch.setattr(answers, "decode", counted)
    rows = tmp_path / "questions.jsonl"
    rows.write_text("".join(reversed(rows.read_text().splitlines(keepends=True)[:4])))
    evaluate("--task", path)
    assert asked == [1]  # the fourth, which is the first now


def test_samples_lie_beside_the_record(evaluate, tmp_path):
    path = write_task(tmp_path, CHOICE, metadata={"cluster": "passage"})
    found = evaluate("--task", path, "--output", tmp_path / "out", "--shots", 1)
    samples = read_samples(tmp_path / "out")
    assert [sample.id for sample in samples] == [str(n) for n in range(len(QUESTIONS))]
    assert {sample.cluster for sample in samples} == {"0", "1", "2", "3"}
    mean = sum(sample.scores["acc"] for sample in samples) / len(samples)
    assert mean == values(found)["acc"]
    assert samples[0].prompt.endswith(f"Question: {QUESTIONS[0]['question']}\nAnswer:")
    assert samples[0].prompt.count("Question: ") == 2  # with its example
    assert samples[0].answer["choice"] in (0, 1, 2)


def test_the_seed_draws_the_examples(evaluate, tmp_path):
    path = write_task(tmp_path, CONTINUE)
    flags = ("--task", path, "--shots", 2, "--limit", 4)
    one, again, other = (evaluate(*flags, "--seed", seed) for seed in (1, 1, 2))
    assert values(one) == values(again)
    assert values(one)["perplexity"] != values(other)["perplexity"]
    assert one["conditions"]["shots_seed"] == 1


def test_the_shipped_tasks_measure_something(evaluate, tmp_path, tiny_llama):
    found = evaluate("--task", "shipped", "--limit", 1, "--overlong", "cut", command="run-eval")
    names = {task["task"] for task in found["tasks"]}
    assert names == {"python-endings", "python-quoted", "python-text"}
    assert "python-text/bits_per_byte" in values(found)


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"doc_to_text": "{{questoin}}"}, "'questoin', which the data lack", "'question'"),
        ({"output_typ": "x"}, "no key 'output_typ'", "'output_type'"),
        ({"metric_list": [{"metric": "acc_nrm"}]}, "no metric 'acc_nrm'", "'acc_norm'"),
        ({"metric_list": [{"metric": "bleu"}]}, "no metric 'bleu'", "known: acc"),
        ({"metric_list": [{"metric": "f1"}]}, "f1 is of two choices", "use acc"),
        ({"metric_list": [{"metric": "acc", "aggregation": "median"}]}, "aggregated by mean", ""),
        ({"process_results": "utils.f"}, "is not run", "--harness"),
        ({"doc_to_target": "9"}, "none of the 3 choices", "number of a choice"),
        ({"test_split": "tset"}, "no split 'tset'", "'test'"),
        ({"test_split": None}, "no test_split", ""),
        ({"repeats": 2}, "repeats has no effect", ""),
        ({"doc_to_choice": "question"}, "no list of texts", ""),
        ({"metadata": {"cluster": "page"}}, "no column 'page'", "passage"),
        ({"num_fewshot": 17}, "17 examples are asked for", "--shots 16"),
        ({"dataset_path": "tfcli", "dataset_name": "python-ends"}, "makes no data", "endings"),
        ({"doc_to_choice": "{{['', 'a']}}", "target_delimiter": ""}, "continuation is empty", ""),
        ({"doc_to_text": "{{question * 60}}"}, "more than the model's", "--overlong cut"),
    ],
    ids=str,
)
def test_what_a_task_asks_for_and_cannot_be_is_refused(evaluate, tmp_path, changes, what, fix):
    error = evaluate("--task", write_task(tmp_path, {**CHOICE, **changes}), code=2)
    assert what in error["what"]
    assert fix in (error["fix"] or "")


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--task", "python-txt"), "no task 'python-txt': did you mean 'python-text'"),
        (("--task", "shipped", "--data", "DATA"), "has its own data"),
        (("--task", "auto"), "nothing to measure"),
        (("--task", "TASK", "--data", "DATA"), "leave out data"),
        (("--task", "TASK", "--stride", 4), "stride has no effect"),
        (("--task", "TASK", "--reference", "m"), "reference has no effect"),
        (("--data", "DATA", "--shots", 2), "shots has no effect"),
        (("--task", "TASK", "--chat"), "no chat template"),
    ],
    ids=str,
)
def test_keys_that_contradict_each_other_are_refused(evaluate, tmp_path, text_file, flags, what):
    names = {"TASK": write_task(tmp_path, CHOICE), "DATA": text_file}
    error = evaluate(*(names.get(flag, flag) for flag in flags), code=2)
    assert what in error["what"]


def test_a_task_includes_others_and_code_is_named_and_not_run(evaluate, tmp_path):
    write_task(tmp_path, CHOICE)
    (tmp_path / "few.yaml").write_text("include: choose.yaml\ntask: few\nnum_fewshot: 1\n")
    (tmp_path / "both.yaml").write_text("group: both\ntask: [choose, few.yaml]\n")
    found = evaluate("--task", tmp_path / "both.yaml", "--limit", 2)
    shots = {task["task"]: task["conditions"]["shots"] for task in found["tasks"]}
    assert shots == {"choose": 0, "few": 1}
    (tmp_path / "few.yaml").write_text("include: choose.yaml\nprocess_docs: !function utils.docs\n")
    error = evaluate("--task", tmp_path / "few.yaml", code=2)
    assert "utils.docs" in error["what"] and error["where"].endswith("few.yaml: process_docs")
    (tmp_path / "self.yaml").write_text("group: self\ntask: [choose, self]\n")
    error = evaluate("--task", tmp_path / "self.yaml", code=2)
    assert "has itself among its tasks" in error["what"]


def test_a_step_reads_what_its_task_leads_to(tmp_path):
    """A step whose task includes another file is made again when that file changes."""
    choose = write_task(tmp_path, CHOICE)
    few, both = tmp_path / "few.yaml", tmp_path / "both.yaml"
    few.write_text("include: choose.yaml\ntask: few\n")
    both.write_text("group: both\ntask: [few]\n")
    rows = tmp_path / "questions.jsonl"
    assert set(files_of_task(few)) == {choose, rows}
    assert set(files_of_task(both)) == {few, choose, rows}
    few.write_text("include: choose.yaml\ndataset_path: rows\ndataset_kwargs: null\n")
    (tmp_path / "rows").mkdir()
    test = tmp_path / "rows" / "test.jsonl"
    rows.rename(test)
    assert set(files_of_task(few)) == {choose, test}


def test_a_question_that_comes_again_is_asked_once(evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    import tfcli.evaluate.answers as answers

    asked = []
    whole = answers.score

    def counted(model, texts, windows, **more):
        asked.append(len(windows))
        return whole(model, texts, windows, **more)

    monkeypatch.setattr(answers, "score", counted)
    metrics = [{"metric": "acc"}, {"metric": "acc_mutual_info"}]
    same = {"doc_to_choice": ["yes", "no", "maybe"], "metric_list": metrics}
    evaluate("--task", write_task(tmp_path, CHOICE, **same), "--limit", 4)
    assert asked == [4 * 3 + 3]  # what choices have without a context is the same for all samples


def test_texts_are_made_and_judged(evaluate, tmp_path):
    changes = {
        "filter_list": [
            {"name": "first", "filter": [{"function": "regex", "regex_pattern": r"(\w)"}]},
            {"name": "small", "filter": [{"function": "lowercase"}, {"function": "take_first"}]},
        ],
        "repeats": 2,
        "generation_kwargs": {"max_gen_toks": 4, "do_sample": True, "temperature": 0.7},
    }
    path = write_task(tmp_path, {**WRITE, **changes})
    found = evaluate("--task", path, "--limit", 2, "--output", tmp_path / "out")
    assert set(values(found)) == {
        f"{metric},{name}" for metric in ("exact_match", "chrf") for name in ("first", "small")
    }
    (first, _) = read_samples(tmp_path / "out")
    assert len(first.answer) == 2 and first.answer[0] != first.answer[1]
    assert "regex" in found["conditions"]["normalizer"]
