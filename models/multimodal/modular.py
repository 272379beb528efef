"""A language model with encoders of other modalities, put together from models that are there.

The second of the documents that this follows is Cornstarch's page on modular multimodal models;
names of classes, arguments and callbacks are those.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.config import BaseConfig
from tfcli.models.configs.modular import PROJECTORS, EncoderConfig, MultimodalConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError, hint
from tfcli.models.heads.causal_lm import CausalLM
from tfcli.models.heads.image_text_to_text import ImageTextToText
from tfcli.models.initialization import random_values
from tfcli.models.losses import IGNORED
from tfcli.models.model import Model
from tfcli.models.multimodal.composite import put_features
from tfcli.models.multimodal.projectors import make_projector
from tfcli.models.output import ModelOutput
from tfcli.models.registry import get_family

Inputs = dict[str, Any]
AnyOutput = ModelOutput | tuple[Any, ...]
Preprocess = Callable[[Inputs], Inputs]
Postprocess = Callable[[Inputs, AnyOutput], AnyOutput]


class MultimodalProjector(nn.Module):
    """A projector: a module of one's own, or one that is made when the whole is put together.

    Args:
        config: says what to make where no module is given, and its widths where one is; None: as
            the whole says.
        projection: [b, s, width of the encoder] -> [b, n, d of the language model], or None.
    """

    def __init__(
        self, config: EncoderConfig | None = None, projection: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.projection = projection

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, width] -> [b, n, d]"""
        if self.projection is None:
            raise ModelError(
                "the projector is not made yet", fix="put the encoder into a MultimodalModel first"
            )
        return self.projection(x)


