"""MLX folders: Hugging Face's names, with weights of affine-quantized integers."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container
from tfcli.errors import WorkError


def _looks_like(path: Path) -> bool:
    from tfcli.checkpoints.beside import CONFIG, read_object

    try:
        config = read_object(path, CONFIG) if (path / CONFIG).is_file() else {}
    except WorkError:
        return False
    quantization = config.get("quantization")  # transformers calls its own quantization_config
    return isinstance(quantization, dict) and {"bits", "group_size"} <= quantization.keys()


MLX = Container("mlx", "mlx", _looks_like, files=("*.safetensors", "*.safetensors.index.json"))
