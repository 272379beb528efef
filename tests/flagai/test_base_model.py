from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import warnings

import pytest
import torch

from tests.flagai.folders import ALL, CLASSES, CONFIGS, divide_into_ranks, make, stored, write
from tfcli.errors import ModelError, Problem, UsageError, WorkError
from tfcli.flagai import models


def same(one, other):
    ours, theirs = one.core.state_dict(), other.core.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("cls", ALL)
def test_a_folder_loads_as_it_was_saved(cls, tmp_path):
    model = make(cls)
    write(tmp_path / "mine", model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = cls.from_pretrain(tmp_path, "mine")
    same(again, model)
    assert not again.training
    assert again.account.initialized == []


# What FlagAI's own classes call their parameters, one block and the heads.
BERT_BLOCK = [
    f"encoder.layer.0.{name}.{kind}"
    for name in (
        "attention.self.query_key_value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    )
    for kind in ("weight", "bias")
]
HEADS = {
    models.BertForMaskLM: [
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.LayerNorm.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
    ],
    models.BertForClsClassifier: ["out_layer.weight", "out_layer.bias", "model.pooler.dense.bias"],
    models.BertForSequenceLabeling: ["final_dense.weight", "final_dense.bias"],
    models.BertForEmbedding: ["model.pooler.dense.weight"],
}


@pytest.mark.parametrize("cls", HEADS)
def test_bert_s_weights_have_flagai_s_names(cls, tmp_path):
    held = stored(write(tmp_path / "mine", make(cls)))
    assert {*HEADS[cls], *(f"model.{name}" for name in BERT_BLOCK)} <= held.keys()
    assert "model.embeddings.word_embeddings.weight" in held
    odd = [name for name in held if name.startswith(("bert.", "classifier")) or "query." in name]
    assert odd == []


def test_bare_classes_store_their_body_bare(tmp_path):
    held = stored(write(tmp_path / "bert", make(models.BertModel)))
    assert set(BERT_BLOCK) <= held.keys()
    assert held["encoder.layer.0.attention.self.query_key_value.weight"].shape == (96, 32)
    glm = stored(write(tmp_path / "glm", make(models.GLMForSeq2Seq)))
    assert "transformer.layers.1.attention.query_key_value.bias" in glm
    assert "word_embeddings.weight" in glm and "lm_head.weight" not in glm
    nested = stored(write(tmp_path / "cls", make(models.GLMForSequenceClassification)))
    assert {"model.word_embeddings.weight", "pool_layer.bias", "multichoice_head.bias"} <= set(
        nested
    )


def test_gpt2_is_stored_as_flagai_reads_it_and_t5_whole(tmp_path):
    gpt2 = stored(write(tmp_path / "gpt2", make(models.GPT2Model)))
    assert gpt2["transformer.h.0.attn.c_attn.weight"].shape == (32, 96)
    t5 = stored(write(tmp_path / "t5", make(models.T5Model)))
    whole = {f"{part}.embed_tokens.weight" for part in ("encoder", "decoder")}
    assert {*whole, "shared.weight", "lm_head.weight"} <= t5.keys()  # FlagAI loads T5 strictly


def test_queries_keys_and_values_are_the_thirds_of_the_joined_tensor(tmp_path):
    model = make(models.BertModel)
    held = stored(write(tmp_path / "mine", model))
    part = model.core.body.encoder.layer[1].attention.self
    joined = held["encoder.layer.1.attention.self.query_key_value.weight"]
    assert torch.equal(joined, torch.cat([part.query.weight, part.key.weight, part.value.weight]))


@pytest.mark.parametrize("prefix", ["", "bert.", "model."])
def test_hugging_face_s_names_load_too(prefix, tmp_path):
    model = make(models.BertModel)
    folder = write(tmp_path / "mine", model)
    theirs = {
        prefix + name.removeprefix("bert."): value
        for name, value in model.core.state_dict().items()
        if "pooler" not in name
    }
    theirs |= {"cls.seq_relationship.weight": torch.zeros(2, 32)}
    theirs = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): theirs[name] for name in theirs}
    torch.save(theirs, folder / "pytorch_model.bin")
    with pytest.warns(UserWarning, match=r"bert\.pooler\.dense\.weight"):
        again = models.BertModel.from_pretrain(tmp_path, "mine")
    assert again.account.skipped == {
        "cls.seq_relationship.weight": "part of another task's head",
    }
    ids = torch.randint(1, 61, (2, 9))
    assert torch.equal(again(ids)["logits"], model(ids)["logits"])


