"""The whole report, from folders of finished steps to the two files."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report import steps as make
from tfcli.commands import app
from tfcli.console import Console
from tfcli.recipe.execute import execute
from tfcli.report.spec import ReportResult, ReportSpec

VOID = {"meta", "br", "hr", "img", "link", "input", "rect", "circle", "path"}
HOSTILE = "</pre><script>alert('x')</script> & \"quoted\" ```` ``` | \x07"


class Page(HTMLParser):
    """A strict reader: every element is closed in order; keeps texts, attributes and rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def table(self, column: str) -> list[list[str]]:
        """The rows of the table that has this column."""
        return next(rows[1:] for rows in self.tables if column in rows[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (self.open, tag, self.getpos())
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """What the quickstart makes: a trained model, four quantized ones, and all measures."""
    dense = make.train(tmp_path)
    found = [dense, make.evaluate(tmp_path, dense, 1.6105, compression=make.COMPRESSION)]
    for method, bits, bits_per_byte, divergence in (
        ("rtn", 4, 1.6121, 8.6e-4),
        ("gptq", 4, 1.6104, 2.2e-4),  # a hair below the dense model's, by chance
        ("rtn", 3, 1.6250, 4.0e-3),
        ("gptq", 3, 1.6142, 8.5e-4),
    ):
        model = make.quantize(tmp_path, dense, method, bits)
        found += [model, make.evaluate(tmp_path, model, bits_per_byte, divergence=divergence)]
    found.append(make.benchmark(tmp_path, [dense, tmp_path / "gptq-4"]))
    found.append(make.generate(tmp_path, dense, HOSTILE, " a list <b>of</b> names"))
    return found


def report(runs: list[Path], folder: Path) -> ReportResult:
    spec = ReportSpec(runs=[str(run) for run in runs], output=str(folder), title="A <test> run")
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ReportResult)
    return result


def test_every_model_has_its_row_with_its_own_figures(runs: list[Path], tmp_path: Path) -> None:
    result = report(runs, tmp_path / "report")
    assert (result.steps, result.models, result.warnings) == (len(runs), 5, [])
    page = Page(Path(result.html).read_text())
    markdown = Path(result.markdown).read_text()
    wanted = {
        "dense": ["dense", "–", "–", "1.60", "12.214", "1.6105", "–", "–"],  # noqa: RUF001
        "RTN 4-bit": ["rtn", "4", "128", "0.40", "12.228", "1.6121", "8.6e-4", "99.14%"],
        "GPTQ 4-bit": ["gptq", "4", "128", "0.40", "12.213", "1.6104", "2.2e-4", "99.78%"],
        "RTN 3-bit": ["rtn", "3", "128", "0.30", "12.338", "1.6250", "4.0e-3", "96.00%"],
        "GPTQ 3-bit": ["gptq", "3", "128", "0.30", "12.246", "1.6142", "8.5e-4", "99.15%"],
    }
    rows = page.table("method")
    assert [row[0] for row in rows] == list(wanted)
    for label, cells in wanted.items():
        assert [row[1:] for row in rows if row[0] == label] == [cells]
        assert "| " + " | ".join([label, *cells]) + " |" in markdown


def test_the_page_asks_for_nothing_from_anywhere(runs: list[Path], tmp_path: Path) -> None:
    html = Path(report(runs, tmp_path / "report").html).read_text()
    page = Page(html)
    asking = ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "style")
    values = [value for _, name, value in page.attributes if name in asking]
    assert not [value for value in values if "//" in value or "url(" in value]
    assert "@import" not in html and "url(" not in html
    assert not page.tags & {"script", "link", "iframe", "img", "object", "base"}


def test_text_from_a_model_is_shown_and_never_obeyed(runs: list[Path], tmp_path: Path) -> None:
    result = report(runs, tmp_path / "report")
    html = Path(result.html).read_text()
    assert HOSTILE.replace("\x07", "␇") + " a list <b>of</b> names" in Page(html).text
    assert "<script" not in html and "<test>" not in html and "\x07" not in html
    # In Markdown the text stands in a block whose fence it does not hold.
    markdown = Path(result.markdown).read_text()
    assert re.search(r"^`{5}\n</pre><script>.*````.*\n`{5}$", markdown, re.MULTILINE)
    assert markdown.startswith("# A \\<test\\> run\n")


