"""`tfcli compose`: stream a language model and encoders into one model.

Everything is settled from headers, configs and small files before a tensor is read; then the
tensors pass by one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.io.dtypes import FLOATS, USER_NAMES
from tfcli.checkpoints.write import Written, write_verified
from tfcli.compose.media import example, media_part
from tfcli.compose.parts import Part, open_language_model, open_tower
from tfcli.compose.spec import ComposedEncoder, ComposeResult, ComposeSpec
from tfcli.compose.text import Tokens, templates_with_media, with_tokens
from tfcli.compose.whole import Made, main_dtype, whole_config, whole_tensors, written_config
from tfcli.convert.containers import with_dtype
from tfcli.files import write_text
from tfcli.models.configs.modular import MultimodalConfig
from tfcli.processors.folder import JOINT, SINGLE, VIDEO
from tfcli.processors.modular import MultimodalProcessor
from tfcli.recipe.job import Job
from tfcli.units import parse_bytes, plural


@dataclass(frozen=True)
class Composed:
    """What is put together, before a tensor is read.

    Args:
        language, towers: the parts.
        tokens: the tokenizer with the encoders' tokens.
        config: of the whole.
        tensors: of the whole.
        processor: of the whole.
        features: encoder -> how many an example of its media has.
        chat_template: whether media in a message become tokens; None: there is no template.
        notes: what a person should know.
    """

    language: Part
    towers: Mapping[str, Part]
    tokens: Tokens
    config: MultimodalConfig
    tensors: Sequence[Made]
    processor: MultimodalProcessor
    features: Mapping[str, int]
    chat_template: bool | None
    notes: Sequence[str]


def run(spec: ComposeSpec, job: Job) -> ComposeResult:
    """Compose `spec.model` in the job's folder; with `dry_run` only say what would be written.

    Raises:
        UsageError: no such checkpoint, a language model without head, an encoder that is no tower
            or packed, settings that do not fit an encoder.
        WorkError: broken files, a tokenizer that takes no more tokens, a processor whose images an
            encoder does not take, a value that the type cannot hold, a full disk, or written
            tensors that differ from a second pass.
    """
    made = composed(spec)
    for note in made.notes:
        job.console.note(note)
    if spec.dry_run:
        return _result(spec, made, None, [])
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    config = written_config(made.config, wanted or main_dtype(made.language))
    written = write_verified(
        job.output,
        [each.pending for each in made.tensors],
        with_dtype(config, wanted),
        made.language.checkpoint,
        job.console,
        max_shard_bytes=parse_bytes(spec.shard_size),
    )
    for name in (SINGLE, VIDEO):  # a language model's own say nothing of these encoders
        (job.output / name).unlink(missing_ok=True)
    made.processor.save_pretrained(job.output)
    beside = {JOINT, "tokenizer.json", "tokenizer_config.json"} | {
        name for name in written.companions if (job.output / name).is_file()
    }
    result = _result(spec, made, written, sorted(beside))
    write_text(job.output / CARD, _card(spec, job, result))
    return result


def composed(spec: ComposeSpec) -> Composed:
    """Find the parts and see that they fit together. Raises as `run`."""
    said = spec.model.encoders
    language = open_language_model(spec.model.language_model)
    towers = {name: open_tower(encoder.model, name) for name, encoder in said.items()}
    names = {name: spec.model.token_of(name) for name in said}
    tokens = with_tokens(language.checkpoint.beside, names)
    config = whole_config(language, towers, said, tokens.ids)
    parts, notes = {}, [*language.checkpoint.notes]
    for name, tower in towers.items():
        notes += tower.checkpoint.notes
        parts[name], note = media_part(name, tower, names[name])
        notes += [] if note is None else [note]
    processor = MultimodalProcessor(parts, tokens.text, config)
    features = {name: processor.length(name, example(part), 1) for name, part in parts.items()}
    speaks = None
    if processor.chat_templates:
        kinds = {kind: names[name] for kind, name in processor.kinds.items()}
        templates, left = templates_with_media(
            processor.chat_templates, kinds, processor.special_tokens()
        )
        processor.set_chat_templates(templates)
        speaks = "default" not in left
        notes += [
            f"the chat template {name!r} takes no media in messages, and is left as it is: put "
            f"{' or '.join(names.values())} into the text of a message"
            for name in left
        ]
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    tensors = whole_tensors(config, language, towers, spec.seed, wanted)
    types = {each.pending.dtype for each in tensors if each.pending.dtype in FLOATS}
    if len(types) > 1:
        notes.append(
            f"the parts have several types ({', '.join(sorted(types))}), and run in the one of "
            "most bytes; --dtype writes one"
        )
    return Composed(
        language, towers, tokens, config, tensors, processor, features, speaks, tuple(notes)
    )


def _result(
    spec: ComposeSpec, made: Composed, written: Written | None, beside: list[str]
) -> ComposeResult:
    accounts = [each.account for each in made.tensors]
    actions = [account.action for account in accounts]
    encoders = []
    for name, tower in made.towers.items():
        new = [each for each in made.tensors if each.account.part == f"projector {name}"]
        encoders.append(
            ComposedEncoder(
                name=name,
                model_type=tower.config.model_type,
                tower=tower.path,
                token=spec.model.token_of(name),
                token_id=made.tokens.ids[name],
                new_token=name in made.tokens.new,
                projector=spec.model.encoders[name].projector,
                projector_parameters=sum(math.prod(each.pending.shape) for each in new),
                processor=type(made.processor.parts[name].processor).__name__,
                features=made.features[name],
                skipped=dict(tower.skipped),
            )
        )
    return ComposeResult(
        dry_run=spec.dry_run,
        language_model=made.language.config.model_type,
        encoders=encoders,
        skipped=dict(made.language.skipped),
        chat_template=made.chat_template,
        notes=list(made.notes),
        copied=actions.count("copied"),
        converted=actions.count("converted"),
        new=actions.count("new"),
        bytes=sum(each.pending.nbytes for each in made.tensors),
        files=[] if written is None else written.files,
        verified=0 if written is None else written.verified,
        companions=beside,
        tensors=accounts,
    )


def _card(spec: ComposeSpec, job: Job, result: ComposeResult) -> str:
    origins = [Origin("language model", spec.model.language_model, result.language_model)]
    origins += [
        Origin(f"encoder {each.name}", spec.model.encoders[each.name].model, each.model_type)
        for each in result.encoders
    ]
    facts = {
        f"{each.name}": f"`{each.token}` in a text; {plural(each.features, 'feature')} through a "
        f"new {each.projector} projector"
        for each in result.encoders
    }
    facts |= {
        "tensors": f"{result.copied} copied, {result.converted} converted, {result.new} new",
        "new values": f"drawn with seed {spec.seed}; the projectors want training",
        "verified": f"{result.verified} tensors read back and equal to a second pass, bit for bit",
    }
    return card_text("composed with encoders", origins, job.inputs, facts)
