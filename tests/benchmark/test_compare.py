"""Which rows of an earlier result belong to which, and what is refused."""

import json

import pytest

from tests.benchmark.made import result, row
from tests.models.tiny import tiny_model
from tfcli.benchmark.compare import compare, match, read_baseline
from tfcli.benchmark.plan import Planned, Subject
from tfcli.benchmark.task import Task
from tfcli.errors import UsageError

CONFIG = tiny_model("llama").config.text
TASK = Task(
    side="tfcli",
    case="decode",
    model="m",
    batch_size=1,
    length=512,
    new_tokens=32,
    cache="dynamic",
    repeats=1,
    threads=1,
    load_in=None,
    dtype="auto",
    device="cpu",
    attention="sdpa",
    family_file=None,
)


def planned(**changes):
    known = {"hash": "h", "dtype": "float32"}
    subject = {key: changes.pop(key, value) for key, value in known.items()}
    made = Subject("m", CONFIG, weight_bytes=1, quantized=False, **subject)
    return Planned(made, Task(**{**vars(TASK), **changes}))


def matched(before, *rows, rounds=5, other_machine=False, threads=1):
    options = {"threads": threads, "device": "cpu", "rounds": rounds}
    return match(rows or [planned()], before, other_machine=other_machine, **options)


BEFORE = result(row(times=(0.1,) * 5), row("prefill", (0.2,) * 5))


def test_rows_of_equal_conditions_belong_together():
    found = matched(BEFORE, planned(), planned(case="prefill", new_tokens=1))
    assert {place: each.case for place, each in found.rows.items()} == {0: "decode", 1: "prefill"}
    assert found.notes == []
    assert matched(BEFORE).notes == ["of the baseline 1 row without a measurement now"]


def test_what_others_do_is_not_compared():
    found = matched(BEFORE, planned(side="transformers"), planned())
    assert list(found.rows) == [1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 2}, "batch_size is 2, and 1 in the nearest one"),
        ({"length": 8}, "length is 8, and 512"),
        ({"new_tokens": 4}, "new_tokens is 4, and 32"),
        ({"cache": "static"}, "cache is static, and dynamic"),
        ({"attention": "eager"}, "attention is eager, and sdpa"),
        ({"load_in": "4bit"}, "load_in is 4bit, and None"),
        ({"dtype": "bfloat16"}, "dtype is bfloat16, and float32"),
        ({"hash": "another"}, "model_hash is another, and h"),
    ],
)
def test_unlike_conditions_are_refused_by_name(changes, said):
    with pytest.raises(UsageError) as error:
        matched(BEFORE, planned(**changes))
    assert said in error.value.what and error.value.where == "baseline"


def test_another_machine_is_refused_unless_it_is_asked_for():
    elsewhere = BEFORE.model_copy(update={"machine": {**BEFORE.machine, "processor": "Other"}})
    with pytest.raises(UsageError, match=r"processor is .*, and Other in the baseline"):
        matched(elsewhere)
    assert matched(elsewhere, other_machine=True).rows
    more = BEFORE.model_copy(update={"machine": {**BEFORE.machine, "memory_bytes": 1}})
    assert matched(more).rows


def test_other_threads_are_refused():
    with pytest.raises(UsageError, match="threads: 4 here, and 1 in the baseline"):
        matched(BEFORE, threads=4)


def test_too_few_rounds_to_tell_are_refused():
    with pytest.raises(UsageError, match="1 round beside the baseline's 5") as error:
        matched(BEFORE, rounds=1)
    assert error.value.fix.startswith("--rounds 2")


def test_a_row_regresses_beyond_both_the_limit_and_the_noise():
    before = result(row(times=(0.100, 0.101, 0.102, 0.103, 0.104)))

    def regressed(*times):
        (found,) = compare(result(row(times=times)), matched(before), 0.05)
        return found.regressed

    assert regressed(0.110, 0.111, 0.112, 0.113, 0.114)
    assert not regressed(0.105, 0.106, 0.106, 0.106, 0.107)  # below 5%
    assert not regressed(0.099, 0.100, 0.120, 0.130, 0.140)  # two rounds are no slower
    assert not regressed(0.080, 0.081, 0.082, 0.083, 0.084)


def test_a_machine_that_reads_slower_explains_a_slower_row():
    bound = {"bound": "memory", "share": 0.5, "work": 10**8}
    before = result(row(times=(0.100, 0.101, 0.102, 0.103, 0.104), **bound))
    after = row(times=(0.120, 0.121, 0.122, 0.123, 0.124), **bound)
    (found,) = compare(result(after, reading=(1e10 / 1.2,) * 6), matched(before), 0.05)
    assert found.change == pytest.approx(0.196, abs=1e-3) and not found.regressed
    assert found.change_to_limit == pytest.approx(-0.0033, abs=1e-3)
    (found,) = compare(result(after), matched(before), 0.05)
    assert found.regressed


def test_a_baseline_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "b.json"
    file.write_text(json.dumps(BEFORE.model_dump(mode="json")))
    assert read_baseline(file) == BEFORE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "tfcli.eval/1"}, "its schema is tfcli.eval/1"),
        ({"threads": "many"}, "threads: "),
        ({"limits": {"loop": "", "bytes_per_second": [1e10], "multiplied": {}}}, "are missing"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path, change, said):
    file = tmp_path / "b.json"
    file.write_text(json.dumps({**BEFORE.model_dump(mode="json"), **change}))
    with pytest.raises(UsageError, match="no result of tfcli benchmark") as error:
        read_baseline(file)
    assert said in error.value.what
