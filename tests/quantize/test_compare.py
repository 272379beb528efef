"""`tfcli quantize --compare`: several ways, one table and one report."""

import json

import pytest
from pydantic import ValidationError

from tests.quantize.test_dry_run import tfcli
from tests.quantize.test_run import WORDS, dense
from tfcli.quantize.spec import QuantizeSpec

__all__ = ["dense", "tfcli"]

KEYS = ("--sequence-length", "32", "--samples", "8", "--group-size", "32", "--quiet")
WAYS = ("--ways", "rtn:2", "--ways", "rtn:8", "--ways", "gptq:4:compressed-tensors")


@pytest.fixture
def texts(tmp_path):
    """Documents enough for a test split to have some."""
    path = tmp_path / "texts.jsonl"
    lines = (
        {"text": " ".join(WORDS[(n * n + document) % 60] for n in range(120))}
        for document in range(40)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_way_is_measured_on_text_that_none_has_seen(tfcli, dense, texts, tmp_path):
    words = ("quantize", "--compare", dense, tmp_path / "c", "--data", texts, *WAYS, *KEYS)
    code, out, _ = tfcli(*words, "--json")
    assert code == 0
    steps = {step["step"]: step["result"] for step in json.loads(out)["steps"]}
    assert list(steps) == [
        *("text", "rtn-2", "rtn-2-eval", "rtn-8", "rtn-8-eval"),
        *("gptq-4-compressed-tensors", "gptq-4-compressed-tensors-eval", "report"),
    ]
    evals = [steps[name] for name in steps if name.endswith("-eval")]
    assert len({each["data_sha256"] for each in evals}) == 1
    assert steps["rtn-2-eval"]["kl_divergence"] > 10 * steps["rtn-8-eval"]["kl_divergence"]
    made = steps["gptq-4-compressed-tensors"]
    assert (made["layout"], made["bits"], made["group_size"]) == ("compressed-tensors", 4, 32)
    page = (tmp_path / "c/report/report.html").read_text()
    assert all(name in page for name in ("rtn-2", "rtn-8", "gptq-4-compressed-tensors"))
    assert "KL divergence, nats" in page and "<svg" in page

    code, out, _ = tfcli(*words)
    assert code == 0, "what is done is shown again"
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(("rtn", "gptq"))]
    assert [row[:3] for row in rows][:2] == [["rtn-2", "gptq", "3.06"], ["rtn-8", "gptq", "9.25"]]


def test_without_an_output_the_folder_is_named_after_the_model(dense):
    spec = QuantizeSpec(model=str(dense), compare=True)
    assert [step.target() for step in spec.steps().values()][:3] == [
        "runs/compare-dense/text",
        "runs/compare-dense/rtn",
        "runs/compare-dense/rtn-eval",
    ]


def test_keys_hold_for_the_ways_that_look_at_them():
    spec = QuantizeSpec(
        model="m", output="o", compare=True, samples=7, group_size=32, ways=["gptq:3.5", "hqq"]
    )
    gptq, hqq = (spec.steps()[name] for name in ("gptq-3.5", "hqq"))
    assert (gptq.target_bits, gptq.samples, gptq.group_size) == (3.5, 7, 32)
    assert gptq.data == "o/text/train.jsonl"
    assert hqq.group_size == 32 and hqq.data is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ways": ["nothing"]}, "ways: nothing: Input should be 'rtn', 'gptq'"),
        ({"ways": ["rtn:x"]}, "ways: rtn:x: Input should be 1, 2, 3"),
        ({"ways": ["rtn:5"]}, "bits: 5 is not there with method: rtn"),
        ({"ways": ["rtn:3.5"]}, "target_bits has no effect with method: rtn"),
        ({"ways": ["rtn", "rtn"]}, "ways: rtn stands there twice"),
        ({"bits": 3}, "bits: has no effect beside compare"),
        ({"method": "rtn"}, "method: has no effect beside compare"),
        ({"compare": False, "ways": ["rtn"]}, "ways has no effect"),
    ],
)
def test_ways_that_are_none_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        QuantizeSpec(**{"model": "m", "output": "o", "compare": True} | given)


def test_a_comparison_is_no_step_of_a_recipe(tfcli, dense, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"steps:\n  all:\n    command: quantize\n    model: {dense}\n    compare: true\n"
    )
    code, _, said = tfcli("run", recipe)
    assert code == 2 and "is no step of a recipe" in said and f"{recipe}:2" in said


def test_a_recipe_of_one_command_compares_as_well(tfcli, dense, texts, tmp_path):
    recipe = tmp_path / "r.yaml"
    keys = {"command": "quantize", "compare": True, "model": str(dense), "data": str(texts)}
    keys |= {"output": str(tmp_path / "c"), "ways": ["rtn"], "sequence_length": 32}
    recipe.write_text(json.dumps(keys))
    code, out, _ = tfcli("run", recipe, "--dry-run", "--json", "--quiet")
    assert code == 0
    assert [step["step"] for step in json.loads(out)["steps"]] == [
        *("text", "rtn", "rtn-eval", "report")
    ]
