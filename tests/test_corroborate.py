"""The notebook that tests hypotheses: what its text says of the outcomes is what its cells print."""

from __future__ import annotations

import re

import pytest
from notebookrun import run

# nbclient's own clean-up
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module")
def said():
    return run("corroborate.ipynb")


def numbers_after(said, words):
    """All numbers after these words, in the one line that has them."""
    (line,) = [line for line in said.splitlines() if words in line]
    return [float(number) for number in re.findall(r"[+-]?\d+(?:\.\d+)?", line.partition(words)[2])]


def first_after(said, *each):
    return [numbers_after(said, words)[0] for words in each]


def test_one_sentence_suggests_a_head_that_does_not_move_the_name_and_many_one_that_does(said):
    once, often = said["05"].split("layer ")[1:]
    of = "adds itself", "edge to the right name cut", "edge to the other name cut", "ablated, mean ", "probability"
    adds, edge, other, ablated, _ = first_after(once, *of)
    assert max(abs(adds), abs(edge), abs(other), abs(ablated)) < 1
    adds, edge, other, ablated, probability = first_after(often, *of)
    assert adds > 2
    assert edge < -2
    assert abs(other) < 0.2
    assert ablated < -0.5
    assert abs(probability) < 0.05


def test_heads_that_stand_in_for_each_other_are_missed_together(said):
    words = "of layer 1, together:", "added up:", "of layer 2, together:", "the logit difference of 12 presents:"
    together, alone, control, whole = first_after(said["07"], *words)
    assert together < 2 * alone < 0
    assert together < -0.9 * whole
    assert abs(control) < 1
    assert "the right name is ahead in 12 of 12" in said["07"]
    assert first_after(said["07"], "its weight on the right name:")[0] < 0.05


def test_full_weight_on_the_right_name_is_weight_on_the_first_one(said):
    assert re.search(r"layer 1 head \d: 1\.00 on Mary", said["10"])
    assert abs(first_after(said["12"], "who receives less the other, in 40 gifts:")[0]) < 0.3
    assert first_after(said["12"], "the most that one looks at who receives:")[0] < 0.3
    mean, spread = numbers_after(said["12"], "who stands first less the other, in 40 gifts:")
    assert mean > 0.95
    assert spread < 0.05
    assert first_after(said["14"], "the right name is ahead in")[0] == 100
    pointer, most_missed = numbers_after(said["14"], "without layer 1 head 0 in")
    assert 60 <= most_missed <= pointer < 100
    one, *more = first_after(said["14"], *(f"without the {n} that add most, together, in" for n in (1, 2, 4, 8)))
    assert one > 80
    assert max(more) <= 60


def test_one_story_shows_other_induction_heads_than_forty_chants(said):
    _, _, shown, kept, *_ = numbers_after(said["19"], "another of the story")
    assert shown > 0.2
    assert kept < 0.05
    assert numbers_after(said["19"], "heads above 0.5: in the story")[0] == 0
    assert numbers_after(said["19"], "- in chants") == [8]


def test_an_induction_head_needs_one_of_two_previous_token_heads_and_another(said):
    share, loss = numbers_after(said["21"], "the induction head's")
    assert loss < 0.2
    before, shares, losses = zip(
        *(numbers_after(said["21"], f"without layer 0 head {head} (") for head in range(8)), strict=True
    )
    assert [head for head, previous in enumerate(before) if previous > 0.9] == [0, 1]
    assert shares[1] < -share / 2
    assert losses[1] > 2
    assert abs(shares[0]) < 0.1
    assert abs(losses[0]) < 0.1
    assert before[7] < 0.05
    assert shares[7] < -0.2
    assert losses[7] > 2


def test_weight_rests_on_a_separator_that_has_nothing_to_give(said):
    rows = {
        token: [float(number) for number in rest.split()]
        for token, rest in re.findall(r"^(\S+) +(\d.*)$", said["27"], re.MULTILINE)
    }
    weight, added, cut, empty = zip(*rows.values(), strict=True)
    cls, animal = (list(rows).index(token) for token in ("[CLS]", "animal"))
    assert weight[cls] > 8 * weight[animal]
    assert added[cls] < added[animal]
    assert cut[cls] == max(cut)
    assert empty[animal] == max(empty)
    assert empty[cls] < 0.05 * empty[animal]
    assert first_after(said["29"], "cut off and nothing to give:")[0] > 0.9
    (_, zero, mean, uniform), (_, other_zero, other_mean, other_uniform) = (
        numbers_after(said["29"], f"heads with the {words} weight on [CLS]") for words in ("most", "least")
    )
    assert zero < other_zero / 3
    assert abs(mean - other_mean) < 0.005
    assert uniform > other_uniform


def test_cheap_measures_agree_with_removals_in_part(said):
    presents, _, encoder = said["32"].partition("tokens of MiniLM")
    weight, added, gradient = first_after(
        presents, *(f"  {name}, size alone" for name in ("weight", "value-weighted", "gradient"))
    )
    assert gradient > max(weight, added)
    assert min(weight, added) > 0.5
    assert 0.3 < first_after(presents, "with its sign")[0] < 0.8
    assert 60 < first_after(presents, "that of what is lost for")[0] < 85
    layers = first_after(presents, *(f"  weights of layer {layer}, mean of heads" for layer in range(3)))
    assert first_after(presents, "  rollout ")[0] < max(layers) < 0.6
    rollout, weight, added = first_after(
        encoder, "  rollout", "  weights, mean of all heads", "  value-weighted, mean of all heads"
    )
    assert added > weight > rollout
    assert rollout < 0.3
