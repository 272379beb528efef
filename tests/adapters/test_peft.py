"""PEFT's adapters read here, and ours read by PEFT: equal answers and equal names of tensors."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
import transformers

from tests.merge.adapters import ATTENTION, base_folder, gpt2_folder, train
from tfcli.adapters.read import read_adapter
from tfcli.adapters.write import save_adapter
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.models.adapters.attach import add_adapter
from tfcli.models.adapters.control import combine_adapters, set_active
from tfcli.models.adapters.settings import AdapterSettings

pytestmark = [
    pytest.mark.interop,
    # PEFT says of every unusual adapter that it is one.
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]
IDS = torch.randint(0, 60, (2, 16), generator=torch.Generator().manual_seed(0))
LORA, IA3 = peft.LoraConfig, peft.IA3Config
ADAPTERS = {
    "lora": (base_folder, LORA(r=3, lora_alpha=5, target_modules=ATTENTION)),
    "rslora": (base_folder, LORA(r=3, target_modules=ATTENTION, use_rslora=True)),
    "dora": (base_folder, LORA(r=3, target_modules=ATTENTION, use_dora=True)),
    "a table": (base_folder, LORA(r=3, target_modules=["embed_tokens", "q_proj"])),
    "dora of a table": (base_folder, LORA(r=3, target_modules=["embed_tokens"], use_dora=True)),
    "a head whole": (
        base_folder,
        LORA(r=3, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    ),
    "patterns": (
        base_folder,
        LORA(
            r=3,
            target_modules=ATTENTION,
            rank_pattern={"layers.1.self_attn.q_proj": 2},
            alpha_pattern={"down_proj": 7},
        ),
    ),
    "ia3": (base_folder, IA3(target_modules=ATTENTION, feedforward_modules=["down_proj"])),
    "transposed": (gpt2_folder, LORA(r=3, target_modules=["c_attn", "c_fc"])),
    "transposed dora": (gpt2_folder, LORA(r=3, target_modules=["c_attn", "wte"], use_dora=True)),
    "transposed whole": (
        gpt2_folder,
        LORA(r=3, target_modules=["c_attn"], modules_to_save=["ln_f", "mlp.c_proj"]),
    ),
    "transposed ia3": (
        gpt2_folder,
        IA3(target_modules=["c_attn", "mlp.c_fc"], feedforward_modules=["mlp.c_fc"]),
    ),
    "all biases": (gpt2_folder, LORA(r=3, target_modules=["c_attn"], bias="all")),
    "a factor with a bias": (gpt2_folder, LORA(r=3, target_modules=["c_attn"], lora_bias=True)),
}
# PEFT adds the table itself, which nothing has changed.
BESIDE = {".base_layer.weight"}


def answer(model, ids):
    with torch.no_grad():
        return model(ids).logits


def with_peft(base: Path, folder: Path):
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    return peft.PeftModel.from_pretrained(model, folder).eval()


def names(folder: Path) -> set[str]:
    return {each for each in open_tensors(folder) if not each.endswith(tuple(BESIDE))}


def near(first, second, within=1e-5):
    torch.testing.assert_close(first, second, rtol=1e-5, atol=within)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_goes_both_ways_with_equal_answers(kind, tmp_path):
    make, config = ADAPTERS[kind]
    base, theirs, ours = make(tmp_path / "base"), tmp_path / "theirs", tmp_path / "ours"
    expected = answer(train(base, theirs, config), IDS)

    model = load_model(base, dtype=torch.float32)
    assert (answer(model, IDS) - expected).abs().max() > 1e-2
    read_adapter(model, theirs)
    near(answer(model, IDS), expected)

    save_adapter(model, ours, bias=getattr(config, "bias", "none"))
    near(answer(with_peft(base, ours), IDS), expected)
    assert names(ours / "adapter_model.safetensors") == names(theirs / "adapter_model.safetensors")


T5 = {
    **{"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "tie_word_embeddings": False,
}
GPT_NEOX = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    "num_attention_heads": 4,
}
DISTILBERT = {"vocab_size": 64, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}


@pytest.mark.parametrize(
    ("family", "auto", "task", "config"),
    [
        # Its files leave the backbone's name out, and so does PEFT.
        ("t5", "Seq2SeqLM", "seq2seq-lm", LORA(r=2, target_modules=["q", "wo", "lm_head"])),
        # Its files alone call the head `embed_out`.
        (
            "gpt_neox",
            "CausalLM",
            "causal-lm",
            LORA(r=2, target_modules=["lm_head"], modules_to_save=["final_layer_norm"]),
        ),
        # PEFT trains heads of classifiers whole, and takes `pre_classifier` for a `classifier`.
        (
            "distilbert",
            "SequenceClassification",
            "sequence-classification",
            LORA(r=2, target_modules=["q_lin"], task_type="SEQ_CLS"),
        ),
    ],
)
def test_names_are_those_of_hugging_face(family, auto, task, config, tmp_path):
    auto = getattr(transformers, f"AutoModelFor{auto}")
    sizes = {"t5": T5, "gpt_neox": GPT_NEOX, "distilbert": DISTILBERT}[family]
    base, theirs, ours = (tmp_path / name for name in ("base", "theirs", "ours"))
    auto.from_config(transformers.AutoConfig.for_model(family, **sizes)).save_pretrained(base)
    adapted = peft.get_peft_model(auto.from_pretrained(base), config).eval()
    move(adapted)
    adapted.save_pretrained(theirs)
    inputs = {"decoder_input_ids": IDS} if family == "t5" else {}
    with torch.no_grad():
        expected = adapted(input_ids=IDS, **inputs).logits
        model = load_model(base, task=task)
        assert (model(input_ids=IDS, **inputs).logits - expected).abs().max() > 1e-2
        read_adapter(model, theirs)
        near(model(input_ids=IDS, **inputs).logits, expected)
        save_adapter(model, ours)
        loaded = peft.PeftModel.from_pretrained(auto.from_pretrained(base), ours).eval()
        near(loaded(input_ids=IDS, **inputs).logits, expected)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_that_changes_the_base_is_written_as_plain_lora_on_the_base_as_it_was(
    start, tmp_path
):
    base = base_folder(tmp_path / "base")
    model = load_model(base, dtype=torch.float32)
    plain = answer(model, IDS)
    add_adapter(model, AdapterSettings(rank=3, alpha=1, start=start, rslora=True))
    near(answer(model, IDS), plain, within=1e-4)
    move(model)
    save_adapter(model, tmp_path / "adapter")
    near(answer(with_peft(base, tmp_path / "adapter"), IDS), answer(model, IDS))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_are_those_of_peft(start, tmp_path):
    """Up to the signs of singular vectors: what is taken out of the weight is the same."""
    base = base_folder(tmp_path / "base")
    model = load_model(base, dtype=torch.float32)
    add_adapter(model, AdapterSettings(rank=3, alpha=5, start=start, target_modules=("q_proj",)))
    theirs = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto"),
        LORA(r=3, lora_alpha=5, init_lora_weights=start, target_modules=["q_proj"]),
    )
    for ours, other in zip(model.blocks, theirs.base_model.model.model.layers, strict=True):
        first, second = ours.self_attn.q_proj, other.self_attn.q_proj
        near(first.base_layer.weight, second.base_layer.weight)
        near(
            first.change("default").merged(first.base_layer.weight, None)[0]
            - first.base_layer.weight,
            second.get_delta_weight("default"),
        )


def test_targets_that_are_all_linears_are_those_of_peft(tmp_path):
    base = base_folder(tmp_path / "base")
    model = load_model(base)
    changed = add_adapter(model, AdapterSettings())
    theirs = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base), LORA(target_modules="all-linear")
    )
    assert sorted(changed) == sorted(theirs.targeted_module_names)


def test_a_weighted_sum_is_what_peft_calls_cat(tmp_path):
    base = base_folder(tmp_path / "base")
    configs = {
        "a": LORA(r=3, lora_alpha=5, target_modules=ATTENTION),
        "b": LORA(r=2, target_modules=ATTENTION),
    }
    model = load_model(base, dtype=torch.float32)
    theirs = None
    for name, config in configs.items():
        train(base, tmp_path / name, config)
        read_adapter(model, tmp_path / name, name)
        if theirs is None:
            loaded = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
            theirs = peft.PeftModel.from_pretrained(loaded, tmp_path / name, name)
        else:
            theirs.load_adapter(tmp_path / name, name)
    theirs.add_weighted_adapter(["a", "b"], [0.7, 0.2], "sum", combination_type="cat")
    theirs.set_adapter("sum")
    combine_adapters(model, {"a": 0.7, "b": 0.2}, "sum")
    near(answer(model, IDS), answer(theirs.eval(), IDS))
    set_active(model, "a")
    theirs.set_adapter("a")
    near(answer(model, IDS), answer(theirs, IDS))
    # Ranks and factors that differ are in the file too.
    save_adapter(model, tmp_path / "saved", "sum")
    set_active(model, "sum")
    near(answer(with_peft(base, tmp_path / "saved"), IDS), answer(model, IDS))


def move(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
