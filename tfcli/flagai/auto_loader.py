"""A model and its tokenizer from the names of a task and of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tfcli.flagai.fetch import CONFIG, local_folder
from tfcli.flagai.tables import class_for, find_model, find_task

if TYPE_CHECKING:
    from tfcli.flagai.base_model import BaseModel
    from tfcli.tokenizers.load import Tokenizer


class AutoLoader:
    """Loads a model for a task. Names are checked at once, files are read when they are asked for.

    A folder `{model}-{task}` in `model_dir`, with weights that were trained for the task, goes
    before the folder of the model itself.

    Args:
        task_name: one of `tables.TASKS`, in any case.
        model_name: one of `tables.MODELS`, in any case.
        model_dir: where the folders of models lie.
        only_download_config: leave the weights; the model has random ones.
        device: where the model goes.
        dtype: of the parameters; None keeps the stored ones.
        overrides: keys in place of config.json's, such as `class_num=3`.

    Raises:
        UsageError: an unknown name, or a pair that does not go together.
    """

    def __init__(
        self,
        task_name: str = "lm",
        model_name: str = "RoBERTa-base-ch",
        model_dir: str | Path = "./checkpoints",
        only_download_config: bool = False,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype | None = None,
        **overrides: Any,
    ) -> None:
        self.task, self.known = find_task(task_name), find_model(model_name)
        self.class_name = class_for(self.task, self.known)
        self.model_dir = Path(model_dir)
        self.only_download_config = only_download_config
        self.given = {"device": device, "dtype": dtype, **overrides}
        self._model: BaseModel | None = None
        self._tokenizer: Tokenizer | None = None

    @property
    def folder_name(self) -> str:
        """The folder that is read: the one for the task, if it is there."""
        trained = f"{self.known.name}-{self.task}"
        return trained if (self.model_dir / trained / CONFIG).is_file() else self.known.name

    def get_model(self) -> BaseModel:
        """The model; loaded on the first call. See `BaseModel.from_pretrain`."""
        if self._model is None:
            from tfcli.flagai import models

            found: type[BaseModel] = getattr(models, self.class_name)
            self._model = found.from_pretrain(
                self.model_dir, self.folder_name, self.only_download_config, **self.given
            )
        return self._model

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer of the folder; loaded on the first call.

        Raises:
            WorkError: the folder has none that can be read.
        """
        if self._tokenizer is None:
            from tfcli.tokenizers.load import load_tokenizer

            folder = local_folder(
                self.model_dir, self.folder_name, config_only=self.only_download_config
            )
            self._tokenizer = load_tokenizer(folder)
        return self._tokenizer
