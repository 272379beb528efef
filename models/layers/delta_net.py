"""Gated delta networks (Yang et al. 2025): a fast-weight memory that corrects what it holds.

Each head has a matrix that maps keys to values. A token lets it decay, looks up what it gives for
the token's key, and moves that towards the token's value. States are float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.caches.layers import RecurrentLayer
from tfcli.models.context import Context
from tfcli.models.folding import Fold, span
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import GatedRMSNorm
from tfcli.models.layers.recurrence import Tensors, recur
from tfcli.models.layers.routing import Gate
from tfcli.models.layers.state_space import CausalConv, without_padding

CHUNK = 64
"""Tokens of a prompt that are solved for at a time."""


def delta_rule(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    decay: torch.Tensor,
    strength: torch.Tensor,
    state: torch.Tensor | None,
    chunk: int = CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each token reads from the memory, and the memory after the last one.

    Args:
        query (Tensor): [b, s, h, n]
        key (Tensor): [b, s, h, n]
        value (Tensor): [b, s, h, p]
        decay (Tensor): [b, s, h], logarithm of the factor on the memory, at most 0.
        strength (Tensor): [b, s, h], how far a token moves the memory: 0 leaves it, 1 replaces.
        state (Tensor): [b, h, n, p]; None: zeros.
        chunk: tokens at a time. A single token takes a plain step.

    All are float32.

    Returns:
        [b, s, h, p], and the state to give with the next tokens
    """
    if state is None:
        batch, _, heads, size = key.shape
        state = value.new_zeros(batch, heads, size, value.shape[-1])
    if query.shape[1] == 1 or torch.compiler.is_exporting():
        (state,), out = recur(_step, (state,), (query, key, value, decay, strength))
        return out, state
    outputs = []
    for at in range(0, query.shape[1], chunk):
        part = slice(at, at + chunk)
        columns = [x[:, part].transpose(1, 2) for x in (query, key, value, decay, strength)]
        out, state = _chunk(columns, state)
        outputs.append(out.transpose(1, 2))
    return torch.cat(outputs, dim=1), state


def _step(states: Tensors, token: Tensors) -> tuple[Tensors, torch.Tensor]:
    """One token: [b, h, ...] each."""
    query, key, value, decay, strength = token
    state = states[0] * decay.exp()[..., None, None]
    held = (key[..., None, :] @ state)[..., 0, :]
    change = strength[..., None] * (value - held)
    state = state + key[..., :, None] * change[..., None, :]
    return (state,), (query[..., None, :] @ state)[..., 0, :]


