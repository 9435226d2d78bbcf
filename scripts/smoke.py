"""Uses an installed attnwidget as a person would, from a capture to a page: run it by the Python it is installed for.

It has to be the installed package and not this checkout, and there must be no Node to lean on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import attnwidget as aw

ROOT = Path(__file__).resolve().parent.parent


def capture() -> aw.AttentionCapture:
    """A capture of a tiny model that is made here, compared with the model's own eager attention."""
    import numpy as np
    import torch
    import transformers

    print(f"attnwidget {aw.__version__} with torch {torch.__version__}, transformers {transformers.__version__}")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=24, n_layer=2, n_head=3, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2Model(config).eval()
    ids = torch.arange(9)[None]
    cap = aw.AttentionModel(model).capture(ids)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(ids, output_attentions=True).attentions
    error = max(np.abs(cap.weights(layer) - weights[0].numpy()).max() for layer, weights in enumerate(expected))
    print(f"largest difference to eager attention: {error:.1e}")
    if not error < 1e-5:  # noqa: PLR2004 - what README promises
        sys.exit("the weights are not those of the model")
    return cap


def command(*words: object) -> str:
    """What the command line prints."""
    line = [sys.executable, "-m", "attnwidget", *map(str, words)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Go through it, and say each step."""
    place = Path(aw.__file__).resolve()
    if place.is_relative_to(ROOT / "attnwidget"):
        sys.exit(f"this is the checkout ({place.parent}), not an installed package")
    for tool in ("node", "npm"):
        if shutil.which(tool):
            sys.exit(f"{tool} is on the PATH; expected a machine without it")
    cap = capture()
    view = cap.show(layer=1, head=2)
    print(repr(view))
    told = aw.demo().generate("When Mary and John went to the store, John gave a drink to", max_new_tokens=2)
    if told.generation is None or told.generation.texts != ("Mary.",):
        sys.exit(f"the model that ships goes on with {told.generation}; expected 'Mary.'")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        page, saved, second = folder / "page.html", folder / "run.safetensors", folder / "second.html"
        view.to_html(page)
        cap.save(saved)
        print(command("info", saved).strip())
        print(command("export", saved, "--layer", 1, "--head", 2, "-o", second).strip())
        if page.read_bytes() != second.read_bytes():
            sys.exit("the page from the command line is not the page from Python")
    (script,) = entry_points(group="console_scripts", name="attnwidget")
    script.load()
    print("it works")


if __name__ == "__main__":
    main()
