"""What configs of hqq call linears."""


def tag_of(name: str) -> str:
    """What a config calls a linear of all blocks: `model.layers.3.mlp.up_proj` -> `mlp.up_proj`."""
    words = name.split(".")
    return ".".join(w for w in words if w not in ("model", "layers") and not w.isnumeric())
