"""The small world: the same seed tells the same, and the tokenizer that ships knows every word of it."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from random import Random

import pytest

from attnwidget.smallworld import FOLDER
from attnwidget.smallworld.words import MEN, NAMES, VOCABULARY, WOMEN
from attnwidget.smallworld.world import chant, document, gift, medley, present, story, verse


@pytest.fixture(scope="module")
def tokenizer():
    import transformers

    return transformers.AutoTokenizer.from_pretrained(FOLDER)


def test_a_seed_tells_the_same_each_time():
    first, again, other = ([document(rng) for _ in range(50)] for rng in (Random(3), Random(3), Random(4)))
    assert first == again
    assert first != other


def test_a_gift_names_two_people_and_ends_with_who_is_named_once():
    rng = Random(0)
    known = [gift(rng) for _ in range(2000)]
    for one in known:
        words = words_of(one.text)
        (giver,) = one.others
        assert words.count(giver) == words.count(one.receiver) == 2
        assert words_of(one.prompt).count(one.receiver) == 1
        assert words[-1] == one.receiver
        assert set(words) & set(NAMES) == {giver, one.receiver}
    # Who is named first does not tell who receives.
    first = sum(one.prompt.find(one.receiver) < one.prompt.find(one.others[0]) for one in known)
    assert 850 < first < 1150


def test_a_present_goes_to_whom_it_is_meant_for():
    rng = Random(0)
    places = [0, 0, 0]
    for _ in range(1500):
        one = present(rng)
        words = words_of(one.prompt)
        thing = words[-2]
        assert f" the {thing} {one.receiver} " in one.prompt
        names = named(one.prompt)
        assert sorted(names) == sorted((one.receiver, *one.others))
        assert names[-1] == one.others[-1]  # who gives
        places[names.index(one.receiver)] += 1
    assert min(places) > 200


@pytest.mark.parametrize("kind", [gift, present])
def test_no_pair_of_names_is_in_both_halves(kind):
    rng = Random(0)
    read, kept = (
        {frozenset(named(kind(rng, split).prompt)[:2]) for _ in range(3000)} for split in ("train", "held out")
    )
    assert not read & kept
    assert {name for pair in kept for name in pair} == {name for pair in read for name in pair} == set(NAMES)


def words_of(text):
    return text.replace(",", "").replace(".", "").split()


def named(text):
    return [word for word in words_of(text) if word in NAMES]


def test_a_chant_comes_again_and_a_verse_too():
    words = chant(Random(0), 7).split()
    assert words[:7] == words[7:]
    assert len(set(words)) == 7
    told = verse(Random(1))
    assert told.count(told.partition(".")[0]) >= 2


def test_in_a_medley_a_word_tells_the_next_one_and_how_far_back_it_stands_does_not():
    lags = set()
    for seed in range(30):
        words = medley(Random(seed)).split()
        after = {}
        for word, following in itertools.pairwise(words):
            after.setdefault(word, set()).add(following)
        assert sum(len(found) > 1 for found in after.values()) <= 5  # the last word of each phrase
        lags |= {place - words.index(word) for place, word in enumerate(words)}
    assert len(lags) > 50


def test_pronouns_are_those_of_the_name():
    rng = Random(0)
    for _ in range(300):
        told = story(rng)
        if " took the " in told and told.count(" took the ") == 1 and "lives" not in told and "saw" not in told:
            name = told.partition(" took the ")[0].split()[-1]
            assert f". {'she' if name in WOMEN else 'he'} put it " in told
    assert not set(WOMEN) & set(MEN)


def test_the_tokenizer_gives_back_what_the_world_tells(tokenizer):
    rng = Random(5)
    for _ in range(500):
        told = document(rng)
        ids = tokenizer(told, verbose=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == told


def test_the_tokenizer_makes_one_token_of_each_word_in_any_case(tokenizer):
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    for word in VOCABULARY:
        for written in (word, word.upper(), word.lower()):
            assert tokenizer.tokenize(written) == [word]
    assert tokenizer.tokenize("The ZEBRA didn't see (mary).") == [
        "the",
        "[UNK]",
        "didn't",
        "see",
        "(",
        "Mary",
        ")",
        ".",
    ]


def test_a_token_knows_its_place_in_the_text(tokenizer):
    text = "When MARY didn't go to Paris, mary saw john (twice)."
    spans = tokenizer(text, return_offsets_mapping=True).offset_mapping[1:]
    assert [text[start:stop] for start, stop in spans] == [
        *("When", "MARY", "didn't", "go", "to", "Paris", ",", "mary", "saw", "john", "(", "twice", ")", "."),
    ]


def test_the_script_makes_the_tokenizer_that_ships(tokenizer, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    from demo_tokenizer import make_tokenizer

    made = make_tokenizer()
    sys.modules.pop("demo_tokenizer")
    assert made.get_vocab() == tokenizer.get_vocab()
    assert made.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_two_texts_are_kept_apart(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer("the cat", "the dog").input_ids) == [
        *("[BOS]", "the", "cat"),
        *("[BOS]", "the", "dog"),
    ]