@pytest.mark.parametrize("wrapper", ["module", "state_dict"])
def test_what_trainers_put_around_the_weights_is_taken_off(wrapper, tmp_path):
    model = make(models.GLMModel)
    folder = write(tmp_path / "mine", model)
    torch.save({wrapper: stored(folder), "iteration": 7}, folder / "pytorch_model.bin")
    again = models.GLMModel.from_pretrain(tmp_path, "mine")
    same(again, model)
    assert again.account.skipped == {"iteration": "7, beside the weights"}


def test_safetensors_and_shards_of_pickles_load(tmp_path):
    from tfcli.checkpoints.folder import save_model

    model = make(models.GPT2Model)
    folder = write(tmp_path / "mine", model)
    held = stored(folder)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(held)
    for i in range(2):
        part = {name: held[name] for name in names[i::2]}
        torch.save(part, folder / f"pytorch_model-0000{i + 1}-of-00002.bin")
    same(models.GPT2Model.from_pretrain(tmp_path, "mine"), model)
    save_model(model.core, tmp_path / "hf")
    same(models.GPT2Model.from_pretrain(tmp_path, "hf"), model)


def test_the_old_format_of_torch_save_loads(tmp_path):
    model = make(models.GLMModel)
    folder = write(tmp_path / "mine", model)
    path = folder / "pytorch_model.bin"
    torch.save(stored(folder), path, _use_new_zipfile_serialization=False)
    same(models.GLMModel.from_pretrain(tmp_path, "mine"), model)


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pickle_runs_no_code(tmp_path, capsys):
    folder = write(tmp_path / "mine", make(models.GLMModel))
    for save in (
        lambda path: torch.save({"x": Evil()}, path),
        lambda path: path.write_bytes(pickle.dumps({"x": Evil()}, protocol=2)),
    ):
        save(folder / "pytorch_model.bin")
        with pytest.raises(WorkError, match=r"asks for 'builtins\.print'"):
            models.GLMModel.from_pretrain(tmp_path, "mine")
    assert capsys.readouterr().out == ""