class ModalEncoderModule(nn.Module):
    """One modality's encoder, its projector, and what is done before, between and after.

    In order: `preprocess_callback(inputs)`, the encoder, `postprocess_module_callback(inputs,
    output)`, the projector, `postprocess_projector_callback(inputs, output)`. `inputs` are the
    encoder's, after the first callback. An output is a `ModelOutput` with `last_hidden_state`, or
    a tuple whose first entry is that; a callback may give either.

    Args:
        model: the encoder: a backbone, or a model with one; may be wrapped by PEFT. None in a
            model that is loaded, which has its own.
        projector: None: one is made when the whole is put together.
        additional_args: further arguments of the encoder, such as `output_hidden_states`.
        preprocess_callback: inputs -> the encoder's inputs.
        postprocess_module_callback: see above; `postprocess_encoder_callback` is the same.
        postprocess_projector_callback: see above.
        module: another name of `model`.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        projector: nn.Module | None = None,
        additional_args: Mapping[str, Any] | None = None,
        preprocess_callback: Preprocess | None = None,
        postprocess_module_callback: Postprocess | None = None,
        postprocess_projector_callback: Postprocess | None = None,
        *,
        module: nn.Module | None = None,
        postprocess_encoder_callback: Postprocess | None = None,
    ) -> None:
        super().__init__()
        after = _one_of(
            "postprocess_module_callback",
            postprocess_module_callback,
            "postprocess_encoder_callback",
            postprocess_encoder_callback,
        )
        self.module = backbone_of(_one_of("model", model, "module", module))
        if projector is not None and not isinstance(projector, MultimodalProjector):
            projector = MultimodalProjector(projection=projector)
        self.projector = projector or MultimodalProjector()
        self.additional_args = dict(additional_args or {})
        self.preprocess_callback: Preprocess = preprocess_callback or _as_given
        self.postprocess_module_callback: Postprocess = after or _as_made
        self.postprocess_projector_callback: Postprocess = (
            postprocess_projector_callback or _as_made
        )

    def forward(self, inputs: Inputs) -> torch.Tensor | None:
        """The features of a batch's media.

        Args:
            inputs: every input of the forward pass that is not the language model's own.

        Returns:
            [..., d]; None where the modality's input is not there
        """
        inputs = self.preprocess_callback(dict(inputs))
        main = inputs.get(self.module.main)
        if main is None or (isinstance(main, torch.Tensor) and len(main) == 0):
            return None
        output: AnyOutput = encoded(self.module, inputs, self.additional_args)
        output = self.postprocess_module_callback(inputs, output)
        output = _replaced(output, self.projector(_first(output)))
        return _first(self.postprocess_projector_callback(inputs, output))


def encoded(tower: Backbone[Any], inputs: Inputs, more: Mapping[str, Any]) -> ModelOutput:
    """What a tower makes of its inputs, under the names that transformers gives it.

    Args:
        tower: of any modality.
        inputs: those that the tower does not take are left out.
        more: further inputs, or `output_hidden_states`.
    """
    given = {name: value for name, value in inputs.items() if name in tower.accepted()} | dict(more)
    options = {
        name: given.pop(name)
        for name in ("output_hidden_states", "output_attentions")
        if name in given
    }
    x, context = tower.begin(given, attention_mask=inputs.get("encoder_attention_mask"), **options)
    x = tower(x, context)
    states, weights = context.hidden_states, context.attentions
    return ModelOutput(
        last_hidden_state=x,
        hidden_states=None if states is None else tuple(states),
        attentions=None if weights is None else tuple(weights),
    )


def backbone_of(model: nn.Module) -> Backbone[Any]:
    """The backbone of an encoder, whatever is around it.

    Raises:
        ModelError: it is none of ours.
    """
    base = getattr(model, "get_base_model", None)
    model = model if base is None else base()
    model = model.body if isinstance(model, Model) else model
    if not isinstance(model, Backbone):
        raise ModelError(
            f"an encoder must be a model of tfcli's, not {type(model).__name__}",
            fix="load it with tfcli.load(...).model",
        )
    return model


def make_encoder(config: EncoderConfig, size: int, attention: str = "sdpa") -> ModalEncoderModule:
    """An encoder and its projector, as a config says.

    Args:
        config: of the encoder.
        size: d of the language model.
        attention: name of the attention backend.
    """
    tower = get_family(config.config.model_type).backbone_class().tower_class()
    return completed(ModalEncoderModule(tower(config.config, attention)), config, size, attention)


def completed(
    part: ModalEncoderModule, config: EncoderConfig, size: int, attention: str
) -> ModalEncoderModule:
    """The encoder with a projector, where it has none, and the choice of states of its config.

    Arguments are those of `make_encoder`.
    """
    if part.projector.projection is None:
        part.projector.projection = make_projector(
            config.projector_type,
            part.module.width(),
            size,
            act=config.activation,
            queries=config.num_queries,
            layers=config.projector_layers,
            attention=attention,
        )
    if config.feature_layer != -1 or config.drop_first:
        part.additional_args["output_hidden_states"] = True
        own = part.postprocess_module_callback
        part.postprocess_module_callback = _chosen(config, own)
    return part


def feature_shape(
    config: EncoderConfig, size: int, inputs: Mapping[str, torch.Tensor]
) -> tuple[int, ...]:
    """The shape of the features of a batch's media. Nothing is computed: shapes alone go through.

    Args:
        config: of the encoder.
        size: d of the language model.
        inputs: the encoder's, by name, with the media's shapes.

    Returns:
        [..., d]

    Raises:
        ModelError: inputs that the encoder does not take.
    """
    with torch.device("meta"), torch.no_grad():
        part = make_encoder(config, size).eval()
        features = part({name: value.to("meta") for name, value in inputs.items()})
    if features is None:
        raise ModelError(
            f"the inputs are {', '.join(sorted(inputs))}, but the encoder takes {part.module.main}",
            where=config.config.model_type,
            fix="prepare media with a processor of the encoder's family",
        )
    return tuple(features.shape)


class ModularModel(Backbone[MultimodalConfig]):
    """Encoders by name, each a child `<name>_encoder`, and a language model."""

    def __init__(self, config: MultimodalConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        size = config.text_config.hidden_size
        for name, encoder in config.encoders.items():
            self.add_module(f"{name}_encoder", make_encoder(encoder, size, attention))
        language = get_family(config.text_config.model_type).backbone_class()
        self.language_model = language(config.text_config, attention)

    @property
    def encoders(self) -> dict[str, ModalEncoderModule]:
        """The encoders by name."""
        found = {}
        for name in self.config.encoders:
            part = self.get_submodule(f"{name}_encoder")
            assert isinstance(part, ModalEncoderModule)
            found[name] = part
        return found

    @classmethod
    def part_configs(cls, config: BaseConfig) -> dict[str, BaseConfig]:
        assert isinstance(config, MultimodalConfig)
        towers = {f"{name}_encoder.module": e.config for name, e in config.encoders.items()}
        return {**towers, "language_model": config.text_config}

    @classmethod
    def tokens_of(cls, config: BaseConfig) -> str:
        part = get_family(config.text.model_type).backbone_class()
        return f"language_model.{part.tokens_of(config.text)}"

    def accepted(self) -> tuple[str, ...]:
        """The language model's inputs, and any other name: an encoder's callback may want it."""
        return AnyName((*self.language_model.accepted(), "features"))

    def prepare(self, inputs: Inputs) -> Inputs:
        """The language model's inputs, and the features of media.

        An input `<name>.<input>` is the encoder's of that name alone, any other each encoder's.
        """
        own = self.language_model.accepted()
        media = {name: value for name, value in inputs.items() if name not in own}
        found = {name: encoder(addressed(media, name)) for name, encoder in self.encoders.items()}
        features = {name: each for name, each in found.items() if each is not None}
        known = [encoder.module.main for encoder in self.encoders.values()]
        for name in media:
            encoder, dot, _ = name.partition(".")
            if dot and encoder not in self.encoders:
                raise ModelError(
                    f"there is no encoder {encoder!r}",
                    where=name,
                    fix=hint(encoder, self.encoders),
                )
        shared = {name.rpartition(".")[2] for name in media}
        if media and not features and not shared & set(known):
            raise ModelError(
                f"no encoder takes {', '.join(sorted(media))}",
                fix=f"known: {', '.join(dict.fromkeys(known))}",
            )
        kept = {name: value for name, value in inputs.items() if name in own}
        return {**kept, "features": features} if features else kept

    def embed(
        self,
        *,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        features: Mapping[str, torch.Tensor] | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Embed tokens, and put each modality's features in the places of its token: [b, s, d]"""
        if not features:
            if input_ids is not None:
                self.require_no_places(input_ids)
            return self.language_model.embed(
                input_ids=input_ids, inputs_embeds=inputs_embeds, **inputs
            )
        if input_ids is None:
            raise ModelError("media go with input_ids, which say where they are")
        x = self.language_model.embed(input_ids=self.words(input_ids), **inputs)
        for name, values in features.items():
            places = input_ids == self.config.encoders[name].token_id
            x = put_features(x, places, values.flatten(0, -2), name)
        return x

    def words(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The ids [b, s] with 0 in the places of features, which may have no row in the table."""
        for encoder in self.config.encoders.values():
            input_ids = input_ids.masked_fill(input_ids == encoder.token_id, 0)
        return input_ids

    def require_no_places(self, input_ids: torch.Tensor) -> None:
        """Refuse ids [b, s] of features that are not there; the table has no row for them."""
        rows = self.config.text_config.token_id_limit
        if torch.compiler.is_compiling() or input_ids.device.type != "cpu":
            return
        for name, encoder in self.config.encoders.items():
            if encoder.token_id >= rows and bool((input_ids == encoder.token_id).any()):
                raise ModelError(
                    f"the text has {name} tokens (id {encoder.token_id}), but no input of {name}",
                    where="input_ids",
                    fix=f"give the encoder's {self.encoders[name].module.main} too",
                )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return self.language_model(x, context)

    def head_bias(self) -> bool:
        return self.language_model.head_bias()

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        return self.language_model.adjust_logits(logits)

    def width(self) -> int:
        return self.language_model.width()

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        if not name.endswith("query_tokens"):
            return None
        return torch.empty(shape).normal_(0.0, self.config.initializer_range, generator=random)


def addressed(inputs: Mapping[str, Any], name: str) -> Inputs:
    """What an encoder is given of all inputs; see `ModularModel.prepare`."""
    own = f"{name}."
    every = {key: value for key, value in inputs.items() if "." not in key}
    return every | {
        key.removeprefix(own): value for key, value in inputs.items() if key.startswith(own)
    }


class MultimodalLM(ImageTextToText):
    """The language model's head on the whole. Labels at the places of features do not count."""

    config: MultimodalConfig

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        if labels is not None:
            for encoder in self.config.encoders.values():
                places = inputs["input_ids"] == encoder.token_id
                labels = labels.masked_fill(places, IGNORED)
        super().finish(x, output, inputs, labels, num_target_tokens)


class MultimodalModel(MultimodalLM):
    """Put a language model and encoders together. Their weights are the very same objects.

    Args:
        encoders: name -> encoder.
        language_model: a model with a language-model head; may be wrapped by PEFT.
        preprocess_llm_callback: what the language model is given, before it is embedded:
            inputs -> inputs.
        init_projector_type: of the projectors that are made, one of `PROJECTORS`.
        init_activation: within these.
        token_ids: name -> the id of the token in whose places the encoder's features go; see
            `set_token_ids`.
        seed: of the values of projectors that are made.

    Raises:
        ModelError: parts that do not fit together; both sides are named.
    """

    body_class = ModularModel

    def __init__(
        self,
        encoders: Mapping[str, ModalEncoderModule],
        language_model: nn.Module,
        preprocess_llm_callback: Preprocess | None = None,
        init_projector_type: str = "linear",
        init_activation: str = "gelu",
        token_ids: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        base = getattr(language_model, "get_base_model", None)
        llm = language_model if base is None else base()
        if not isinstance(llm, CausalLM):
            raise ModelError(
                f"the language model must have a language-model head, not {type(llm).__name__}",
                fix='load it with tfcli.load(..., task="causal-lm").model',
            )
        if init_projector_type not in PROJECTORS:
            raise ModelError(
                f"init_projector_type is {init_projector_type!r}",
                fix=hint(init_projector_type, PROJECTORS),
            )
        nn.Module.__init__(self)
        text = llm.config.text
        rows = text.token_id_limit
        ids = {name: rows + at for at, name in enumerate(encoders)} | dict(token_ids or {})
        configs = {
            name: _encoder_config(part, ids[name], init_projector_type, init_activation)
            for name, part in encoders.items()
        }
        config = MultimodalConfig(
            text_config=text,
            encoders=configs,
            tie_word_embeddings=text.tie_word_embeddings,
            initializer_range=text.initializer_range,
        )
        self.config, self.attention, self.checkpointing = config, llm.attention, False
        self.prompts = None
        self.preprocess_llm_callback: Preprocess = preprocess_llm_callback or _as_given
        body = ModularModel.__new__(ModularModel)
        Backbone.__init__(body, config, llm.attention)
        fresh = [name for name, part in encoders.items() if part.projector.projection is None]
        for name, part in encoders.items():
            completed(part, configs[name], text.hidden_size, llm.attention)
            _check_widths(name, part, text.hidden_size)
            body.add_module(f"{name}_encoder", part)
        body.language_model = llm.body
        self.model = body
        self.lm_head = llm.lm_head
        made = tuple(f"model.{name}_encoder.projector." for name in fresh)
        for name, parameter in self.named_parameters():
            if name.startswith(made):
                parameter.data = random_values(self, name, seed).to(llm.device, llm.dtype)

    @property
    def language_model(self) -> Backbone[Any]:
        """The language model's backbone."""
        body: ModularModel = self.model
        return body.language_model

    @property
    def encoders(self) -> dict[str, ModalEncoderModule]:
        """The encoders by name."""
        body: ModularModel = self.model
        return body.encoders

    def set_token_ids(self, token_ids: Mapping[str, int]) -> None:
        """Say which token stands for features of which encoder, as a processor does.

        Raises:
            ModelError: no such encoder, or two with one id.
        """
        known = self.config.encoders
        for name in token_ids:
            if name not in known:
                raise ModelError(f"there is no encoder {name!r}", fix=hint(name, known))
        encoders = {
            name: dataclasses.replace(each, token_id=token_ids.get(name, each.token_id))
            for name, each in known.items()
        }
        self.config = self.body.config = self.config.replace(encoders=encoders)

    def run(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        return super().run(self.preprocess_llm_callback(dict(inputs)))

    def train(
        self,
        mode: bool = True,
        *,
        encoders_mode: Mapping[str, tuple[bool, bool]] | None = None,
        llm_mode: bool | None = None,
    ) -> MultimodalModel:
        """`nn.Module.train`, and which parts learn.

        Args:
            mode: of every module.
            encoders_mode: name -> whether the encoder learns, and whether its projector does.
            llm_mode: whether the language model learns, with its head.
        """
        super().train(mode)
        for name, (encoder, projector) in (encoders_mode or {}).items():
            if name not in self.encoders:
                raise ModelError(f"there is no encoder {name!r}", fix=hint(name, self.encoders))
            self.encoders[name].module.requires_grad_(encoder)
            self.encoders[name].projector.requires_grad_(projector)
        if llm_mode is not None:
            self.language_model.requires_grad_(llm_mode)
            self.lm_head.requires_grad_(llm_mode)
        return self


class AnyName(tuple[str, ...]):
    """Names that are known, in a place where any other may be given too."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)


def _encoder_config(part: ModalEncoderModule, token_id: int, kind: str, act: str) -> EncoderConfig:
    said = part.projector.config
    if said is not None:
        return dataclasses.replace(said, config=part.module.config, token_id=token_id)
    return EncoderConfig(
        config=part.module.config, token_id=token_id, projector_type=kind, activation=act
    )


def _check_widths(name: str, part: ModalEncoderModule, size: int) -> None:
    """Refuse a projector that does not lead from the encoder to the language model."""
    linears = [m for m in part.projector.modules() if isinstance(m, nn.Linear)]
    if not linears:
        return
    width = part.module.width()
    if isinstance(part.projector.projection, nn.Linear | nn.Sequential):
        first, last = linears[0].in_features, linears[-1].out_features
        if (first, last) != (width, size):
            raise ModelError(
                f"the projector of {name} leads from {first} to {last}, but the encoder gives "
                f"{width} and the language model takes {size}",
                where=f"encoders.{name}",
                fix="leave the projector out to have one made",
            )


def _chosen(config: EncoderConfig, then: Postprocess) -> Postprocess:
    """A callback that takes one layer's states, as a config says, before another callback."""

    def choose(inputs: Inputs, output: AnyOutput) -> AnyOutput:
        assert isinstance(output, ModelOutput) and output.hidden_states is not None
        x = output.last_hidden_state
        if config.feature_layer != -1:
            x = output.hidden_states[config.feature_layer]
        assert x is not None
        return then(inputs, _replaced(output, x[:, 1:] if config.drop_first else x))

    return choose


def _first(output: AnyOutput) -> torch.Tensor:
    found = output[0] if isinstance(output, tuple) else output.last_hidden_state
    assert isinstance(found, torch.Tensor)
    return found


def _replaced(output: AnyOutput, x: torch.Tensor) -> AnyOutput:
    """The output with another first entry."""
    if isinstance(output, tuple):
        return (x, *output[1:])
    return dataclasses.replace(output, last_hidden_state=x)


def _one_of(name: str, first: Any, other: str, second: Any) -> Any:
    if first is not None and second is not None:
        raise ModelError(f"{name} and {other} are two names of one argument", fix="give one")
    return second if first is None else first


def _as_given(inputs: Inputs) -> Inputs:
    return inputs


def _as_made(inputs: Inputs, output: AnyOutput) -> AnyOutput:
    return output