def test_the_sections_are_those_of_the_steps(runs: list[Path], tmp_path: Path) -> None:
    def headings(folder: str, *names: str) -> list[str]:
        chosen = [run for run in runs if run.name in names or not names]
        html = Path(report(chosen, tmp_path / folder).html).read_text()
        return re.findall(r"<h2>(.*?)</h2>", html)

    assert headings("all") == [
        "Training",
        "Quality against size",
        "Beside compression programs",
        "Speed",
        "Samples",
        "Run record",
    ]
    assert headings("one", "train") == ["Training", "Models", "Run record"]
    assert headings("two", "generate") == ["Samples", "Run record"]
    assert headings("three", "benchmark") == ["Speed", "Run record"]
    assert headings("four", "eval-rtn-4") == ["Quality against size", "Run record"]


def test_the_headline_compares(runs: list[Path], tmp_path: Path) -> None:
    markdown = Path(report(runs, tmp_path / "report").markdown).read_text()
    assert [line for line in markdown.splitlines() if line.startswith("- **")] == [
        "- **1.611** bits per byte, dense (gzip 2.713, xz 2.602, xz primed 2.184)",
        "- **3.9 ×** less KL divergence at 4 bits (GPTQ 4-bit 2.2e-4, RTN 4-bit 8.6e-4)",  # noqa: RUF001
        "- **4.7 ×** less KL divergence at 3 bits (GPTQ 3-bit 8.5e-4, RTN 3-bit 4.0e-3)",  # noqa: RUF001
        "- **5.3 ×** smaller on disk (RTN 3-bit 0.30 MB, dense 1.60 MB)",  # noqa: RUF001
    ]


def test_speed_is_told_a_model(runs: list[Path], tmp_path: Path) -> None:
    page = Page(Path(report(runs, tmp_path / "report").html).read_text())
    assert [(row[0], *row[2:7]) for row in page.table("decode, tokens/s")] == [
        ("dense", "1.60", "12.5 ms", "1.75 s", "4,321", "75.5"),
        ("GPTQ 4-bit", "0.80", "12.5 ms", "1.75 s", "4,321", "151"),
    ]


def test_the_loss_curve_marks_the_best_validation(runs: list[Path], tmp_path: Path) -> None:
    html = Path(report(runs[:1], tmp_path / "report").html).read_text()
    svgs = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    curves = [svg for svg in svgs if "Training and validation loss" in svg]
    assert len(curves) == 2  # for wide and for narrow screens
    for svg in curves:
        assert svg.count('class="s2 ring"') == 1 and ">best 2.533</text>" in svg
        assert ">training</text>" in svg and ">validation</text>" in svg


def test_every_model_with_a_divergence_has_its_dot(runs: list[Path], tmp_path: Path) -> None:
    html = Path(report(runs, tmp_path / "report").html).read_text()
    svgs = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    (size,) = [svg for svg in svgs if "bits per byte against size" in svg]
    (divergence,) = [svg for svg in svgs if "KL divergence, nats against size" in svg]
    assert [svg.count("<circle") for svg in (size, divergence)] == [5, 4]
    assert "dense" in size and "dense" not in divergence


@pytest.mark.parametrize(
    "other",
    [
        {"data_sha256": "e" * 64},
        {"task": "masked-perplexity"},
        {"window": 256, "stride": 128},
        {"stride": 512},
        {"bos": "each"},
        {"bos": "none", "bos_tokens": 0},
        {"dtype": "bfloat16"},
        {"tokenizer_sha256": "u" * 64},
        {"documents": 9},
    ],
    ids=lambda other: ",".join(other),
)
def test_what_was_measured_under_other_conditions_is_never_compared(
    tmp_path: Path, other: dict[str, object]
) -> None:
    dense = make.train(tmp_path)
    rtn = make.quantize(tmp_path, dense, "rtn", 4)
    same = make.evaluate(tmp_path, rtn, 1.7, divergence=1e-3)
    unlike = make.evaluate(tmp_path, dense, 1.2, name="eval-other", **other)
    gptq = make.quantize(tmp_path, dense, "gptq", 4)
    third = make.evaluate(tmp_path, gptq, 1.65, divergence=5e-4)
    made = report([dense, rtn, same, unlike, gptq, third], tmp_path / "report")
    markdown = Path(made.markdown).read_text()
    titles = re.findall("^## Quality against size: (.*)", markdown, re.MULTILINE)
    assert len(titles) == len(set(titles)) == 2
    # The headline is of the conditions under which most was measured.
    assert "- **1.650** bits per byte, GPTQ 4-bit" in markdown
    assert "**1.200**" not in markdown


