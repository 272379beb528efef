"""SmoothQuant's factors, by the paper's equation."""

import pytest
import torch

from tests.models.tiny import tiny_model
from tfcli.models.folding import apply_fold, folds_of
from tfcli.quantize.solvers.smooth import smoothing_factors


def test_the_papers_example():
    """Figure 5 of the paper: inputs of up to 2, 16, 2 and 9, and weights of up to 2, 1, 2 and 1."""
    largest = torch.tensor([2.0, 16.0, 2.0, 9.0])
    weights = torch.tensor([[2.0, 1, -2], [1, -1, -1], [2, -1, -2], [-1, -1, 1]]).t()
    factors = smoothing_factors(largest, [weights[:1], weights[1:]])
    torch.testing.assert_close(factors, torch.tensor([1.0, 4.0, 1.0, 3.0]))


@pytest.mark.parametrize(("strength", "inputs", "weights"), [(1.0, 1.0, 32.0), (0.0, 16.0, 1.0)])
def test_the_strength_says_which_side_becomes_even(strength, inputs, weights):
    factors = smoothing_factors(torch.tensor([16.0]), [torch.tensor([[2.0]])], strength)
    assert 16.0 / factors.item() == pytest.approx(inputs * (1 if strength else 2))
    assert 2.0 * factors.item() == pytest.approx(weights)


def test_inputs_that_say_nothing_keep_their_size():
    factors = smoothing_factors(torch.tensor([0.0, 3.0]), [torch.tensor([[5.0, 0.0]])])
    assert torch.equal(factors, torch.ones(2))


def test_with_the_pairs_of_a_block_the_model_stays_and_its_inputs_become_even():
    model = tiny_model("llama", num_attention_heads=4, num_key_value_heads=2)
    ids = torch.randint(4, 61, (2, 17), generator=torch.Generator().manual_seed(0))
    block = model.blocks[0]
    block.input_layernorm.weight.data[3] *= 30
    with torch.no_grad():
        before = model(input_ids=ids).logits
    for fold in folds_of(block):
        seen = largest_inputs(model, block.get_submodule(fold.readers[0]), ids)
        weights = [block.get_submodule(name).weight.data for name in fold.readers]
        factors = smoothing_factors(seen, weights, shared=fold.columns)
        apply_fold(block, fold, fold.gathered(factors))
        after = largest_inputs(model, block.get_submodule(fold.readers[0]), ids)
        assert after.max() / after.median() < seen.max() / seen.median()
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=1e-4, atol=1e-4)


def largest_inputs(model, linear, ids):
    found = []
    handle = linear.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    with torch.no_grad():
        model(input_ids=ids)
    handle.remove()
    return found[0].abs().amax((0, 1))
