"""A result as Markdown, plots and a summary."""

from xml.etree import ElementTree

import pytest

from tests.benchmark.made import result, row
from tfcli.benchmark.markdown import page, summary
from tfcli.benchmark.plots import plots
from tfcli.benchmark.result import BenchmarkMemory
from tfcli.benchmark.text import names_of, time_text
from tfcli.benchmark.write import append_summary
from tfcli.errors import WorkError

SWEEP = result(
    *(
        row("prefill", (0.01 * size * batch,), length=size, batch_size=batch)
        for size in (128, 512)
        for batch in (1, 4)
    ),
    row("load", (2.0,)),
)


def test_there_is_a_plot_for_each_axis_with_two_sizes():
    drawn = plots(SWEEP, log=False)
    names = ["prefill-batch", "prefill-batch-memory", "prefill-length", "prefill-length-memory"]
    assert list(drawn) == [f"{name}.svg" for name in names]
    for svg in drawn.values():
        ElementTree.fromstring(svg)  # it is XML by itself
    along = drawn["prefill-length.svg"]
    assert along.count("<circle") == 4 and "m, batch 4" in along and "tokens/s" in along
    assert plots(result(row()), log=False) == {}


def test_logarithmic_axes_put_equal_ratios_equally_far_apart():
    rows = [row(times=(0.1 * size,), length=size) for size in (1, 10, 100)]

    def xs(log):
        root = ElementTree.fromstring(plots(result(*rows), log=log)["decode-length.svg"])
        return [float(dot.get("cx")) for dot in root.iter() if dot.tag.endswith("circle")]

    first, second, third = xs(True)
    assert second - first == pytest.approx(third - second, abs=0.2)
    first, second, third = xs(False)
    assert (third - first) / (second - first) == pytest.approx(11, rel=0.01)


def test_names_are_as_short_as_tells_models_apart():
    assert names_of(result(row(model="a/m"), row(model="b/m"))) == ["a/m", "b/m"]
    other = row(model="a/m", side="transformers")
    assert names_of(result(row(model="a/m"), other)) == ["m, tfcli", "m, transformers"]


def test_the_page_has_the_parts_of_the_memory():
    memory = BenchmarkMemory(
        runtime=10, weights=20, gradients=3, optimizer=4, activations=5, cache=6, temporary=7
    )
    text = page(result(row("train", memory=memory, cache=None)), ["train-batch.svg"])
    assert "| m | train | 1 x 512 | 10 B | 20 B | 3 B | 4 B | 5 B | 6 B | 7 B | 55 B |" in text
    assert "![train-batch](train-batch.svg)" in text


def test_a_name_is_no_markup():
    assert "&#60;img> &#124; x" in summary(result(row(model="<img> | x")))


def test_a_summary_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(WorkError, match="summary cannot be written"):
        append_summary(SWEEP, tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.25, "1.25 s"), (0.0125, "12.5 ms"), (3.1e-4, "310 us")]
)
def test_times_have_three_digits(seconds, text):
    assert time_text(seconds) == text
