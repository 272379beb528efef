"""The calibration loop: what each linear sees, in which order, and what is left in memory."""

import pytest
import torch

from tests.quantize.watching import Watching, steps, walk
from tfcli.errors import UsageError, WorkError
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.quantize.text import token_windows

LLAMA = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}


def zeroing() -> Watching:
    """A method that zeroes every weight, and remembers what it saw."""
    return Watching(torch.zeros_like)


def model(dtype=torch.float32):
    return initialize(build(read_config(LLAMA)), seed=0, dtype=dtype).eval()


def batches():
    ids = torch.randint(64, (4, 8), generator=torch.Generator().manual_seed(0))
    return list(ids.split(2))


def test_linears_come_in_execution_order_block_by_block():
    method = zeroing()
    done = list(walk(model(), batches(), method))
    assert [len(names) for names in done] == [7, 7]
    assert method.order == [name for names in done for name in names]
    assert method.order[:5] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.k_proj",
        "model.layers.0.self_attn.v_proj",
        "model.layers.0.self_attn.o_proj",
        "model.layers.0.mlp.gate_proj",
    ]


def test_inputs_are_those_of_the_model_when_nothing_changes():
    """Observed inputs equal what hooks see in a plain forward pass."""
    method, plain = Watching(), model()
    expected = {}
    for name in ("model.layers.0.mlp.down_proj", "model.layers.1.self_attn.q_proj"):
        plain.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: expected.setdefault(name, []).append(args[0])
        )
    with torch.no_grad():
        for ids in batches():
            plain(input_ids=ids)

    list(walk(model(), batches(), method))

    for name, inputs in expected.items():
        torch.testing.assert_close(method.seen[name], inputs)


def mixture(**changes):
    sizes = {"num_experts": 24, "num_experts_per_tok": 1}
    config = read_config(LLAMA | {"model_type": "mixtral"} | sizes | changes)
    return initialize(build(config), seed=0).eval()


@pytest.mark.parametrize("at_once", [1, 1 << 28], ids=["one by one", "together"])
def test_each_expert_sees_its_own_tokens(monkeypatch, at_once):
    monkeypatch.setattr("tfcli.quantize.walk._AT_ONCE", at_once)
    method, plain = Watching(), mixture()
    experts = plain.model.layers[0].block_sparse_moe.experts
    expected: dict[str, list[torch.Tensor]] = {}
    for number, expert in enumerate(experts):
        name = f"model.layers.0.block_sparse_moe.experts.{number}.w1"
        expert.w1.register_forward_pre_hook(
            lambda _, args, name=name: expected.setdefault(name, []).append(args[0])
        )
    with torch.no_grad():
        for ids in batches():
            plain(input_ids=ids)

    done = list(walk(mixture(), batches(), method))

    first = {name for name in method.seen if name.startswith("model.layers.0") and "w1" in name}
    assert first == set(expected)
    for name in first:
        torch.testing.assert_close(method.seen[name], expected[name])
    # Those that no token went to are quantized all the same.
    assert len(expected) < 24
    path = "model.layers.0.block_sparse_moe.experts"
    assert done[0][4:] == [
        *(f"{path}.{number}.{name}" for number in range(24) for name in ("w1", "w3")),
        *(f"{path}.{number}.w2" for number in range(24)),
    ]


def test_experts_run_no_more_often_than_their_statistics_need(monkeypatch):
    """A block runs for each group of attention, and twice for all experts together."""
    runs = []

    def count(model):
        streamed, done = steps(model, batches(), zeroing())
        streamed.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
        list(done)
        return len(runs) // len(batches())

    assert count(mixture()) == 4 + 1  # the stages, the outputs
    runs.clear()
    monkeypatch.setattr("tfcli.quantize.walk._AT_ONCE", 2 * 32**2)
    # Two experts at a time for w1 and w3, with 32 inputs; w2 has 64, so each comes alone.
    assert count(mixture()) == (2 + 12 + 24) + 1


def test_later_linears_see_the_changes_of_earlier_ones():
    method, plain = zeroing(), model()
    list(walk(plain, batches(), method))
    # With v_proj zeroed, attention gives o_proj nothing but zeros.
    assert not torch.stack(method.seen["model.layers.0.self_attn.o_proj"]).any()
    # With every linear zeroed, a block hands on what it was given: the embeddings.
    first = torch.cat(method.seen["model.layers.0.self_attn.q_proj"])
    torch.testing.assert_close(torch.cat(method.seen["model.layers.1.self_attn.q_proj"]), first)


def test_statistics_are_in_fp32_for_a_checkpoint_in_bf16():
    method, half = Watching(), model(torch.bfloat16)
    list(walk(half, batches(), method))
    exact = Watching()
    list(walk(model(torch.bfloat16).float(), batches(), exact))
    for name, inputs in exact.seen.items():
        assert method.seen[name][0].dtype == torch.float32
        torch.testing.assert_close(method.seen[name], inputs)


def test_one_block_at_a_time_is_in_memory():
    streamed, done = steps(model(torch.bfloat16), batches(), zeroing())
    held = []
    for _ in done:
        held.append([any(not p.is_meta for p in block.parameters()) for block in streamed.blocks])
    assert held == [[True, False], [False, True]]
    assert all(parameter.is_meta for parameter in streamed.model.embed_tokens.parameters())


def test_linears_that_are_not_wanted_are_left_alone():
    method, plain = zeroing(), model()
    done = list(walk(plain, batches(), method, exclude=(r"attn", r"gate", r"down")))
    assert done == [["model.layers.0.mlp.up_proj"], ["model.layers.1.mlp.up_proj"]]


def test_gradients_are_off_inside_and_unchanged_outside():
    plain = model()
    next(walk(plain, batches(), zeroing()))
    assert torch.is_grad_enabled()


def test_windows_join_documents_and_are_drawn_with_the_seed():
    documents = [[1, 2, 3], [4, 5, 6, 7, 8]]
    every = token_windows(documents, length=2, samples=9, seed=0)
    assert every.available == 4
    assert sorted(every.ids.tolist()) == [[1, 2], [3, 4], [5, 6], [7, 8]]
    drawn = [token_windows(documents, length=2, samples=2, seed=seed).ids for seed in (0, 0, 3)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_every_window_begins_as_texts_of_the_model_do():
    """With the prefix, which counts into its length, and once where a document begins there."""
    documents = [[0, 9, 1, 2, 3, 4], [0, 9, 5], [0, 9, 6, 7, 8]]
    every = token_windows(documents, length=4, samples=9, seed=0, prefix=(0, 9))
    assert sorted(every.ids.tolist()) == [
        [0, 9, 1, 2],
        [0, 9, 3, 4],
        [0, 9, 5, 0],
        [0, 9, 7, 8],
        [0, 9, 9, 6],
    ]
    with pytest.raises(UsageError, match="2 has no room beside the 2 tokens"):
        token_windows(documents, length=2, samples=1, seed=0, prefix=(0, 9))


def test_too_little_text_is_an_error():
    with pytest.raises(WorkError, match="3 tokens, less than one window of 4"):
        token_windows([[1, 2, 3]], length=4, samples=1, seed=0)
