"""Thirty families, at least one for each mechanism, made tiny and compared with their own eager attention."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("configs can be shrunk by their fields from transformers 5 on", allow_module_level=True)

from sweep.compare import TOLERANCE
from sweep.judge import judge
from sweep.kinds import model_types
from sweep.results import CATEGORIES
from sweep.table import read_table, read_versions, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
TWO_SIDED = {"encoder": 2, "decoder": 3, "cross": 3}
FAMILIES = {
    # model type: what it stands for, stacks and their layers
    "bert": ("both directions", {"self": 2}),
    "albert": ("one module as many layers", {"self": 2}),
    "gpt2": ("causal", {"self": 2}),
    "llama": ("grouped heads, rotary", {"self": 2}),
    "gpt_bigcode": ("one key head for all", {"self": 2}),
    "bloom": ("ALiBi", {"self": 2}),
    "t5": ("relative position bias, unequal depths and lengths", TWO_SIDED),
    "deberta-v2": ("disentangled positions, by hand", {"self": 2}),
    "swin": ("shifted windows with a bias", {"self": 2, "self-2": 2, "self-3": 2, "self-4": 2}),
    "mistral": ("sliding window", {"self": 2}),
    "llama4_text": ("chunks", {"self": 2}),
    "gemma2": ("soft cap", {"self": 2}),
    "gpt_oss": ("sinks", {"self": 2}),
    "deepseek_v3": ("latent", {"self": 2}),
    "qwen3_next": ("linear attention beside", {"self": 1}),
    "jamba": ("state spaces beside", {"self": 2}),
    "zamba": ("a shared block in a hybrid", {"self": 2}),
    "bart": ("encoder and decoder", TWO_SIDED),
    "whisper": ("audio to text", TWO_SIDED),
    "wav2vec2": ("audio", {"self": 2}),
    "vit": ("vision", {"self": 2}),
    "qwen2_vl": ("packed images beside text", {"vision": 2, "text": 2}),
    "clip": ("two towers", {"vision": 2, "text": 2}),
    "llava": ("image tokens in text", {"vision": 2, "text": 2}),
    "blip-2": ("a Q-Former between", {"vision": 2, "qformer": 2, "cross": 1, "text": 2}),
    "mllama": ("text that looks at an image", {"vision": 4, "text": 2, "cross": 1}),
    "xlnet": ("relative positions by hand", {"self": 2}),
    "perceiver": ("latents that look at inputs", {"cross": 1, "self": 2}),
    "detr": ("queries for objects", TWO_SIDED),
    "informer": ("time series, sampled queries", {"encoder": 1, "encoder-2": 1, "decoder": 3, "cross": 3}),
}
OTHERS = {"mamba": "has no attention", "rf_detr": "captured partly", "longformer": "refused"}


@pytest.fixture(scope="module")
def rows():
    return read_table(PAGE.read_text())


def told(result):
    return "\n".join([result.category, result.reason, *result.problems])


@pytest.mark.filterwarnings("ignore")  # of the models themselves
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_captured_as_it_says_itself(name, rows):
    result = judge(name)
    assert result.category in {"captured exactly", "captured densely"}, told(result)
    assert not result.problems
    assert result.stacks == FAMILIES[name][1]
    assert result.compared > 0 or result.checked_by == "values"
    assert result.error is not None
    assert result.error <= TOLERANCE
    assert result.flat < sum(result.stacks.values()), "rows that look everywhere alike prove nothing"
    if same_versions():
        assert rows[name]["category"] == result.category
        assert rows[name]["stacks and layers"] == ", ".join(f"{stack} {n}" for stack, n in result.stacks.items())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "category"), OTHERS.items())
def test_what_cannot_be_captured_is_said(name, category, rows):
    result = judge(name)
    assert result.category == category, told(result)
    assert result.reason
    if same_versions():
        assert rows[name]["category"] == category


def same_versions():
    return read_versions(PAGE.read_text())[0] == transformers.__version__


def test_the_page_knows_every_model_type_of_its_version(rows):
    if same_versions():
        assert sorted(rows) == model_types()
    assert len(rows) > 700
    assert {row["category"] for row in rows.values()} <= set(CATEGORIES)


def test_the_page_says_that_nothing_is_wrong_and_that_enough_was_compared(rows):
    assert not [name for name, row in rows.items() if row["category"] == "wrong"]
    compared = [row for row in rows.values() if row["compared"].startswith(("outputs", "modules"))]
    assert len(compared) >= 450
    assert all(float(row["largest error"]) <= TOLERANCE for row in compared)
    unsaid = [name for name, row in rows.items() if row["category"] in CATEGORIES[2:6] and not row["remarks"]]
    assert not unsaid, "what is not captured needs a reason"


def test_a_page_is_read_back_as_it_was_written():
    result = {
        "model_type": "bert",
        "model": "BertModel",
        "category": "captured exactly",
        "stacks": {"self": 2},
        "checked_by": "outputs",
        "compared": 2,
        "error": 1e-7,
        "reason": "",
    }
    page = table([result], "transformers 5.0.0, torch 2.9.0")
    assert read_versions(page) == ("5.0.0", "2.9.0")
    assert read_table(page)["bert"] == {
        "model type": "bert",
        "class": "BertModel",
        "stacks and layers": "self 2",
        "category": "captured exactly",
        "compared": "outputs, 2 layers",
        "largest error": "1.0e-07",
        "remarks": "",
    }


def test_a_page_without_a_table_is_refused():
    with pytest.raises(ValueError, match="no table of architectures: run make sweep"):
        read_table("# Architectures")
    with pytest.raises(ValueError, match="does not say which versions"):
        read_versions("# Architectures")
