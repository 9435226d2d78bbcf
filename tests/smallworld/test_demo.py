"""The model that ships: it loads without a network, writes, and has the heads that it was trained to have."""

from __future__ import annotations

import re
import socket

import pytest
import torch

import attnwidget as aw
from attnwidget.smallworld import FOLDER
from attnwidget.smallworld.abilities import measure

PROMPT = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def model():
    return aw.demo()


@pytest.fixture(scope="module")
def abilities(model):
    return measure(model)


def test_it_loads_without_a_network(monkeypatch):
    def refuse(*args):
        raise AssertionError(f"the network was asked for {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    model = aw.demo(attn_implementation="eager")
    assert repr(model).startswith("AttentionModel('aw.demo()', LlamaForCausalLM on cpu, attention eager, tokenizer ")
    assert not model.model.training


def test_it_is_small():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 4_000_000
    assert (FOLDER / "model.safetensors").is_file()


def test_its_heads_look_at_the_token_before_and_at_what_came_after(abilities):
    assert abilities.previous.max() >= 0.5
    assert abilities.induction.max() >= 0.5
    earlier, later = (found.max(axis=1).argmax() for found in (abilities.previous, abilities.induction))
    assert earlier < later  # an induction head needs what a previous-token head below it has moved


def test_what_it_read_once_it_expects_again(abilities):
    assert abilities.second_pass <= abilities.first_pass / 2


def test_a_head_looks_for_the_right_name_and_the_model_says_it(abilities):
    assert abilities.gifts >= 0.9
    assert abilities.presents >= 0.9
    right, wrong = abilities.to_receiver[abilities.mover], abilities.to_others[abilities.mover]
    assert right >= 0.5
    assert right > 2 * wrong


def test_a_model_that_learned_nothing_does_not_pass(model):
    torch.manual_seed(0)
    fresh = aw.AttentionModel(type(model.model)(model.model.config).eval(), model.tokenizer)
    found = measure(fresh, n_texts=5)
    assert found.induction.max() < 0.1
    assert found.second_pass > 0.9 * found.first_pass
    assert found.gifts == found.presents == 0
    assert found.to_receiver.max() < 0.2


def test_the_readme_quotes_what_is_measured(abilities):
    text = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    quoted, measured = (numbers(table) for table in (text, abilities.table()))
    assert len(measured) == 8
    for words, value in measured.items():
        assert quoted[words] == pytest.approx(value, abs=0.03), words  # rounding differs between machines


def numbers(table):
    """The first number in the last cell of each row, by the row's words and head."""
    rows = re.findall(r"^\| (.+) \| ([\d.]+)[^|]*\|$", table, re.MULTILINE)
    return {words: float(value) for words, value in rows}


def test_it_goes_on_with_the_right_name_and_its_attention_is_exact(model):
    cap = model.generate(PROMPT, max_new_tokens=3, do_sample=False)
    assert cap.generation.texts == ("Mary.",)
    eager = aw.demo(attn_implementation="eager")
    ids = eager.tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = eager.model(ids, output_attentions=True).attentions
    found = model.capture(PROMPT)
    assert found.tokens[:5] == ["[BOS]", "when", "Mary", "and", "John"]
    assert cap.tokens[: len(found.tokens)] == found.tokens
    for layer, weights in enumerate(expected):
        assert found.weights(layer=layer) == pytest.approx(weights[0].numpy(), abs=1e-5)
