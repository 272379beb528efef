"""`tfcli quantize --compare`: a model quantized in several ways, measured alike, in one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tfcli.recipe.marks import Only, mark_of
from tfcli.recipe.shared_keys import PYTHON_DOCS
from tfcli.recipe.spec import Spec

if TYPE_CHECKING:
    from tfcli.quantize.spec import QuantizeSpec

USUAL = ("rtn", "gptq", "hqq", "bnb", "gptq:3")
"""What is compared where nothing is named; every family has these."""
_OWN = ("model", "output", "compare", "ways", "data", "family_file")
"""Keys of the comparison, not of a way."""


def steps_of(spec: QuantizeSpec) -> dict[str, Spec]:
    """The steps of a comparison, by name: the text, each way with its eval, and the report.

    Raises:
        ValueError: a way that is none, or one that stands twice.
    """
    from tfcli.data.spec import DataSpec
    from tfcli.evaluate.spec import EvalSpec
    from tfcli.report.spec import ReportSpec

    root = Path(spec.output or f"runs/compare-{Path(spec.model).name}")
    text = root / "text"
    steps: dict[str, Spec] = {
        "text": DataSpec(
            source=spec.data or PYTHON_DOCS.name,
            output=str(text),
            seed=spec.seed,
            validation=0.0,
            test=0.1,
        )
    }
    ways = list(spec.ways or USUAL)
    for word in ways:
        name = word.replace(":", "-")
        if name in steps:
            raise ValueError(f"ways: {word} stands there twice")
        made, measured = root / name, f"{name}-eval"
        keys = {"model": spec.model, "output": str(made), "family_file": spec.family_file}
        steps[name] = _way(spec, word, keys, str(text / "train.jsonl"))
        steps[measured] = EvalSpec(
            model=str(made),
            reference=spec.model,
            data=str(text / "test.jsonl"),
            output=str(root / measured),
            sequence_length=spec.sequence_length,
            dtype="float32",
            family_file=spec.family_file,
        )
    runs = [str(root / name) for name in steps]
    title = f"{Path(spec.model).name}, quantized in {len(ways)} ways"
    steps["report"] = ReportSpec(runs=runs, output=str(root / "report"), title=title)
    return steps


def _way(spec: QuantizeSpec, word: str, keys: dict[str, Any], text: str) -> QuantizeSpec:
    """The spec of `method`, `method:bits` or `method:bits:layout`; bits with a fraction are a
    budget's. Keys of the comparison hold for every way that looks at them.

    Raises:
        ValueError: it is none of these.
    """
    method, _, rest = word.partition(":")
    bits, _, layout = rest.partition(":")
    keys = {**keys, "method": method} | ({"layout": layout} if layout else {})
    if "." in bits:
        keys["target_bits"] = bits
    elif bits:
        keys["bits"] = int(bits) if bits.isdigit() else bits
    try:
        bare = type(spec).model_validate(keys)
        values = {name: getattr(bare, name) for name in type(spec).model_fields}
        for name in sorted(spec.model_fields_set - {*_OWN, *keys}):
            only = mark_of(type(spec).model_fields[name], Only)
            if only is None or only.unmet(values) is None:
                keys[name] = getattr(spec, name)
        if bare.calibrated:
            keys["data"] = text
        return type(spec).model_validate(keys)
    except ValidationError as error:
        what = "; ".join(str(each["msg"]).removeprefix("Value error, ") for each in error.errors())
        raise ValueError(f"ways: {word}: {what}") from None