def test_a_reference_has_the_perplexity_that_was_measured_of_it(tmp_path: Path) -> None:
    dense = make.train(tmp_path)
    rtn = make.quantize(tmp_path, dense, "rtn", 4)
    measured = make.evaluate(tmp_path, rtn, 1.7, divergence=1e-3, reference_perplexity=8.0)
    page = Page(Path(report([dense, rtn, measured], tmp_path / "report").html).read_text())
    rows = {row[0]: row for row in page.table("perplexity")}
    bits = 3 * 17_000 / 52_000  # a perplexity of 8 is 3 bits a token
    assert rows["dense"][5:] == ["8.000", f"{bits:.4f}", "–", "–"]  # noqa: RUF001
    # Its own eval counts where it has one.
    own = make.evaluate(tmp_path, dense, 1.6)
    page = Page(Path(report([dense, rtn, measured, own], tmp_path / "again").html).read_text())
    assert [row[6] for row in page.table("perplexity") if row[0] == "dense"] == ["1.6000"]


def test_divergences_from_two_references_are_not_compared(tmp_path: Path) -> None:
    one, two = make.train(tmp_path), make.train(tmp_path, "other")
    runs = [one, two]
    for method, reference, far in (("rtn", one, 1e-3), ("gptq", two, 1e-4)):
        model = make.quantize(tmp_path, one, method, 4)
        found = make.evaluate(tmp_path, model, 1.7, divergence=far, reference=str(reference))
        runs += [model, found]
    markdown = Path(report(runs, tmp_path / "report").markdown).read_text()
    assert "less KL divergence" not in markdown
    assert "1.0e-3 from dense (train)" in markdown and "1.0e-4 from dense (other)" in markdown


def test_a_size_is_compared_with_what_the_model_was_made_of(tmp_path: Path) -> None:
    small = make.train(tmp_path)
    make.train(tmp_path, "large", size=9_000_000)
    rtn = make.quantize(tmp_path, small, "rtn", 4)
    markdown = Path(report([tmp_path / "large", small, rtn], tmp_path / "a").markdown).read_text()
    assert "**4.0 ×** smaller on disk (RTN 4-bit 0.40 MB, dense (train) 1.60 MB)" in markdown  # noqa: RUF001
    # Also where what it was made of is not in the report.
    markdown = Path(report([tmp_path / "large", rtn], tmp_path / "b").markdown).read_text()
    assert "**4.0 ×** smaller on disk (RTN 4-bit 0.40 MB, train 1.60 MB)" in markdown  # noqa: RUF001


