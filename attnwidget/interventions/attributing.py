"""`model.logit_attribution`: which heads say what a language model says next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.analysis import LogitAttribution
from attnwidget.intercept.edits import Watch
from attnwidget.interventions.baseline import Baseline
from attnwidget.outputs.residual import Stream
from attnwidget.outputs.rows import watching_rows
from attnwidget.outputs.vocabulary import logits_of, name_of_token, place_of, token_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from attnwidget.interventions.asking import Interventions


def logit_attribution(
    model: Interventions,
    inputs: Any,  # noqa: ANN401
    *,
    token: object,
    versus: object,
    position: int,
    forward_kwargs: Mapping[str, Any],
) -> LogitAttribution:
    """See `Interventions.logit_attribution`."""
    baseline = Baseline.of(model, inputs, forward_kwargs)
    context = baseline.context(needs_logits=True)
    place = place_of(position, context.span)
    logits = logits_of(baseline.output, context.n_tokens, model.name)[0, place].double().cpu()
    number = token_id(token, model.tokenizer, context.n_vocabulary)
    other = None if versus is None else token_id(versus, model.tokenizer, context.n_vocabulary)
    stacks = baseline.capture.stacks
    stack = baseline.stack(None)
    watches = {layer: Watch(slice(place, place + 1)) for layer in range(stack.n_layers)}
    with watching_rows(model.model, context.n_tokens, place) as rows:
        if len(stacks) == 1:
            baseline.rerun(stack, {layer: [watch] for layer, watch in watches.items()})
    stream = Stream(model.model, model.name, rows, torch.finfo(_dtype(baseline)).eps)
    if len(stacks) > 1:
        raise stream.refuse(
            f"it has {len(stacks)} stacks of attention ({', '.join(map(repr, stacks))}), and expected is one that "
            "adds to one residual stream"
        )
    head, weight, bias = _output_layer(model.model, stream)
    direction, added = weight[number].double().cpu(), 0.0 if bias is None else float(bias[number])
    if other is not None:
        direction = direction - weight[other].double().cpu()
        added -= 0.0 if bias is None else float(bias[other])
    if head not in rows:
        raise stream.refuse(f"{head}, its output layer, was not given the states of this text")
    computed = rows[head].after
    if not stream.same(computed, logits):
        raise stream.refuse(
            f"its logits are not what {head} gives: something bounds or scales them (a soft cap, a logit scale)"
        )
    paths = [info.path for info in stack.infos]
    if len(set(paths)) != len(paths):
        raise stream.refuse(f"its layers share one module ({paths[0]}), which runs several times")
    blocks = [stream.block_of(path) for path in paths]
    stream.check_joined(blocks)
    parts = [stream.parts_of(block, Watch.mean_of([watches[layer]]).cpu()) for layer, block in enumerate(blocks)]
    through, moved = stream.reading(blocks[-1], head, direction)
    name = repr(name_of_token(number, model.tokenizer))
    return LogitAttribution(
        name if other is None else f"{name} less that of {name_of_token(other, model.tokenizer)!r}",
        place - context.span[0],
        float(logits[number] - (0 if other is None else logits[other])),
        np.stack([(part.heads @ through).numpy() for part in parts]),
        np.array([float(part.bias @ through) for part in parts]),
        np.array([float(part.other @ through) for part in parts]),
        float(stream.start_of(blocks[0]) @ through),
        moved + added,
    )


def _dtype(baseline: Baseline) -> torch.dtype:
    parameter = next((p for p in baseline.model.model.parameters() if p.is_floating_point()), None)
    return torch.float32 if parameter is None else parameter.dtype


def _output_layer(model: nn.Module, stream: Stream) -> tuple[str, torch.Tensor, torch.Tensor | None]:
    """The path of the output layer, its weight (V, d) and bias (V,) or None."""
    try:
        layer = model.get_output_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        layer = None
    path = next((path for path, module in model.named_modules() if module is layer), None)
    weight = getattr(layer, "weight", None)
    if path is None or not isinstance(weight, torch.Tensor) or not weight.is_floating_point():
        raise stream.refuse("it has no output layer with a weight (vocabulary, size)")
    bias = getattr(layer, "bias", None)
    return path, weight.detach(), None if bias is None else bias.detach()
