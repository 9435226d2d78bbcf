"""One text and one model: captured once, then run again with some of its attention changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from attnwidget.intercept.changing import Target
from attnwidget.intercept.rerun import changing
from attnwidget.intercept.session import fill, watching
from attnwidget.intercept.terms import Terms
from attnwidget.outputs.context import RunContext
from attnwidget.outputs.measuring import metric_of
from attnwidget.outputs.vocabulary import logits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from attnwidget.attention import AttentionCapture, AttentionStack
    from attnwidget.inputs import Prepared
    from attnwidget.intercept.changing import Edit
    from attnwidget.interventions.asking import Interventions
    from attnwidget.outputs.measuring import Asked, Metric

_PER_TOKEN = {
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "position_ids",
    "inputs_embeds",
    "decoder_input_ids",
    "decoder_attention_mask",
}
"""Arguments whose first axis counts examples."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """The run without a change.

    Attributes:
        model: the wrapper.
        prepared: what it was called with.
        capture: of its attention.
        output: what it returned.
    """

    model: Interventions
    prepared: Prepared
    capture: AttentionCapture
    output: Any

    @classmethod
    def of(cls, model: Interventions, inputs: Any, forward_kwargs: Mapping[str, Any]) -> Baseline:  # noqa: ANN401
        """Run it.

        Raises:
            ValueError: the model is in training mode, or there are several texts.
        """
        check_eval(model)
        prepared = model._arguments(inputs, forward_kwargs)  # noqa: SLF001 - a part of its class
        if prepared.kwargs.get("past_key_values") is not None:
            raise ValueError(
                "past_key_values is given, and each run would go on from where the last left it; expected the whole "
                "text, without a cache"
            )
        with watching(model.model, Terms.of(progress=False), model=model.name) as (capture, recorder), torch.no_grad():
            output = model.model(*prepared.args, **prepared.kwargs)
        fill(capture, recorder, prepared.naming)
        for stack in capture.stacks.values():
            if stack.n_examples != 1:
                raise ValueError(f"inputs hold {stack.n_examples} examples; expected one text: ask for each in turn")
        return cls(model, prepared, capture, output)

    def stack(self, name: str | None) -> AttentionStack:
        """One stack of the capture; the first if None.

        Raises:
            KeyError: there is none of this name.
        """
        stacks = self.capture.stacks
        if name is None:
            return next(iter(stacks.values()))
        if name not in stacks:
            raise KeyError(f"stack {name!r} does not exist: this run has {', '.join(map(repr, stacks))}")
        return stacks[name]

    def metric(self, asked: Asked, about: Mapping[str, Any]) -> Metric:
        """What is measured.

        Args:
            asked: a name, or a function of the output.
            about: token, versus, position.
        """
        return metric_of(asked, self.context(needs_logits=not callable(asked)), **about)

    def context(self, *, needs_logits: bool) -> RunContext:
        """What there is to know of the sequence that the output is about.

        Raises:
            ValueError: logits are needed, and the output has none.
        """
        stacks = self.capture.stacks
        own = stacks.get("decoder") or stacks.get("self") or next(iter(stacks.values()))
        ids = ids_of(self.model, self.prepared)
        n_tokens = own.layers[0].n_queries if ids is None else ids.shape[-1]
        size = logits_of(self.output, n_tokens, self.model.name).shape[-1] if needs_logits else 0
        span = own.query_spans[0] if own.layers[0].n_queries == n_tokens else (0, n_tokens)
        return RunContext(self.model.name, self.model.tokenizer, ids, n_tokens, size, span, is_causal(own))

    def rerun(self, stack: AttentionStack, edits: Mapping[int, Sequence[Edit]], *, copies: int = 1) -> Any:  # noqa: ANN401
        """Run the same again, with some of its attention changed.

        Args:
            stack: of the capture.
            edits: what is done, by the number of the layer in the stack.
            copies: examples of the batch, all of them this text.

        Returns:
            The output of the model.
        """
        kwargs = self.prepared.kwargs
        if copies > 1:
            kwargs = {name: _repeated(value, copies) for name, value in kwargs.items()}
        targets = [Target(stack.infos[number], stack.layers[number], each) for number, each in edits.items()]
        with changing(self.model.model, targets), torch.no_grad():
            return self.model.model(*self.prepared.args, **kwargs)

    def most_copies(self, metric: Metric) -> int:
        """How many heads may run as one batch: what a few thousand tokens, and a bounded output, hold."""
        kwargs = self.prepared.kwargs
        plain = all(
            name in _PER_TOKEN and value.shape[:1] == (1,)
            if isinstance(value, torch.Tensor)
            else isinstance(value, (bool, int, float, str, type(None)))
            for name, value in kwargs.items()
        )
        if metric.each_alone or self.prepared.args or not plain:
            return 1
        n_tokens = max(stack.layers[0].n_queries for stack in self.capture.stacks.values())
        nbytes = sum(part.numel() * part.element_size() for part in _tensors(self.output))
        return max(1, min(16, 4096 // max(1, n_tokens), (256 << 20) // max(1, nbytes)))


def check_eval(model: Interventions) -> None:
    """Raise if what a model puts out is a matter of chance.

    Raises:
        ValueError: it, or a part of it, is in training mode.
    """
    training = next((path for path, part in model.model.named_modules() if part.training), None)
    if training is not None:
        raise ValueError(
            f"{model.name} is in training mode ({training or 'the whole model'}), where dropout changes its output at "
            "random; call model.eval() first"
        )


def ids_of(model: Interventions, prepared: Prepared) -> torch.Tensor | None:
    """The tokens (1, T) that the output is about, where ids were given: the decoder's, where there are two sides."""
    two_sided = bool(getattr(getattr(model.model, "config", None), "is_encoder_decoder", False))
    found = prepared.kwargs.get("decoder_input_ids" if two_sided else "input_ids")
    return found if isinstance(found, torch.Tensor) else None


def is_causal(stack: AttentionStack) -> bool:
    """No token of a stack that has two sees the one after it, in any layer."""
    start, stop = stack.query_spans[0]
    if stop - start < len("ab") or stack.layers[0].n_queries != stack.layers[0].n_keys:
        return True
    return not any(
        layer.allowed(0, slice(0, 1), slice(start, start + 1), slice(start + 1, stop)).any() for layer in stack.layers
    )


def _repeated(value: Any, copies: int) -> Any:  # noqa: ANN401 - options pass as they are
    return value.expand(copies, *value.shape[1:]) if isinstance(value, torch.Tensor) else value


def _tensors(output: Any) -> Iterable[torch.Tensor]:  # noqa: ANN401
    values = output.values() if hasattr(output, "values") and not isinstance(output, torch.Tensor) else [output]
    return [value for value in values if isinstance(value, torch.Tensor)]
