"""tfcli from Python: load a model of any container and what belongs to it, make text, vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.checkpoints.checkpoint import Checkpoint
    from tfcli.generation.processors import Allowed
    from tfcli.models.model import Model
    from tfcli.tokenizers.load import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """A model with its tokenizer.

    Args:
        checkpoint: what it was loaded from.
        model: a torch module, in eval mode.
    """

    checkpoint: Checkpoint
    model: Model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """`encode(text) -> ids`, `decode(ids) -> text`, `batch(texts)`.

        Raises:
            WorkError: the checkpoint has none, or a broken one.
        """
        from tfcli.tokenizers.load import load_tokenizer

        return load_tokenizer(self.checkpoint.beside)

    @cached_property
    def processor(self) -> Any:
        """What makes a model's inputs of text and media; see docs/processors.md.

        Raises:
            WorkError: the checkpoint has none, or a broken one.
        """
        from tfcli.processors.load import load_processor

        return load_processor(self.checkpoint.beside)

    def generate(self, prompt: str, *, allowed: Allowed | None = None, **options: Any) -> str:
        """The text that the model makes of a prompt, without the prompt.

        Args:
            prompt: the text to continue, or with `chat=True` a user's message.
            allowed: is given the number of the text, 0, and all ids so far, and returns the ids
                that may come next; None: any may.
            options: keys of `tfcli generate`, such as `max_new_tokens`, `temperature` or `image`.

        Raises:
            ValueError: an option that there is not, or that has no effect.
            UsageError: a model that makes no text, or a prompt that is too long for it.
            WorkError: NaN in the model's output.
        """
        from tfcli.generation.run import answer_one
        from tfcli.generation.spec import GenerateSpec

        spec = GenerateSpec(model=str(self.checkpoint.path), prompt=prompt, **options)
        return answer_one(spec, self.checkpoint, self.model, self.tokenizer, allowed).text

    def embed(self, texts: Sequence[str]) -> Tensor:
        """A vector for each text, [n, d] float32, pooled as the checkpoint's files say.

        Raises:
            UsageError: the model was not loaded with `task="embedding"`.
        """
        import torch

        if self.model.task != "embedding":
            raise UsageError(
                f"the model was loaded as {self.model.task}", fix='load(..., task="embedding")'
            )
        batch = self.tokenizer.batch(texts, padding="right")
        device = self.model.device
        ids, mask = (
            torch.tensor(each, device=device) for each in (batch.ids, batch.attention_mask)
        )
        with torch.no_grad():
            return self.model(input_ids=ids, attention_mask=mask).logits.float().cpu()


def load(
    source: str | Path,
    *,
    task: str | None = None,
    load_in: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
) -> Loaded:
    """Load a model for inference.

    Args:
        source: a folder or file of any container, or a hub id `org/name[:file][@revision]`.
        task: the head, such as `embedding`; None takes the one that makes text where the family
            has one, else the one that the checkpoint was saved for.
        load_in: quantize a dense checkpoint's linears while it is loaded: `8bit`, `4bit`, `3bit`,
            `2bit`, `nf4`, `fp4` or `int8`, as the key of `tfcli generate`.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`.

    Raises:
        UsageError: no such model or device, or one that `load_in` cannot be asked of.
        WorkError: broken files.
        ModelError: a family or a setting that is not supported.
    """
    from tfcli.checkpoints.folder import open_model
    from tfcli.checkpoints.pooling import read_pooling
    from tfcli.console import Console
    from tfcli.devices import pick_device
    from tfcli.generation.tasks import text_task
    from tfcli.models.heads.embedding import Embedding
    from tfcli.quantize.load_in import load_in as packed
    from tfcli.ready import load_ready

    checkpoint = packed(open_model(str(source)), load_in, Console.silent())
    if task is None:
        try:
            task = text_task(checkpoint.model_config)
        except UsageError:
            task = None
    model = load_ready(
        checkpoint,
        Console.silent(),
        task=task,
        dtype=dtype,
        device=pick_device(device),
        keep_packed=load_in is not None,
    )
    pooling = read_pooling(checkpoint.beside)
    if isinstance(model, Embedding) and pooling is not None:
        model.set_pooling(pooling.modes[0] if pooling.modes else "mean", pooling.normalizes)
    return Loaded(checkpoint, model)


def load_tokenizer(source: str | Path) -> Tokenizer:
    """The tokenizer of a model, of which nothing else is read.

    Args:
        source: as in `load`.

    Raises:
        UsageError: no such model.
        WorkError: it has no tokenizer, or a broken one.
    """
    from tfcli.checkpoints.folder import open_model
    from tfcli.tokenizers.load import load_tokenizer as read

    return read(open_model(str(source)).beside)


def load_processor(source: str | Path) -> Any:
    """What makes a model's inputs: of text and media, of media alone, or a tokenizer.

    Args:
        source: as in `load`.

    Raises:
        UsageError: no such model.
        WorkError: it has none, or a broken one.
    """
    from tfcli.checkpoints.folder import open_model
    from tfcli.processors.load import load_processor as read

    return read(open_model(str(source)).beside)


def generate(model: str | Path | Loaded, prompt: str, **options: Any) -> str:
    """The text that a model makes of a prompt, without the prompt; see `Loaded.generate`.

    Args:
        model: what `load` takes, or what it gave, which is quicker for more than one prompt.
        prompt: the text to continue, or with `chat=True` a user's message.
        options: keys of `tfcli generate`, such as `max_new_tokens`, `temperature` or `image`.
    """
    loaded = model if isinstance(model, Loaded) else load(model)
    return loaded.generate(prompt, **options)
