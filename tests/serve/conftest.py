"""A server in a thread of the test's process, with a tiny model of random weights."""

from __future__ import annotations

import shutil
import socket
import threading
from contextlib import contextmanager

import pytest
import uvicorn
from tokenizers import AddedToken, Tokenizer

from tests.conftest import make_tiny_llama
from tfcli.console import Console
from tfcli.serve.app import make_app
from tfcli.serve.run import named_adapters, named_models, serve_models
from tfcli.serve.server import Server
from tfcli.serve.spec import ServeSpec

TEMPLATE = (
    "{% if tools %}Tools: {{ tools | tojson }} <tool_call>\n{% endif %}"
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@contextmanager
def serving(*models, **keys):
    """A running server: its address, and the guard and the models as attributes."""
    spec = ServeSpec(models=[*map(str, models)], **keys)
    sources = named_models(spec)
    adapters = named_adapters(spec, list(sources))
    served = {}
    for name, source in sources.items():
        served |= serve_models(name, source, adapters[name], spec, Console.silent())
    server = Server(served)
    guard = make_app(server, spec, Console.silent())
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(guard, lifespan="off", ws="none", log_level="warning")
    uvicorned = uvicorn.Server(config)
    thread = threading.Thread(target=uvicorned.run, args=([listening],))
    thread.start()
    guard.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    guard.models = served
    try:
        yield guard
    finally:
        uvicorned.should_exit = True
        thread.join()
        server.close()


def tokenizer_with(tokens, tokenizer, folder, *, special=False):
    """A copy of a tokenizer's folder with more tokens, and the tokenizer."""
    shutil.copytree(tokenizer, folder)
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.add_tokens([AddedToken(token, special=special) for token in tokens])
    made.save(str(folder / "tokenizer.json"))
    return made


@pytest.fixture(scope="session")
def chat_llama(tmp_path_factory, tiny_tokenizer):
    """A llama with 1,024 positions and a chat template."""
    folder = make_tiny_llama(
        tmp_path_factory.mktemp("serve") / "tiny", tiny_tokenizer, max_position_embeddings=1024
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def server(chat_llama):
    """One for all tests that do not change it: the model `tiny`."""
    with serving(chat_llama, max_new_tokens=64, max_body=1) as guard:
        yield guard


@pytest.fixture(scope="session")
def client(server):
    """OpenAI's own."""
    from openai import OpenAI

    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
