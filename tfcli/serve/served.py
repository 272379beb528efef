"""A model that is served: what it reads requests with, and the engine that answers them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tfcli.adapters.read import read_adapter
from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import pick_device
from tfcli.errors import UsageError
from tfcli.generation.grammar import Grammar, lark_grammar
from tfcli.generation.media import LOOKS, Prompt, read_conversation
from tfcli.generation.tasks import ANSWERS, room_after
from tfcli.models.adapters.control import set_active
from tfcli.models.adapters.walk import prompt_of
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
from tfcli.serve.engine import Engine
from tfcli.serve.passes import EngineLimits
from tfcli.serve.prefix_files import PrefixFiles
from tfcli.serve.prefixes import Prefixes
from tfcli.serve.scored import SCORES, VECTORS, Scored, serve_scored, served_task
from tfcli.serve.spec import MIB, ServeSpec
from tfcli.tokenizers.chat import encode_chat
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.fits import check_fits, check_ids
from tfcli.tokenizers.load import Tokenizer, load_tokenizer

MOST_GRAMMARS = 32


@dataclass(frozen=True)
class Served:
    """A model that is served.

    Args:
        name: that requests say.
        checkpoint: it was loaded from.
        tokenizer: of the model.
        task: how it makes text.
        generation_config: of the checkpoint.
        templates: for conversations, by name.
        engine: that has the model.
        files: where prefixes are kept, if they are.
        max_new_tokens: of an answer at most.
        timeout: seconds of an answer.
        adapter: that its texts are made with; see `with_adapter`.
    """

    name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    task: str
    generation_config: Mapping[str, Any]
    templates: Mapping[str, str]
    engine: Engine
    files: PrefixFiles | None
    max_new_tokens: int
    timeout: float
    adapter: str | None = None
    _grammars: dict[str, Grammar] = field(default_factory=dict)

    def with_adapter(self, adapter: str) -> Served:
        """The same model with one of its adapters, under the name that requests say."""
        return replace(self, name=f"{self.name}:{adapter}", adapter=adapter)

    def text_ids(self, text: str, *, special: bool = True) -> list[int]:
        """What the model reads of a text that it goes on with, as `tfcli generate` has it."""
        ids = self.tokenizer.encode(text, add_special_tokens=special)
        ids = ids[: len(ids) - len(self.tokenizer.suffix)] if special else ids
        config = self.checkpoint.model_config.text
        declared = (self.tokenizer.bos_id, config.bos_token_id)
        return ids or [bos for bos in declared if bos is not None][:1]

    def read(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """What the model reads of a conversation.

        Args:
            messages: as its template takes them; the parts of one with images have data URLs.
            tools: functions that it is told of, in OpenAI's form.
            variables: more of the template.

        Raises:
            UsageError: it has no chat template, or looks at no images.
            WorkError: data that is no image, messages that the template refuses.
        """
        if any(isinstance(message.get("content"), list) for message in messages):
            if self.task != LOOKS:
                raise UsageError(f"{self.name} reads text alone", where="messages")
            return read_conversation(self.checkpoint, messages, tools, variables)
        encoded = encode_chat(
            self.tokenizer,
            messages,
            template=choose_template(self.templates, tools=bool(tools)),
            add_bos=declared_bos(self.checkpoint.beside),
            add_generation_prompt=True,
            tools=tools,
            variables=variables,
        )
        return Prompt("", encoded.ids)

    def new_tokens(self, ids: Sequence[int], asked: int | None) -> int:
        """How many tokens an answer has at most.

        Raises:
            UsageError: a prompt that leaves no room.
            WorkError: an id that the model does not have.
        """
        config = self.checkpoint.model_config
        room = room_after(self.task, ids, config.text)
        check_ids(ids, config, self.name)
        return min(room, self.max_new_tokens, asked or self.max_new_tokens)

    def grammar(self, lark: str, ends: Sequence[int]) -> Grammar:
        """What keeps a text to a grammar. Those that were asked for last are kept ready.

        Args:
            lark: see `lark_grammar`.
            ends: ids that end a text.

        Raises:
            UsageError: a grammar that cannot be followed.
            WorkError: llguidance is not installed.
        """
        key = f"{ends}{lark}"
        found = self._grammars.pop(key, None)
        if found is None:
            found = lark_grammar(lark, self.tokenizer, ends, "response_format, tools")
        self._grammars[key] = found
        if len(self._grammars) > MOST_GRAMMARS:
            del self._grammars[next(iter(self._grammars))]
        return found

    def close(self) -> None:
        """End the engine, and write what is to survive."""
        self.engine.close()
        if self.files is not None:
            self.files.close()


def serve_model(
    name: str, source: str, adapters: Mapping[str, str], spec: ServeSpec, console: Console
) -> Served | Scored:
    """Load a model and start its engine, if it makes text.

    Args:
        name: that requests say.
        source: of the model.
        adapters: folders by name.
        spec: of the server.
        console: is told what becomes of the weights.

    Raises:
        UsageError: no such model, or one that continues no texts.
        WorkError: broken files.
    """
    checkpoint = load_in(open_model(source), spec.load_in, console)
    task = served_task(checkpoint)
    if task in (VECTORS, SCORES):
        if adapters:
            raise UsageError(
                f"{name} makes {task}, and adapters are served of models that make text",
                where="adapters",
                fix="merge it into the model: tfcli merge",
            )
        return serve_scored(name, checkpoint, task, spec, console)
    if task == ANSWERS:
        raise UsageError(
            f"{checkpoint.model_config.model_type} reads a text and writes another one; models "
            "that continue texts are served",
            where=source,
            fix="use tfcli generate",
        )
    tokenizer = load_tokenizer(checkpoint.beside)
    check_fits(tokenizer, checkpoint.model_config.text, source)
    model = load_ready(
        checkpoint,
        console,
        task=task,
        dtype=spec.dtype,
        device=pick_device(spec.device),
        attention=spec.attention,
        keep_packed=spec.load_in is not None,
    )
    for adapter, place in adapters.items():
        read_adapter(model, Path(place), adapter)
        if prompt_of(model, adapter) is not None:
            raise UsageError(
                "the adapter puts virtual tokens before every text, which is not served",
                where=place,
                fix="use tfcli generate, or an adapter that changes weights",
            )

    def adapted(adapter: str | None) -> None:
        set_active(model, *filter(None, [adapter]))

    adapted(None)
    files = None
    if spec.prefix_folder is not None and spec.prefix_memory:
        folder = Path(spec.prefix_folder) / _identity(checkpoint, adapters, str(model.dtype), spec)
        files = PrefixFiles(folder, spec.prefix_disk * MIB)
    prefixes = None
    if spec.prefix_memory:
        prefixes = Prefixes(spec.prefix_memory * MIB, files, lambda: model.make_cache("paged"))
    limits = EngineLimits(spec.rows, spec.waiting, spec.positions, spec.part)
    return Served(
        name=name,
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        task=task,
        generation_config=load_generation_config(checkpoint.beside),
        templates=find_templates(checkpoint.beside),
        engine=Engine(model, tokenizer, limits, prefixes, adapted if adapters else None),
        files=files,
        max_new_tokens=spec.max_new_tokens,
        timeout=spec.timeout,
    )


def _identity(
    checkpoint: Checkpoint, adapters: Mapping[str, str], dtype: str, spec: ServeSpec
) -> str:
    """A name for these very weights, from the names, sizes and times of their files: a file of
    others must never be taken for theirs, and reading all weights would take too long."""
    stats = []
    for place in (checkpoint.path, *map(Path, adapters.values())):
        inside = place.rglob("*") if place.is_dir() else [place]
        files = sorted(each for each in inside if each.is_file())
        stats += [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    said = repr((stats, sorted(adapters.items()), dtype, spec.load_in))
    return hashlib.sha256(said.encode()).hexdigest()[:24]
