"""`tfcli eval` from the command line."""

import hashlib
import json
import math
import shutil

import pytest
import torch

from tests.conftest import make_tiny_llama
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.commands.app import run
from tfcli.data.documents import read_documents
from tfcli.models.loading import build, initialize
from tfcli.tokenizers.load import load_tokenizer


@pytest.fixture
def evaluate(capsys, tiny_llama, text_file):
    def call(*flags, model=tiny_llama, data=text_file, code=0):
        capsys.readouterr()
        command = ["eval", str(model), "--task", "perplexity", "--data", str(data), "--json"]
        assert run([*command, *map(str, flags)]) == code
        return json.loads(capsys.readouterr().out)

    return call


def test_figures_are_those_of_a_direct_computation(evaluate, tiny_llama, text_file):
    """With windows longer than any document, transformers' loss on each document is the score."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = read_documents(text_file)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    total = count = 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    result = evaluate("--window", 128)
    size = sum(len(text.encode()) for text in texts)
    assert (result["tokens"], result["bytes"], result["documents"]) == (count, size, len(texts))
    assert result["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    assert result["bits_per_byte"] == pytest.approx(total / math.log(2) / size, rel=1e-4)


def test_the_result_carries_its_settings(evaluate, tiny_llama, text_file):
    result = evaluate("--window", 32)
    assert result["schema"] == "tfcli.eval/1"
    assert (result["window"], result["stride"], result["dtype"]) == (32, 16, "float32")
    assert (result["bos_tokens"], result["first_token_scored"]) == (1, True)
    assert result["data_sha256"] == hashlib.sha256(text_file.read_bytes()).hexdigest()
    assert result["tokenizer_sha256"] == load_tokenizer(tiny_llama).fingerprint
    assert evaluate()["window"] == 128  # all that the model takes


@pytest.mark.parametrize("flags", [("--window", 32), ("--stride", 8), ("--dtype", "bfloat16")])
def test_settings_move_the_figures(evaluate, flags):
    base = ("--window", 64) if flags[0] != "--window" else ()
    assert evaluate(*base, *flags)["perplexity"] != evaluate(*base)["perplexity"]


@pytest.mark.parametrize("flags", [("--batch-size", 1), ("--attention", "eager")])
def test_how_it_is_computed_does_not(evaluate, flags):
    window = ("--window", 64)
    wanted = evaluate(*window)["loss"]
    assert evaluate(*window, *flags)["loss"] == pytest.approx(wanted, abs=1e-5)


def test_a_model_is_compared_with_a_reference(evaluate, tiny_llama, tiny_tokenizer, tmp_path):
    other = make_tiny_llama(tmp_path / "other", tiny_tokenizer, seed=1)
    same = evaluate("--window", 64, "--reference", tiny_llama)
    assert (same["kl_divergence"], same["kl_divergence_p99"], same["same_top_token"]) == (0, 0, 1)
    assert same["reference_perplexity"] == same["perplexity"]
    different = evaluate("--window", 64, "--reference", other)
    ordered = ("kl_divergence_median", "kl_divergence_p99", "kl_divergence_p999")
    middle, high, highest = (different[key] for key in ordered)
    assert 0 < middle < high <= highest
    assert 0 < different["kl_divergence"] < high
    assert different["same_top_token"] < 0.5
    theirs = evaluate("--window", 64, model=other)
    assert different["reference_perplexity"] == pytest.approx(theirs["perplexity"])


def test_compressors_get_the_same_bytes(evaluate, text_file):
    result = evaluate("--window", 64, "--compression-baselines", "--prime", text_file)
    assert set(result["compression"]) == {"gzip", "xz", "xz_primed"}
    assert result["compression"]["xz_primed"] < 0.5 < result["compression"]["xz"]
    assert evaluate("--window", 64)["compression"] is None


def without_bos(folder, target):
    shutil.copytree(folder, target)
    path = target / "tokenizer.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "post_processor": None}))
    return target


def test_without_a_bos_the_first_token_and_its_bytes_are_left_out(
    evaluate, tiny_llama, text_file, tmp_path
):
    bare = without_bos(tiny_llama, tmp_path / "bare")
    result, whole = evaluate(model=bare), evaluate()
    tokenizer, texts = load_tokenizer(bare), read_documents(text_file)
    first = [tokenizer.decode(tokenizer.encode(text)[:1]) for text in texts]
    assert (result["bos_tokens"], result["first_token_scored"]) == (0, False)
    assert result["tokens"] == whole["tokens"] - len(texts)
    assert result["bytes"] == whole["bytes"] - sum(len(text.encode()) for text in first)


def test_a_tokenizer_that_adds_an_eos_does_not_get_it_scored(evaluate, tiny_llama, tmp_path):
    from tokenizers import Tokenizer, processors

    target = tmp_path / "eos"
    shutil.copytree(tiny_llama, target)
    backend = Tokenizer.from_file(str(target / "tokenizer.json"))
    name = "<|endoftext|>"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{name} $A {name}", special_tokens=[(name, 0)]
    )
    backend.save(str(target / "tokenizer.json"))
    assert evaluate(model=target)["loss"] == evaluate()["loss"]


def test_a_folder_of_splits_is_judged_by_its_test(evaluate, text_file, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "something else"}')
    shutil.copy(text_file, tmp_path / "test.jsonl")
    found, wanted = evaluate(data=tmp_path), evaluate()
    assert (found["loss"], found["data_sha256"]) == (wanted["loss"], wanted["data_sha256"])


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--window", 129), "more than the model's 128 positions"),
        (("--window", 8, "--stride", 9), "must not be above window"),
        (("--stride", 129), "must not be above window"),
        (("--prime", "PRIME"), "prime has no effect with compression_baselines: false"),
        (("--reference", "OTHER"), "different tokenizers"),
    ],
)
def test_what_does_not_fit_is_refused(evaluate, tiny_llama, text_file, tmp_path, flags, what):
    other = without_bos(tiny_llama, tmp_path / "other")
    names = {"PRIME": text_file, "OTHER": other}
    error = evaluate(*(names.get(flag, flag) for flag in flags), code=2)
    assert what in error["error"]["what"]


def test_tables_of_one_tokenizer_compare_whatever_they_are_padded_to(
    evaluate, tiny_llama, tiny_tokenizer, tmp_path
):
    other = make_tiny_llama(tmp_path / "other", tiny_tokenizer, seed=1, vocab_size=330)
    longer, alike = tmp_path / "longer", tmp_path / "alike"
    for folder, rows in ((longer, 330), (alike, 320)):
        model = load_model(other)
        table = model.model.embed_tokens.weight.data[:320]
        config = model.config.replace(vocab_size=rows)
        resized = build(config, "causal-lm")
        initialize(resized)
        resized.load_state_dict(
            {
                k: v
                for k, v in model.state_dict().items()
                if "embed" not in k and "lm_head" not in k
            },
            strict=False,
        )
        resized.model.embed_tokens.weight.data[:320] = table
        save_model(resized, folder, tokenizer_from=tiny_tokenizer)
    one, two = (evaluate("--window", 64, "--reference", folder) for folder in (longer, alike))
    assert one["kl_divergence"] == pytest.approx(two["kl_divergence"], rel=1e-5)
    assert one["same_top_token"] == two["same_top_token"]
    # Each model's own figure is over its own table, as without a comparison.
    assert one["reference_perplexity"] == pytest.approx(
        evaluate("--window", 64, model=longer)["perplexity"]
    )
    back = evaluate("--window", 64, "--reference", tiny_llama, model=longer)
    assert back["kl_divergence"] > 0


def test_a_reference_with_fewer_positions_is_refused(evaluate, tiny_tokenizer, tmp_path):
    short = make_tiny_llama(tmp_path / "s", tiny_tokenizer, max_position_embeddings=32)
    error = evaluate("--reference", short, "--window", 64, code=2)["error"]
    assert "32 positions" in error["what"] and error["fix"] == "--window 32"
    evaluate("--reference", short, "--window", 32)


def retemplated(folder, target, single, names):
    """A copy whose tokenizer puts something else around a text."""
    from tokenizers import Tokenizer, processors

    shutil.copytree(folder, target)
    backend = Tokenizer.from_file(str(target / "tokenizer.json"))
    ids = [(name, backend.token_to_id(name)) for name in names]
    backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    backend.save(str(target / "tokenizer.json"))
    return target


@torch.no_grad()
def by_hand(model, documents, prefix, window, stride):
    """The mean loss with the prefix before every window, one window at a time."""
    losses = []
    for ids in documents:
        done = 0
        for start in range(0, len(ids), stride):
            part = ids[start : start + window - len(prefix)]
            row = torch.tensor([[*prefix, *part]])
            logits = model(input_ids=row).logits[0].log_softmax(-1)
            new = start + len(part) - done
            if new > 0:
                scored = logits[-new - 1 : -1].gather(1, row[0, -new:, None])
                losses += [-float(loss) for loss in scored]
                done += new
    return sum(losses) / len(losses)


@pytest.mark.parametrize("prefix", [(), (0,), (0, 65), (0, 65, 66)], ids=len)
def test_a_prefix_of_any_length_stands_before_each_window_and_is_not_scored(
    evaluate, tiny_llama, text_file, tmp_path, prefix
):
    names = [load_tokenizer(tiny_llama).backend.id_to_token(index) for index in prefix]
    folder = retemplated(tiny_llama, tmp_path / "m", " ".join([*names, "$A"]), names)
    texts = read_documents(text_file)
    documents = load_tokenizer(folder).encode_batch(texts, add_special_tokens=False)
    result = evaluate("--window", 16, "--stride", 8, model=folder)
    assert (result["bos"], result["bos_tokens"]) == ("each", len(prefix))
    assert result["tokens"] == sum(map(len, documents)) - (0 if prefix else len(documents))
    if prefix:
        wanted = by_hand(load_model(folder), documents, prefix, 16, 8)
        assert result["loss"] == pytest.approx(wanted, rel=1e-5)
        first = evaluate("--window", 16, "--stride", 8, "--bos", "first", model=folder)
        none = evaluate("--window", 16, "--stride", 8, "--bos", "none", model=folder)
        assert len({result["loss"], first["loss"], none["loss"]}) == 3
        assert (none["bos_tokens"], none["unscored_tokens"]) == (0, len(documents))
        assert first["tokens"] == result["tokens"]


def test_windows_may_stand_side_by_side_and_what_has_no_context_is_said(
    evaluate, tiny_llama, tmp_path, capsys, text_file
):
    whole = evaluate("--window", 16, "--stride", 16)
    assert (whole["stride"], whole["unscored_tokens"]) == (15, 0)  # beside a BOS
    bare = without_bos(tiny_llama, tmp_path / "bare")
    result = evaluate("--window", 16, "--stride", 16, model=bare)
    lengths = map(len, load_tokenizer(bare).encode_batch(read_documents(text_file)))
    assert result["unscored_tokens"] == sum(-(-length // 16) for length in lengths)
    assert result["tokens"] + result["unscored_tokens"] == whole["tokens"]
    assert result["bytes"] < whole["bytes"]
    command = ["eval", str(bare), "--data", str(text_file), "--window", "16", "--stride", "16"]
    assert run(command) == 0
    assert f"{result['unscored_tokens']} have nothing before them" in capsys.readouterr().out


def test_a_perplexity_that_no_number_holds_is_infinite_and_valid_json(
    tiny_llama, text_file, tmp_path, capsys
):
    model = load_model(tiny_llama)
    model.model.norm.weight.data.mul_(1e4)  # every text is a surprise of thousands of nats
    save_model(model, tmp_path / "sure", tokenizer_from=tiny_llama)
    out = tmp_path / "out"
    command = ["eval", str(tmp_path / "sure"), "--data", str(text_file), "--output", str(out)]
    assert run([*command, "--json"]) == 0

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    for written in (capsys.readouterr().out, (out / "run.json").read_text()):
        found = json.loads(written, parse_constant=refuse)
        assert found.get("result", found)["perplexity"] == "Infinity"
    assert run([*command, "--json"]) == 0  # read back from its record
    assert json.loads(capsys.readouterr().out)["loss"] > 1000
    assert run(command) == 0
    assert "inf" in capsys.readouterr().out


def test_a_tokenizer_of_another_model_is_an_error(evaluate, tiny_tokenizer, tmp_path):
    small = make_tiny_llama(tmp_path / "small", tiny_tokenizer, vocab_size=300)
    error = evaluate(model=small, code=1)
    assert "but the model has 300 tokens" in error["error"]["what"]


def test_text_without_a_token_to_score_is_an_error(evaluate, tiny_llama, tmp_path):
    (tmp_path / "t.txt").write_text("x")
    bare = without_bos(tiny_llama, tmp_path / "bare")
    error = evaluate(model=bare, data=tmp_path / "t.txt", code=1)
    assert "no token to score" in error["error"]["what"]


def test_damaged_weights_are_an_error(evaluate, tiny_llama, tmp_path):
    model = load_model(tiny_llama)
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("inf")
    save_model(model, tmp_path / "bad", tokenizer_from=tiny_llama)
    error = evaluate(model=tmp_path / "bad", code=1)
    assert "not finite" in error["error"]["what"]


def test_the_table_shows_the_figures(capsys, tiny_llama, text_file, tmp_path):
    out = tmp_path / "out"
    command = ["eval", str(tiny_llama), "--data", str(text_file), "--output", str(out), "-q"]
    assert run([*command, "--reference", str(tiny_llama), "--compression-baselines"]) == 0
    shown = capsys.readouterr().out
    for word in ("perplexity", "bits per byte", "gzip", "xz", "KL divergence"):
        assert word in shown
    assert json.loads((out / "run.json").read_text())["result"]["kl_divergence"] == 0
