"""What answers are worth: formulas by hand."""

import math

import pytest

from tfcli.evaluate.answers import LogLikelihood
from tfcli.evaluate.tasks.figures import brier, calibration_error
from tfcli.evaluate.tasks.filters import pipeline
from tfcli.evaluate.tasks.judge import judge_choice, judge_made, pass_at_k
from tfcli.evaluate.tasks.prompts import Prompt
from tfcli.evaluate.tasks.sandbox import passes


def likely(*totals):
    return [LogLikelihood(total, False, 1) for total in totals]


def test_a_choice_is_judged_over_its_length_too():
    prompt = Prompt(("c",), ("aaaa", "ä"), 0)
    asked = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "brier_score")
    names = {name: {} for name in asked}
    items, best = judge_choice(prompt, likely(-4, -3), likely(-9, -1), names, "")
    assert best == 1
    shares = items.pop("brier_score")
    assert items == {"acc": 0, "acc_norm": 1, "acc_bytes": 1, "acc_mutual_info": 1}
    assert shares[1] == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    lengths = judge_choice(prompt, likely(-8, -3), [], {"acc_norm": {}, "acc_bytes": {}}, "")[0]
    assert lengths == {"acc_norm": 1, "acc_bytes": 0}


def test_calibration_is_the_gap_between_what_is_said_and_what_is_right():
    sure = [(0, [0.95, 0.05])] * 3 + [(1, [0.95, 0.05])]
    assert calibration_error(sure) == pytest.approx(0.2)
    assert brier([(0, [0.5, 0.5]), (1, [0.0, 1.0])]) == pytest.approx(0.25)


def test_made_texts_are_compared_as_the_options_say():
    prompt = Prompt(("c",), None, ["The Cat!", "dog"])
    options = {"exact_match": {"ignore_case": True, "ignore_punctuation": True}, "answer_f1": {}}
    assert judge_made(prompt, ["the cat"], options, "") == {"exact_match": 1, "answer_f1": 1}
    assert judge_made(prompt, ["the cat"], {"exact_match": {}}, "") == {"exact_match": 0}


def test_rouge_tells_lines_from_one_text():
    names = {"rougeL": {}, "rougeLsum": {}}
    items = judge_made(Prompt(("c",), None, "a b\nc d"), ["c d\na b"], names, "")
    assert items["rougeL"] == pytest.approx(0.5) and items["rougeLsum"] == pytest.approx(1)
    several = Prompt(("c",), None, ["other", "a b"])
    assert judge_made(several, ["a b"], {"rouge1": {}}, "") == {"rouge1": 1}


def test_pass_at_k_is_the_chance_of_a_draw():
    assert pass_at_k(4, 1, 1) == pytest.approx(0.25)
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert pass_at_k(4, 0, 2) == 0 and pass_at_k(4, 3, 2) == 1
    prompt = Prompt(("c",), None, "assert double(2) == 4")
    answers = ["def double(x): return 2 * x", "def double(x): return x"]
    assert judge_made(prompt, answers, {"pass_at_k": {"k": 1}}, "") == {"pass_at_k": 0.5}


@pytest.mark.parametrize(
    ("program", "fine"),
    [
        ("assert 1 + 1 == 2; print('x' * 10**6)", True),
        ("assert False", False),
        ("raise SystemExit", False),
        ("import os; os._exit(0)", False),
        ("while True: pass", False),
        ("x = ' ' * (1 << 31)", False),
        ("open('x', 'w').write('x' * (1 << 21))", False),
        ("import os; assert 'PATH' not in os.environ", True),
    ],
)
def test_programs_run_within_limits(program, fine):
    assert passes(program, 1, 512 << 20) is fine


def test_filters_are_steps():
    def run(*steps):
        return pipeline(steps, "")([" Is it 12 or 7? ", "no"])

    regex = {"function": "regex", "regex_pattern": "([0-9]+)"}
    assert run(regex) == ["12", "[invalid]"]
    assert run({**regex, "group_select": -1, "fallback": "?"}) == ["7", "?"]
    assert run({"function": "remove_whitespace"}, {"function": "uppercase"})[0] == "IS IT 12 OR 7?"
    assert run({"function": "map", "mapping_dict": {"no": "0"}, "default_value": "-"}) == ["-", "0"]
    assert run({"function": "take_first"}) == [" Is it 12 or 7? "]