def _chunk(columns: list[torch.Tensor], state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Several tokens at once: [b, h, l, ...] each.

    What a token changes depends on what those before it in the chunk have changed. That is a
    triangular system of equations, and all changes are its solution.
    """
    query, key, value, decay, strength = columns
    fallen = decay.cumsum(-1)
    between = fallen[..., :, None] - fallen[..., None, :]
    past = torch.ones_like(between[0, 0], dtype=torch.bool).tril()
    between = between.masked_fill(~past, -torch.inf).exp()
    since = fallen.exp()[..., None]  # the decay from before the chunk up to each token
    strength = strength[..., None]
    overlap = strength * (key @ key.transpose(-1, -2)) * between
    wanted = strength * (value - since * (key @ state))
    # Only what lies below the diagonal is read: a token does not correct itself.
    change = torch.linalg.solve_triangular(overlap, wanted, upper=False, unitriangular=True)
    out = since * (query @ state) + ((query @ key.transpose(-1, -2)) * between) @ change
    left = (fallen[..., -1:] - fallen).exp()[..., None]
    state = state * since[..., -1:, :] + (key * left).transpose(-1, -2) @ change
    return out, state


class GatedDeltaNet(RecurrentLayer):
    """The delta rule in place of attention: project, convolve, remember, norm, project.

    Args:
        hidden_size: d.
        key_heads: heads of queries and keys, a divisor of `value_heads`.
        value_heads: heads of values, each with a memory of its own.
        key_dim: width of a head of queries or keys.
        value_dim: width of a head of values.
        kernel: tokens that the convolution sees.
        act: name of the activation after the convolution.
        eps: of the norm of what is read.
        layer: number of the block.
    """

    def __init__(
        self,
        hidden_size: int,
        key_heads: int,
        value_heads: int,
        key_dim: int,
        value_dim: int,
        *,
        kernel: int,
        act: str,
        eps: float,
        layer: int,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.key_heads, self.value_heads = key_heads, value_heads
        self.key_dim, self.value_dim = key_dim, value_dim
        keys, values = key_heads * key_dim, value_heads * value_dim
        self.sizes = (keys, keys, values)
        self.conv1d = CausalConv(sum(self.sizes), kernel, bias=False)
        self.act = activation(act)
        self.dt_bias = nn.Parameter(torch.empty(value_heads))
        self.A_log = nn.Parameter(torch.empty(value_heads))
        self.add_projections(hidden_size)
        self.norm = GatedRMSNorm(value_dim, eps, gate_first=False)
        self.out_proj = linear(values, hidden_size, bias=False)

    def add_projections(self, hidden_size: int) -> None:
        """Make what `project` uses."""
        self.in_proj_qkv = linear(hidden_size, sum(self.sizes), bias=False)
        self.in_proj_z = linear(hidden_size, self.sizes[-1], bias=False)
        self.in_proj_b = Gate(hidden_size, self.value_heads)
        self.in_proj_a = Gate(hidden_size, self.value_heads)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the layer needs of its input.

        Args:
            x (Tensor): [b, s, d]

        Returns:
            queries, keys and values side by side; the gate, [b, s, value_heads * value_dim]; and
            the strength and the decay of each head before their functions, [b, s, value_heads]
        """
        strength, step = self.in_proj_b.scores(x), self.in_proj_a.scores(x)
        return self.in_proj_qkv(x), self.in_proj_z(x), strength, step

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        carried = self.carried(context)
        mixed, gate, strength, step = self.project(x)
        mixed, conv = self.conv1d(without_padding(mixed, context), carried.get("conv"))
        query, key, value = self.act(mixed).split(self.sizes, dim=-1)
        decay = -self.A_log.float().exp() * F.softplus(step.float() + self.dt_bias.float())
        out, state = delta_rule(
            self.directions(query) * self.key_dim**-0.5,
            self.directions(key),
            value.unflatten(-1, (self.value_heads, -1)).float(),
            without_padding(decay, context),  # padding leaves the memory as it is
            without_padding(strength.sigmoid().float(), context),
            carried.get("state"),
        )
        self.carry_on(context, conv=conv, state=state)
        out = self.norm(out, gate.unflatten(-1, (self.value_heads, -1)))
        return self.out_proj(out.flatten(-2))

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")

    def folds(self) -> Iterator[Fold]:
        """See `folding`: all heads have one norm."""
        columns = span(0, self.sizes[-1]) % self.value_dim
        yield Fold("norm", ("out_proj",), columns=columns)

    def directions(self, x: torch.Tensor) -> torch.Tensor:
        """Queries or keys of length 1, one for each head of values.

        x (Tensor): [b, s, key_heads * key_dim] -> float32 [b, s, value_heads, key_dim]
        """
        x = x.unflatten(-1, (self.key_heads, -1)).float()
        x = x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
        return x.repeat_interleave(self.value_heads // self.key_heads, 2)


class FusedGatedDeltaNet(GatedDeltaNet):
    """The same with two linears, whose rows go by heads of keys.

    `in_proj_qkvz` has a query, a key and all values of the head, then the gates of these;
    `in_proj_ba` the strengths, then the decays.
    """

    def add_projections(self, hidden_size: int) -> None:
        """See `GatedDeltaNet.add_projections`."""
        self.in_proj_qkvz = linear(hidden_size, sum(self.sizes) + self.sizes[-1], bias=False)
        self.in_proj_ba = Gate(hidden_size, 2 * self.value_heads)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return ("in_proj_qkvz", "in_proj_ba")

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `GatedDeltaNet.project`."""
        values = self.sizes[-1] // self.key_heads
        widths = (self.key_dim, self.key_dim, values, values)
        by_head = self.in_proj_qkvz(x).unflatten(-1, (self.key_heads, -1)).split(widths, dim=-1)
        query, key, value, gate = (part.flatten(-2) for part in by_head)
        strength, step = self.in_proj_ba.scores(x).unflatten(-1, (self.key_heads, 2, -1)).unbind(-2)
        mixed = torch.cat((query, key, value), dim=-1)
        return mixed, gate, strength.flatten(-2), step.flatten(-2)
