"""llama.cpp, through the xllamacpp wheel: loads a GGUF file and says what comes next."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import torch
import xllamacpp
from torch import Tensor


class LlamaCpp:
    """A loaded file.

    Args:
        file: the GGUF file.
        vocab_size: how many log probabilities to ask for.
        letter: a token that is a whole character.
        embedding: load it to give the state of the first token, not tokens.
        own_pooling: give the vector that the file's pooling makes of the states instead.
    """

    def __init__(
        self,
        file: Path,
        vocab_size: int,
        *,
        letter: int = 40,
        embedding: bool = False,
        own_pooling: bool = False,
    ) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.n_gpu_layers, params.no_extra_bufts = 0, True
        # Its own defaults keep keys and values in float16, which would hide what is measured.
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.verbosity = 0
        if embedding:
            params.embedding = True
        if embedding and not own_pooling:
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS
        self.vocab_size, self.letter = vocab_size, letter
        self.server = xllamacpp.Server(params)

    def logprobs(self, prompt: Sequence[int] | str) -> Tensor:
        """The log probability of every token after ids or a text, [vocab_size]."""
        answer = self.server.handle_completions(
            {
                "prompt": prompt if isinstance(prompt, str) else list(prompt),
                "max_tokens": 1,
                "temperature": 0,
                "logprobs": self.vocab_size,
                "cache_prompt": False,
                # The token itself is not looked at. An unfinished character would be held back.
                "logit_bias": [[self.letter, 1000.0]],
            }
        )
        first = answer["choices"][0]["logprobs"]["content"][0]
        found = torch.full((self.vocab_size,), float("nan"))
        for item in first["top_logprobs"]:
            found[item["id"]] = item["logprob"]
        return found

    def state(self, prompt: Sequence[int] | str) -> Tensor:
        """The last state of the first token of ids or of a text, [d]; needs `embedding`."""
        prompt = prompt if isinstance(prompt, str) else list(prompt)
        answer = self.server.handle_embeddings({"input": [prompt], "embd_normalize": -1})
        return torch.tensor(answer["data"][0]["embedding"])

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text, without what stands around it."""
        body = json.dumps({"content": text, "add_special": False, "parse_special": True})
        request = urllib.request.Request(
            f"{self.server.listening_address}/tokenize",
            body.encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            found: list[int] = json.load(answer)["tokens"]
        return found