def test_every_cell_says_its_column_where_a_table_is_too_wide(
    runs: list[Path], tmp_path: Path
) -> None:
    """On a phone rows become cards; nothing is cut, and nothing scrolls sideways."""
    html = Path(report(runs, tmp_path / "report").html).read_text()
    tables = re.findall(r'<table class="(.*?)">(.*?)</table>', html, re.DOTALL)
    assert len(tables) > 4
    for kind, content in tables:
        columns = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", content)
        named = re.findall(r'<td[^>]* data-name="(.*?)">', content)
        assert named == columns * (len(named) // len(columns)) and named
        assert ("cards" in kind) == (len(columns) > 2)
    narrow = html[html.index("@media (max-width: 720px)") : html.index("@media print")]
    assert ".cards td::before { content: attr(data-name);" in narrow


def test_an_infinite_perplexity_has_its_row(tmp_path: Path) -> None:
    dense = make.train(tmp_path)
    found = make.evaluate(tmp_path, dense, 900.0, perplexity=float("inf"))
    page = Page(Path(report([dense, found], tmp_path / "report").html).read_text())
    assert page.table("perplexity")[0][5] == "inf"


def test_every_prompt_of_a_file_is_a_sample(tmp_path: Path) -> None:
    dense = make.train(tmp_path)
    answer = {"prompt_ids": [1], "token_ids": [2, 3], "finish_reason": "stop"}
    answers = [{**answer, "prompt": p, "text": t} for p, t in (("one", " two"), ("three", " four"))]
    nothing = dict.fromkeys(("prompt_ids", "token_ids", "finish_reason"))
    made = make.generate(tmp_path, dense, None, None, answers=answers, **nothing)
    text = Page(Path(report([dense, made], tmp_path / "report").html).read_text()).text
    assert "one two" in text and "three four" in text


def test_the_examples_of_the_help_name_steps_of_the_quickstart() -> None:
    from tfcli.commands.report import app as command
    from tfcli.recipe.document import read_document

    steps = read_document(Path("recipes/quickstart.yaml")).values["steps"]
    words = str(command.registered_commands[0].epilog).split()
    patterns = [word for word in words if word.startswith("runs/quickstart/")]
    assert patterns
    for pattern in patterns:
        assert [step for step in steps if Path(f"runs/quickstart/{step}").match(pattern)]


def test_names_are_spelt_out_in_a_report(tmp_path: Path) -> None:
    dense = make.train(tmp_path)
    evil = dense.with_name("a\x1b[31m\u202e<script>[b]")
    dense.rename(evil)
    made = report([evil], tmp_path / "report")
    for text in (Path(made.html).read_text(), Path(made.html).with_suffix(".md").read_text()):
        assert not any(char in text for char in "\x1b\u202e")
        assert r"\x1b" in text and r"\u202e" in text
    assert "<script>" not in Path(made.html).read_text()


def test_a_training_run_without_metrics_says_so(tmp_path: Path) -> None:
    dense = make.train(tmp_path)
    (dense / "metrics.jsonl").unlink()
    html = Path(report([dense], tmp_path / "report").html).read_text()
    assert "train has no metrics.jsonl" in html and "<svg" not in html


def test_the_record_has_every_step_and_what_it_took(runs: list[Path], tmp_path: Path) -> None:
    page = Page(Path(report(runs, tmp_path / "report").html).read_text())
    record = {row[0]: row for row in page.table("key")}
    assert len(record) == len(runs)
    for run in runs:
        made = json.loads((run / "run.json").read_text())
        assert record[run.name][1] == made["command"] and record[run.name][3] == made["key"][:12]
        assert made["key"] in page.text
    weights = json.loads((runs[0] / "run.json").read_text())["files"]["model.safetensors"]
    assert weights["sha256"] in page.text


def test_equal_steps_make_equal_bytes(runs: list[Path], tmp_path: Path) -> None:
    pages = [Path(report(runs, tmp_path / name).html).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_a_report_is_made_again_when_a_figure_has_changed(tmp_path: Path) -> None:
    dense = make.train(tmp_path)
    eval_ = make.evaluate(tmp_path, dense, 1.6)
    spec = ReportSpec(runs=[str(eval_)], output=str(tmp_path / "report"))
    assert not execute(spec, Console.silent()).reused
    assert execute(spec, Console.silent()).reused
    shutil.rmtree(eval_)
    make.evaluate(tmp_path, dense, 1.7)
    assert not execute(spec, Console.silent(), replace=True).reused
    assert "1.7000" in (tmp_path / "report" / "report.html").read_text()


def test_the_command_takes_many_runs_and_prints_the_page_last(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    words = ["report", *[str(run) for run in runs], "--output", str(folder), "--title", "T"]
    assert app.run(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "report.html")
    assert app.run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["steps"]) == ("tfcli.report/1", len(runs))


def test_a_folder_that_is_no_step_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = ["report", str(tmp_path / "empty"), "--output", str(tmp_path / "report")]
    assert app.run(words) == 2
    assert "empty is not the folder of a finished step" in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "report").exists()
