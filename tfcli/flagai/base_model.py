"""What all classes of FlagAI's interface share: from a folder to a model, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from tfcli.checkpoints.checkpoint import Weights
from tfcli.checkpoints.flagai.configs import Settings, check_overrides, is_flagai, kind_of, to_core
from tfcli.checkpoints.flagai.tensors import differ, flagai_files, from_flagai, model_tensors
from tfcli.checkpoints.flagai.weights import Stored, open_weights
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.strict_json import parse_object
from tfcli.checkpoints.torch.serialize import write_torch
from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.files import write_json
from tfcli.flagai.fetch import CONFIG, local_folder
from tfcli.models.config import BaseConfig
from tfcli.models.loading import initialize, load_weights
from tfcli.models.matching import LoadAccount
from tfcli.models.model import Model
from tfcli.models.registry import get_family

Output = dict[str, Any]


class BaseModel(nn.Module):
    """A model of the core behind FlagAI's names.

    `forward` takes keyword tensors, takes no notice of those that it does not know, and returns a
    dictionary with `logits`, `hidden_states`, and `loss` where there is something to learn.

    Class attributes:
        kind: one of `configs.KINDS`.
        task: the core's task.
        nested: FlagAI's class holds the body as `model`.
        needs_classes: it has as many outputs as `class_num` says.
        new_head: a head that a folder lacks starts with random values, and a warning.

    Attributes:
        config: the content of config.json, with what was given beside it.
        core: the model.
        account: what became of every stored tensor, after weights were loaded.

    Args:
        config: the content of a config.json.
        attention: name of the core's attention backend.
        empty: leave the weights without values, on the meta device.
        seed: of new weights.

    Raises:
        ModelError: a config that is not built.
    """

    kind: ClassVar[str]
    task: ClassVar[str]
    nested: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False
    new_head: ClassVar[bool] = False

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        attention: str = "sdpa",
        empty: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = Settings(config)
        self.account: LoadAccount | None = None
        core_config = to_core(config, self.kind)
        if self.needs_classes and not core_config.id2label:
            raise UsageError(
                f"{type(self).__name__} needs to know how many classes there are",
                fix="give class_num=",
            )
        self.core = self._core(core_config, attention)
        if not empty:
            initialize(self.core, seed)

    @classmethod
    def core_class(cls) -> type[Model]:
        """The core's class: that of the registry, unless a subclass has another."""
        return get_family(cls.kind).model_class(cls.task)

    def _core(self, config: BaseConfig, attention: str) -> Model:
        with torch.device("meta"):
            core = self.core_class()(config, attention)
        core.set_activation_checkpointing(bool(self.config.get("checkpoint_activations", False)))
        return core

    @classmethod
    def init_from_json(
        cls,
        config_file: str | Path = "./config.json",
        device: torch.device | str = "cpu",
        *,
        seed: int = 0,
        **overrides: Any,
    ) -> Self:
        """A new model with random weights.

        Args:
            config_file: FlagAI's or Hugging Face's config.json.
            device: where the model goes.
            seed: of the weights.
            overrides: keys in place of the file's; `checkpoint_activations=True` computes blocks
                again in the backward pass instead of keeping what they held.

        Raises:
            WorkError: no such file, or it describes another kind of model.
            UsageError: an override that no config of this kind has.
            ModelError: a value that is not built.
        """
        return cls(cls._settings(Path(config_file), overrides), seed=seed).to(device)

    @classmethod
    def from_pretrain(
        cls,
        download_path: str | Path = "./checkpoints",
        model_name: str = "RoBERTa-base-ch",
        only_download_config: bool = False,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype | None = None,
        seed: int = 0,
        **overrides: Any,
    ) -> Self:
        """A model with the weights of the folder `download_path/model_name`, in eval mode.

        Where the folder is not filled and the name is known, its files are fetched into it first;
        see `fetch.local_folder`.

        Args:
            only_download_config: leave the weights; the model has random ones.
            device: where the model goes.
            dtype: of the parameters; None keeps the stored ones.
            seed: of weights that are new.
            overrides: as in `init_from_json`.

        Raises:
            UsageError: no such folder and nowhere to fetch it from, or an unknown override.
            WorkError: files that cannot be fetched or read.
            ModelError: weights and config do not belong together; every such tensor is named.
        """
        folder = local_folder(download_path, model_name, config_only=only_download_config)
        settings = cls._settings(folder / CONFIG, overrides)
        if only_download_config:
            return cls(settings, seed=seed).to(device, dtype).eval()
        model = cls(settings, empty=True)
        stored = open_weights(folder, cls.kind, settings)
        model._load(stored, str(folder), device, dtype, seed)
        return model.eval()

    def load_weights(self, checkpoint_path: str | Path) -> LoadAccount:
        """Load the weights of a file of torch.save, or of a folder, onto the model's device.

        Raises:
            WorkError: files that cannot be read.
            ModelError: weights and config do not belong together; every such tensor is named.
        """
        path = Path(checkpoint_path)
        if path.is_dir():
            stored = open_weights(path, self.kind, self.config)
        else:
            stored = Stored.of(open_tensors(path))
        self._load(stored, str(path), self.core.device, None, 0)
        assert self.account is not None
        return self.account

    def save_weights(self, checkpoint_path: str | Path = "./pytorch_model.bin") -> None:
        """Write the weights under FlagAI's names as torch.save would, whole or not at all."""
        tensors = model_tensors(self.core)
        (pending,) = flagai_files(tensors, self.kind, self.task, self.config, nested=self.nested)
        write_torch(Path(checkpoint_path), pending)

    def save_config(self, config_path: str | Path = "./config.json") -> None:
        """Write the config, whole or not at all."""
        write_json(Path(config_path), dict(self.config))

    def _load(
        self,
        stored: Stored,
        where: str,
        device: torch.device | str,
        dtype: torch.dtype | None,
        seed: int,
    ) -> None:
        tensors, skipped = from_flagai(stored, self.kind, self.task, self.config)
        if is_flagai(self.config) and differ(tensors, self.kind):
            config = self.core.config.replace(tie_word_embeddings=False)
            self.core = self._core(config, self.core.attention)
        try:
            self.account = load_weights(
                self.core,
                Weights(tensors),
                device=device,
                dtype=dtype,
                new_head=self.new_head,
                seed=seed,
            )
        except ModelError as error:
            at = f"{where}: {error.where}" if error.where else where
            raise ModelError(error.what, where=at, fix=error.fix) from error
        self.account.skipped.update(skipped)
        if self.account.initialized:
            new = ", ".join(self.account.initialized)
            warnings.warn(f"{where} lacks {new}: new random values, to be trained", stacklevel=3)

    @classmethod
    def _settings(cls, path: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
        try:
            data = parse_object(path.read_bytes(), where=str(path))
        except OSError as error:
            raise WorkError(f"cannot be read: {error.strerror}", where=str(path)) from error
        kind = kind_of(data, str(path))
        if kind != cls.kind:
            raise WorkError(
                f"it describes a {kind} model, which {cls.__name__} is not",
                where=str(path),
                fix=f"take one of the classes for {kind}, or AutoLoader",
            )
        check_overrides(overrides, data, kind)
        return {**data, **overrides}