def bad(folder, change):
    held = stored(folder)
    change(held)
    torch.save(held, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda w: w.pop("transformer.layers.1.mlp.dense_h_to_4h.bias"),
            ModelError,
            "lacks glm.tra",
        ),
        (lambda w: w.update(odd=torch.ones(2)), ModelError, "no place for"),
        (
            lambda w: w.update({"transformer.final_layernorm.bias": torch.ones(31)}),
            ModelError,
            "does not fit",
        ),
        (lambda w: w.update({"model.word_embeddings.weight": torch.ones(1)}), WorkError, "twice"),
        (lambda w: w.update({1.5: torch.ones(2)}), WorkError, "a tensor has a float for a name"),
        (
            lambda w: w.update({"word_embeddings.weight": torch.ones(1).expand(10**9)}),
            WorkError,
            "4000000000 bytes are unfolded from 4",
        ),
        (lambda w: w.clear(), WorkError, "holds no tensors"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_their_name(change, error, message, tmp_path):
    folder = write(tmp_path / "mine", make(models.GLMModel))
    bad(folder, change)
    with pytest.raises(error, match=message):
        models.GLMModel.from_pretrain(tmp_path, "mine")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04broken"])
def test_broken_files_are_refused(content, tmp_path):
    folder = write(tmp_path / "mine", make(models.GLMModel))
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(WorkError, match=r"pytorch_model\.bin"):
        models.GLMModel.from_pretrain(tmp_path, "mine")


def test_a_head_that_is_not_there_is_new_and_said_to_be(tmp_path):
    write(tmp_path / "mine", make(models.BertModel))
    with pytest.warns(UserWarning, match="classifier.weight, classifier.bias: new random values"):
        model = models.BertForSequenceLabeling.from_pretrain(tmp_path, "mine", class_num=5)
    assert model.account.initialized == ["classifier.weight", "classifier.bias"]
    assert model(torch.ones(1, 4, dtype=torch.long))["logits"].shape == (1, 4, 5)
    with pytest.raises(UsageError, match="class_num="):
        models.BertForSequenceLabeling.from_pretrain(tmp_path, "mine")
    with pytest.raises(ModelError, match=r"lacks cls\.predictions"):
        models.BertForMaskLM.from_pretrain(tmp_path, "mine")


def test_a_trained_masked_lm_head_may_differ_from_the_token_table(tmp_path):
    model = make(models.BertForMaskLM)
    folder = write(tmp_path / "mine", model)
    other = torch.randn(61, 32)
    bad(folder, lambda w: w.update({"cls.predictions.decoder.weight": other}))
    again = models.BertForMaskLM.from_pretrain(tmp_path, "mine")
    assert torch.equal(again.core.cls["predictions"].decoder.weight, other)
    words = again.core.body.embeddings.word_embeddings.weight
    assert torch.equal(words, model.core.body.embeddings.word_embeddings.weight)


def test_gpt2_s_head_is_the_token_table_whatever_the_folder_holds(tmp_path):
    model = make(models.GPT2Model)
    folder = write(tmp_path / "mine", model)
    bad(folder, lambda w: w.update({"lm_head.weight": torch.randn(61, 32)}))
    again = models.GPT2Model.from_pretrain(tmp_path, "mine")
    same(again, model)
    assert list(again.account.skipped) == ["lm_head.weight"]


@pytest.mark.parametrize("count", [2, 4])
def test_rank_files_become_one_model(count, tmp_path):
    model = make(models.GLMModel, vocab_size=64)
    divide_into_ranks(write(tmp_path / "mine", model), "glm", count)
    same(models.GLMModel.from_pretrain(tmp_path, "mine"), model)


def test_a_rank_holds_its_heads_of_queries_keys_and_values(tmp_path):
    model = make(models.GLMModel, vocab_size=64)
    folder = write(tmp_path / "mine", model)
    name = "transformer.layers.0.attention.query_key_value.weight"
    query, key, value = stored(folder)[name].chunk(3)
    divide_into_ranks(folder, "glm", 2)
    second = torch.load(folder / "pytorch_model_01.bin", weights_only=True)["module"]
    assert torch.equal(second[name], torch.cat([query[16:], key[16:], value[16:]]))
    dense = model.core.body.transformer.layers[0].attention.dense.weight
    assert torch.equal(second["transformer.layers.0.attention.dense.weight"], dense[:, 16:])


def test_rank_files_that_do_not_belong_together_are_refused(tmp_path):
    folder = write(tmp_path / "mine", make(models.GLMModel, vocab_size=64))
    divide_into_ranks(folder, "glm", 3)
    (folder / "pytorch_model_01.bin").unlink()
    with pytest.raises(WorkError, match=r"pytorch_model_01\.bin is missing"):
        models.GLMModel.from_pretrain(tmp_path, "mine")
    shutil.rmtree(folder)
    write(folder, make(models.GLMModel, vocab_size=64))
    divide_into_ranks(folder, "glm", 2)
    second = torch.load(folder / "pytorch_model_01.bin", weights_only=True)
    second["module"]["transformer.final_layernorm.bias"] += 1
    torch.save(second, folder / "pytorch_model_01.bin")
    with pytest.raises(WorkError, match="ranks hold different"):
        models.GLMModel.from_pretrain(tmp_path, "mine")
    del second["module"]["transformer.final_layernorm.bias"]
    torch.save(second, folder / "pytorch_model_01.bin")
    with pytest.raises(WorkError, match=r"final_layernorm\.bias' is not in every part"):
        models.GLMModel.from_pretrain(tmp_path, "mine")


PROCESS = """
import sys, torch
import torch.distributed as dist
from pathlib import Path
from tfcli.checkpoints.flagai import weights
from tfcli.flagai.models import GLMModel
folder, rank = Path(sys.argv[1]), int(sys.argv[2])
read = []
plain = weights.open_tensors
weights.open_tensors = lambda path: (read.append(path.name), plain(path))[1]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
model = GLMModel.from_pretrain(folder, "mine")
assert read == [f"pytorch_model_{rank:02d}.bin"], read
torch.save(model.core.state_dict(), folder / f"loaded_{rank}.pt")
dist.destroy_process_group()
"""


def test_each_process_reads_its_own_rank_file_alone(tmp_path):
    model = make(models.GLMModel, vocab_size=64)
    divide_into_ranks(write(tmp_path / "mine", model), "glm", 2)
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, tmp_path, str(rank)]) for rank in (0, 1)
    ]
    assert [process.wait(timeout=100) for process in running] == [0, 0]
    for rank in (0, 1):
        held = torch.load(tmp_path / f"loaded_{rank}.pt", weights_only=True)
        for name, value in model.core.state_dict().items():
            assert torch.equal(held[name], value), name


