"""What calibration on text cannot show: the inputs of towers, which read other media."""

from __future__ import annotations

from tfcli.errors import UsageError
from tfcli.models.model import Model
from tfcli.models.walks import linears_of
from tfcli.recipe.job import Job

REASON = "in a tower, which calibration text never goes through"


def unseen_linears(model: Model, method: str, job: Job) -> dict[str, str]:
    """Full name of each linear of a block that no text runs through -> why it stays as it is.

    Args:
        model: on the meta device; only its names count.
        method: one that calibrates, for messages.
        job: whose console hears of them.

    Raises:
        UsageError: no linear reads text.
        ModelError: the family declares no calibration walk.
    """
    linears = linears_of(model)
    seen = tuple(f"{walk.blocks}." for walk in model.text_walks)
    unseen = [name for name in linears if not name.startswith(seen)] if seen else list(linears)
    if not seen:
        raise UsageError(
            f"{method} calibrates on text, which {model.config.model_type} does not read",
            where="method",
            fix="take one without calibration, such as --method rtn or --method hqq",
        )
    if unseen:
        chains = [w.blocks for w in model.walks if w not in model.text_walks]
        job.console.note(
            f"{len(unseen)} linears of {' and '.join(chains)} stay as they are: calibration text "
            "never goes through towers; --method rtn, hqq and bnb take them too"
        )
    return dict.fromkeys(unseen, REASON)
