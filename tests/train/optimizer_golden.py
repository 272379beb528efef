"""Makes optimizer_golden.json with the authors' own packages, adam-mini 1.1.1 and apollo-torch
1.0.3, which are installed for that alone: python tests/train/optimizer_golden.py"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

SHAPES = {
    "layers.0.self_attn.q_proj.weight": (8, 6),
    "layers.0.mlp.up_proj.weight": (5, 6),
    "layers.0.self_attn.q_proj.bias": (8,),
    "layers.0.scale.weight": (6,),
}
STEPS, LR, DECAY = 4, 0.02, 0.1


def start() -> dict[str, nn.Parameter]:
    """The parameters, always the same."""
    draw = torch.Generator().manual_seed(1)
    return {
        name: nn.Parameter(torch.randn(shape, generator=draw)) for name, shape in SHAPES.items()
    }


def moved(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> list[Tensor]:
    """Parameters after steps on drawn gradients."""
    draw = torch.Generator().manual_seed(2)
    for step in range(STEPS):
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=draw) * (1 + step)
        optimizer.step()
    return [each.detach() for each in parameters.values()]


def main() -> None:
    """Write the golden file."""
    from adam_mini import Adam_mini
    from apollo_torch import APOLLOAdamW

    parameters = start()
    options = {"dim": 6, "n_heads": 6 * 6 // 24, "verbose": False}
    peer = Adam_mini(
        list(parameters.items()), lr=LR, betas=(0.9, 0.95), weight_decay=DECAY, **options
    )
    peer.head_numel = 4 * 6  # heads of four rows, whose number is not that of the paper's models
    found = {"adam-mini": [each.tolist() for each in moved(peer, parameters)]}
    kinds = {"apollo": (3, "channel", 1.0), "apollo-mini": (1, "tensor", 128.0)}
    for name, (rank, kind, scale) in kinds.items():
        parameters = start()
        projected = [each for each in parameters.values() if each.ndim > 1]
        rest = [each for each in parameters.values() if each.ndim == 1]
        low = {"rank": rank, "proj": "random", "update_proj_gap": 200, "proj_type": "std"}
        groups = [
            {"params": projected, "scale": scale, "scale_type": kind, **low},
            {"params": rest},
        ]
        peer = APOLLOAdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8)
        found[name] = [each.tolist() for each in moved(peer, parameters)]
    Path(__file__).with_suffix(".json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
