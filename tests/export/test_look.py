"""The colours, words and ranges of figures are those of the screen, and of the sources that both name."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from cmcrameri import cm
from hypothesis import given
from hypothesis import strategies as st
from pixels import expected_colours

from attnwidget.export.look import DARK, DIVERGING, LIGHT, Ramp, colours_of, head_colour, ink_on
from attnwidget.export.ranges import head_range
from attnwidget.export.words import format_end, format_weight, label, visible
from attnwidget.widget.protocol import COLORMAPS

SOURCE = Path(__file__).parents[2] / "js" / "src"


def page_table(name):
    """A colour map as the page unpacks it."""
    text = (SOURCE / "colormaps.ts").read_text()
    first, steps = re.search(rf"{name}: \[\[([\d, ]+)\], '([^']+)'\]", text).groups()
    pairs = np.array([ord(char) - 40 for char in steps.replace("\\\\", "\\")])
    differences = np.stack([pairs % 8, pairs // 8], axis=1).ravel()[:765] - 3
    flat = np.concatenate([np.array(first.split(","), dtype=int), differences]).reshape(256, 3)
    return flat.cumsum(axis=0)


@pytest.mark.parametrize("name", [*COLORMAPS, *DIVERGING])
def test_the_colour_maps_are_those_of_the_page_and_of_their_sources(name):
    table = colours_of(name, dark=True)
    np.testing.assert_array_equal(table, page_table(name))
    published = getattr(cm, name) if name in ("oslo", *DIVERGING) else mpl.colormaps[name]
    np.testing.assert_array_equal(table, published(np.arange(256), bytes=True)[:, :3])
    np.testing.assert_array_equal(colours_of(name, dark=False), table if name in DIVERGING else table[::-1])


def test_an_unknown_colour_map_is_named():
    with pytest.raises(ValueError, match="there is no colour map 'jet' for figures: expected one of oslo, cividis"):
        colours_of("jet", dark=False)


@pytest.mark.parametrize(("name", "palette"), [("LIGHT", LIGHT), ("DARK", DARK)])
def test_the_palettes_are_those_of_the_page(name, palette):
    body = re.search(rf"const {name}: Palette = {{(.+?)}};", (SOURCE / "theme.ts").read_text(), re.DOTALL).group(1)
    page = dict(re.findall(r'(\w+): "(#\w{6})"', body))
    for kind, triple in re.findall(r"(\w+): \[([\d, ]+)\]", body):
        page[kind] = "#" + bytes(map(int, triple.split(","))).hex()
    red, green, blue, alpha = re.search(r'halo: "rgba\((\d+),(\d+),(\d+),(\.\d+)\)"', body).groups()
    page["halo"] = "#" + bytes([int(red), int(green), int(blue), round(float(alpha) * 255)]).hex()
    assert vars(palette) == page


@pytest.mark.parametrize("scale", ["linear", "sqrt", "log"])
@pytest.mark.parametrize("dark", [False, True])
def test_weights_have_the_colours_of_the_published_map(scale, dark):
    weights = np.random.default_rng(0).uniform(size=1000) ** 3
    found = Ramp("viridis", scale, 0.0, 0.6, dark).colours(weights).astype(int)
    expected = expected_colours(weights, (0.0, 0.6), scale, "viridis", dark=dark).astype(int)
    # Where two of the 256 colours are equally near, rounding may take either.
    assert (np.abs(found - expected).max(axis=1) > 0).mean() < 0.01
    assert np.abs(found - expected).max() <= 4


@given(
    st.sampled_from(["linear", "sqrt", "log"]),
    st.floats(0, 0.4, allow_subnormal=False),
    st.floats(0.5, 1),
    st.floats(0, 1),
)
def test_a_place_on_the_ramp_is_the_place_of_its_weight(scale, low, high, place):
    ramp = Ramp("oslo", scale, low, high, dark=False)
    assert ramp.positions(np.array(ramp.weight_at(place))) == pytest.approx(place, abs=1e-6)


def test_masked_and_missing_cells_have_colours_of_their_own():
    ramp = Ramp("oslo", "linear", 0, 1, dark=False)
    picture = ramp.paint(np.array([[np.nan, np.inf, 0.0]]))
    assert picture[0, 0, 3] == 0
    assert picture[0, 1].tolist() == [226, 218, 200, 255]
    assert picture[0, 2].tolist() == [*colours_of("oslo", dark=False)[0], 255]
    assert ramp.paint(np.array([[np.nan]]), masked=LIGHT.masked)[0, 0].tolist() == [236, 238, 241, 255]


def test_ink_reads_on_every_colour():
    def luminance(rgb):
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    for name in COLORMAPS:
        for rgb in colours_of(name, dark=False):
            ink = 0.0 if ink_on(rgb) == "#000000" else 1.0
            light, dark = sorted([luminance(rgb / 255), ink], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
def test_heads_have_hues_of_their_own(dark):
    assert len({head_colour(head, dark=dark) for head in range(64)}) == 64


def test_the_range_of_a_head_is_what_its_strongest_keys_get_without_sinks():
    rows = np.full((100, 100), 0.3 / 98)
    rows[:, 0] = 0.5
    rows[np.arange(100), np.arange(100) % 99 + 1] = 0.2
    found = head_range(rows)
    assert (found.low, found.high, found.largest, found.masked) == (0.0, pytest.approx(0.2), 0.5, False)
    rows[0, 50] = np.nan
    assert head_range(rows).masked
    # One key takes all: the range ends at an eighth of it, and not in the noise.
    alone = np.full((50, 50), 1e-4)
    alone[:, 0] = 0.9
    assert head_range(alone).high == pytest.approx(0.9 / 8)
    assert head_range(np.zeros((3, 3))).high == 1.0
    assert head_range(np.full((2, 2), np.inf)).largest == 0.0


@pytest.mark.parametrize(
    ("weight", "text"),
    [(0, "0"), (0.3123, "0.312"), (0.05, "0.0500"), (1.0, "1.00"), (0.00012, "0.000120"), (2.31e-7, "2.31 × 10⁻⁷")],
)
def test_weights_are_printed_as_on_the_screen(weight, text):
    assert format_weight(weight) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.25, "0.25"), (0.2, "0.2"), (1.0, "1"), (3.2e-5, "3e-5")])
def test_ends_of_scales_are_short(value, text):
    assert format_end(value) == text


def page_cases():
    """What the page's own tests expect of labels."""
    text = (SOURCE.parent / "test" / "tokens.test.ts").read_text()
    block = re.search(r'describe\("labels".+?\n\}\);', text, re.DOTALL).group(0)
    visible_block, label_block = block.split("is shown as")[:2]
    unescape = re.compile(r"\\u\{?([0-9a-fA-F]+)\}?")

    def read(literal):
        plain = literal.replace("\\\\u", "\x00")
        plain = unescape.sub(lambda found: chr(int(found[1], 16)), plain)
        for short, char in (("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r")):
            plain = plain.replace(short, char)
        return plain.replace("\x00", "\\u")

    pairs = [tuple(map(read, found)) for found in re.findall(r'\["([^"]*)", "([^"]*)"\],', visible_block)]
    triples = [tuple(map(read, found)) for found in re.findall(r'\["([^"]*)", "([^"]*)", "([^"]*)"\],', label_block)]
    assert len(pairs) >= 15
    assert len(triples) >= 5
    return pairs, triples


def test_tokens_are_labelled_as_on_the_page():
    pairs, triples = page_cases()
    for text, expected in pairs:
        assert visible(text) == expected
    for text, piece, expected in triples:
        assert label(text, piece) == expected


@given(st.text())
def test_labels_hide_nothing(text):
    shown = visible(text)
    assert not re.search(r"[\n\t\r\u2028\u2029\u00a0\x00-\x1f]", shown)
    assert shown == shown.strip(" ")
    assert (shown == "") == (text == "")
