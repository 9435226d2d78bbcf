"""Several heads replaced in one run, against hooks on all of them and attention written by hand."""

from contextlib import ExitStack

import numpy as np
import pytest
import tiny
import torch
from handmade import EACH_KIND, IDS, Written, expect, first, made, numbers, results_changed

import attnwidget as aw

GROUP = [(1, 3), (0, 0), (1, 1), (0, 0)]
"""Two of one layer, one of another, and one of them twice."""
OTHERS = [tiny.ids(1, 5, seed=1), tiny.ids(1, 12, seed=2)]


def parts_of(layer):
    return [slice(8 * head, 8 * head + 8) for head in sorted({head for at, head in GROUP if at == layer})]


def means_by_hand(model, projection, texts):
    """(H * dv,) by layer: the mean of what goes into the projections of the unchanged model."""
    seen = {0: [], 1: []}
    with ExitStack() as hooks, torch.no_grad():
        for layer, rows_seen in seen.items():
            hooks.enter_context(
                results_changed(projection(model, layer), lambda rows, seen=rows_seen: seen.append(rows.clone()))
            )
        for text in texts:
            model(text)
    return {layer: torch.cat(rows).mean(0) for layer, rows in seen.items()}


@EACH_KIND
@pytest.mark.parametrize(
    ("mode", "reference"), [("zero", None), ("mean", None), ("mean", OTHERS)], ids=["zero", "mean", "others"]
)
def test_all_of_a_group_are_replaced_as_by_hooks_in_one_run(case, mode, reference):
    model, projection, _ = made(case)
    found = aw.AttentionModel(model).ablate_jointly(IDS, GROUP, mode=mode, reference=reference, metric=numbers)
    means = means_by_hand(model, projection, reference or [IDS])
    with ExitStack() as hooks, torch.no_grad():
        baseline = float(numbers(model(IDS)))
        for layer in (0, 1):

            def change(rows, layer=layer):
                for part in parts_of(layer):
                    rows[:, part] = 0 if mode == "zero" else means[layer][part]

            hooks.enter_context(results_changed(projection(model, layer), change))
        expect(found.value, float(numbers(model(IDS))))
    assert found.baseline == baseline
    alone = aw.AttentionModel(model).ablate(IDS, GROUP, mode=mode, reference=reference, metric=numbers)
    assert abs(found.change - np.nansum(alone.values)) > 1e-3  # more, or less, than its heads one by one


@EACH_KIND
def test_even_weights_of_a_group_are_those_of_attention_by_hand(case):
    model, _, causal = made(case)
    written = Written(causal=causal)
    written.even = list(set(GROUP))
    rows = []
    aw.AttentionModel(model).ablate_jointly(
        IDS, GROUP, mode="uniform", metric=lambda out: rows.append(first(out)) or 0.0
    )
    expect(rows[-1], written.run(model, IDS))
    assert float((rows[-1] - rows[0]).abs().max()) > 1e-2


@pytest.mark.parametrize("mode", ["zero", "mean", "uniform"])
def test_a_group_of_one_is_that_head(mode):
    asked = aw.AttentionModel(tiny.llama())
    alone = asked.ablate(IDS, [(2, 1)], mode=mode, metric="logits", token=7, versus=9)
    group = asked.ablate_jointly(IDS, [(2, 1)], mode=mode, metric="logits", token=7, versus=9)
    expect(group.change, alone.values[2, 1])
    assert repr(group).startswith(
        f"{mode} ablation of layer 2 head 1 of stack 'self': logit of '7' less that of '9' at position 8 "
    )


def test_no_head_at_all_is_every_head_zeroed():
    """Without attention, a token's logits depend on that token and its place alone."""
    asked = aw.AttentionModel(tiny.gpt2())
    rows = []
    for seed in (1, 2):
        ids = torch.cat([tiny.ids(1, 8, seed=seed), IDS[:, -1:]], 1)
        found = asked.ablate_jointly(ids, None, metric=lambda out: rows.append(first(out)[-1]) or 0.0)
        assert found.what == "zero ablation of 12 heads of 3 layers of stack 'self'"
    (plain, alone), (other, again) = rows[:2], rows[2:]
    expect(again, alone)
    assert float((plain - other).abs().max()) > 1e-2


@pytest.mark.parametrize(
    ("heads", "options", "error", "words"),
    [
        ([(3, 0)], {}, IndexError, "layer 3 does not exist"),
        ([], {}, ValueError, "heads is empty"),
        ([(0, 0)], {"mode": "off"}, ValueError, "mode is 'off'; expected one of 'zero', 'mean', 'uniform'"),
        ([(0, 0)], {"reference": IDS}, ValueError, "expected it with mode='mean'"),
    ],
)
def test_refusals(heads, options, error, words):
    with pytest.raises(error, match=words):
        aw.AttentionModel(tiny.gpt2()).ablate_jointly(IDS, heads, **options)
