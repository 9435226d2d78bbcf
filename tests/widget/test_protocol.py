import json
import re
from pathlib import Path

import numpy as np

from attnwidget.widget import protocol

SOURCE = Path(__file__).parents[2] / "js" / "src" / "protocol.ts"


def typescript_constants():
    text = SOURCE.read_text()
    found = re.findall(r"^export const ([A-Z0-9_]+) = (.+?)(?: as const)?;", text, re.MULTILINE | re.DOTALL)
    return {name: _value(value) for name, value in found}


def _value(text):
    text = re.sub(r",\s*\]", "]", text.replace("_", "") if re.fullmatch(r"[\d_]+", text) else text)
    product = re.fullmatch(r"(\d+) \* (\d+) \* (\d+)", text)
    if product:
        a, b, c = map(int, product.groups())
        return a * b * c
    return json.loads(text)


def test_both_sides_have_the_same_constants():
    python = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(protocol).items()
        if name.isupper()
    }
    page = typescript_constants()
    assert (page.pop("CODE_MAX_U8"), page.pop("CODE_MAX_U16")) == (np.iinfo(np.uint8).max, np.iinfo(np.uint16).max)
    page_only = set(page) - set(python)
    python_only = set(python) - set(page) - {"EMBED_BUDGET", "DEFAULT_PANELS"}  # only Python packs, and sets
    assert not page_only
    assert not python_only
    assert {name: python[name] for name in page} == page