def test_init_from_json_takes_overrides(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGS["glm"]))
    model = models.GLMModel.init_from_json(path, num_layers=3, checkpoint_activations=True, seed=4)
    assert len(model.core.blocks) == 3
    assert model.core.checkpointing
    assert (model.config.num_layers, model.config["num_layers"]) == (3, 3)
    same(models.GLMModel.init_from_json(path, num_layers=3, seed=4), model)
    with pytest.raises(UsageError, match=r"num_layer is no key.*did you mean 'num_layers'"):
        models.GLMModel.init_from_json(path, num_layer=3)
    with pytest.raises(ModelError, match="relative_encoding"):
        models.GLMModel.init_from_json(path, relative_encoding=True)


def test_checkpoint_activations_change_no_gradient(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGS["bert"]))
    ids = torch.randint(1, 61, (2, 9))
    grads = []
    for on in (False, True):
        keys = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = models.BertForMaskLM.init_from_json(path, checkpoint_activations=on, **keys)
        model.train()(input_ids=ids, labels=ids)["loss"].backward()
        grads.append([p.grad for p in model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    for kind, classes in CLASSES.items():
        write(tmp_path / kind, make(classes[0]))
    for kind, classes in CLASSES.items():
        for other in CONFIGS:
            if other != kind:
                with pytest.raises(WorkError, match=f"describes a {other} model"):
                    classes[0].from_pretrain(tmp_path, other)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(WorkError, match="'llama'"):
        models.GLMModel.init_from_json(tmp_path / "odd" / "config.json")


def test_only_the_config(tmp_path):
    folder = write(tmp_path / "mine", make(models.GLMModel))
    (folder / "pytorch_model.bin").unlink()
    model = models.GLMModel.from_pretrain(tmp_path, "mine", only_download_config=True)
    same(model, models.GLMModel(CONFIGS["glm"]))
    assert model.account is None


def test_dtype_and_load_weights(tmp_path):
    model = make(models.GLMModel)
    folder = write(tmp_path / "mine", model)
    half = models.GLMModel.from_pretrain(tmp_path, "mine", dtype=torch.bfloat16)
    assert half.core.dtype == torch.bfloat16
    other = make(models.GLMModel, seed=1)
    account = other.load_weights(folder / "pytorch_model.bin")
    same(other, model)
    assert "glm.word_embeddings.weight" in account.loaded


def test_saving_is_whole_or_not_at_all(tmp_path):
    model = make(models.GLMModel)
    model.save_config(tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text()) == CONFIGS["glm"]
    with pytest.raises(WorkError, match="cannot be written"):
        model.save_weights(tmp_path / "none" / "pytorch_model.bin")
    model.save_weights(tmp_path / "pytorch_model.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "pytorch_model.bin"]


def test_the_errors_are_for_people(tmp_path):
    with pytest.raises(Problem) as caught:
        models.GLMModel.from_pretrain(tmp_path, "GLM-large-en")
    assert "put its files there" in caught.value.fix
    assert str(tmp_path) in caught.value.what
