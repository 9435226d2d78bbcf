"""The head grid sorted, filtered and coloured in a real JupyterLab, and the stacks it can show."""

import numpy as np
import pytest
from headgrid import cell_colours, said
from heatmap import attribute, panel
from pixels import expected_colours

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
import torch, transformers, attnwidget as aw
from captures import make_capture
from tiny import bart, ids, llama
from watched import watch
"""
STACKS = """
translator, sentences = bart(), dict(input_ids=ids(2, 9), decoder_input_ids=ids(2, 5, seed=1))
with aw.capture(translator) as translated, torch.no_grad():
    translator(**sentences)
size = dict(hidden_size=16, intermediate_size=16)
config = transformers.CLIPConfig(
    text_config=dict(num_hidden_layers=2, num_attention_heads=2, vocab_size=50, max_position_embeddings=20, **size),
    vision_config=dict(num_hidden_layers=3, num_attention_heads=4, image_size=16, patch_size=4, **size),
)
torch.manual_seed(0)
matcher = transformers.CLIPModel(config).eval()
with aw.capture(matcher) as matched, torch.no_grad():
    matcher(input_ids=ids(1, 9), pixel_values=torch.randn(1, 3, 16, 16))
"""


@pytest.fixture
def opened(lab, page, support):
    def open_cells(*cells):
        notebook = lab.open(page, lab.write("grid.ipynb", [SETUP.format(support=support), *cells]))
        notebook.run_all()
        return notebook

    return open_cells


def order(view, count):
    """The heads in the order the arrow to the right goes through them, from the locked one."""
    listbox = panel(view, "grid").get_by_role("listbox")
    listbox.focus()
    heads = []
    for _ in range(count):
        heads.append([int(view.get_attribute(f"data-{name}")) for name in ("layer", "head")])
        listbox.press("ArrowRight")
    listbox.blur()  # ends the preview
    view.page.wait_for_timeout(200)
    return heads


def test_a_pair_colours_every_head_by_its_weight_and_sorts_them(opened):
    notebook = opened("cap = make_capture(layers=3, heads=4, queries=12)\nview = cap.show(layer=1, head=2)\nview")
    view = notebook.ready()
    tools = panel(view, "grid").locator(".tools")
    tools.get_by_label("colour").select_option("pair")
    said(view, "lock a query and a key to see them in every head")
    for query, key in ((3, 7), (5, 2)):
        notebook.execute(f"view.query, view.key = {query}, {key}")
        pair = np.array(notebook.evaluate(f"cap.pair(query={query}, key={key}).tolist()"))
        said(view, f"colour 0 \u2013 {float(f'{pair.max():.2g}'):g}")
        view.page.wait_for_timeout(300)
        expected = expected_colours(pair, (0, float(np.float32(pair.max()))), "sqrt", "oslo", dark=False).astype(int)
        assert np.abs(cell_colours(view, 3, 4) - expected).max() <= 4
    tools.get_by_label("sort").select_option("pair")
    view.page.wait_for_timeout(300)
    best = np.dstack(np.unravel_index(np.argsort(-pair, axis=None), pair.shape))[0].tolist()
    notebook.execute(f"view.layer, view.head = {best[0]}")
    attribute(view, "data-head", str(best[0][1]))
    assert order(view, 12) == best
    assert notebook.evaluate("[view.sort, view.colour_by]") == ["pair", "pair"]


def test_measures_sort_and_filter_as_patterns_does_and_heads_alike_come_first(opened):
    notebook = opened("cap = watch(llama(n_layers=3), ids(1, 40))\nview = cap.show()\nview")
    view = notebook.ready()
    rows = notebook.evaluate("[[row.layer, row.head] for row in cap.patterns().sorted('entropy')]")
    notebook.execute(f"view.sort = 'entropy'; view.layer, view.head = {rows[0]}")
    attribute(view, "data-layer", str(rows[0][0]))
    view.page.wait_for_timeout(1500)
    assert order(view, 24) == rows
    label = notebook.evaluate("cap.patterns().labels[view.layer * 8 + view.head]")
    assert panel(view, "grid").locator(".note").inner_text() == f"{rows[0][0]}.{rows[0][1]} {label}"
    assert f"kv head {rows[0][1] // 4}" in view.locator(".readout").inner_text()
    notebook.execute("view.filter = 'first', float(cap.patterns()['first'].mean())")
    n = notebook.evaluate("int((cap.patterns()['first'].astype('float32') >= view.filter[1]).sum())")
    said(view, f"{n} of 24 heads")
    notebook.execute("view.filter = None; view.layer, view.head = 1, 3")
    attribute(view, "data-layer", "1")
    panel(view, "grid").get_by_role("listbox").press("s")
    said(view, "heads like 1.3 first, Esc ends")
    alike = notebook.evaluate("[[1, 3]] + [[row.layer, row.head] for row in cap.patterns().similar(1, 3)]")
    assert order(view, 24) == alike
    panel(view, "grid").get_by_role("listbox").press("Escape")
    assert notebook.evaluate("[view.like, view.sort]") == [None, "entropy"]


def test_every_stack_and_example_is_shown_with_its_own_tokens(opened):
    notebook = opened(STACKS, "view = translated.show()\nview", "images = matched.show()\nimages")
    view, images = notebook.ready(0), notebook.ready(1)
    for name, layers, heads, queries, keys in (("cross", 2, 4, 5, 9), ("decoder", 2, 4, 5, 5), ("encoder", 4, 2, 9, 9)):
        view.locator("header").get_by_label("stack").select_option(name)
        attribute(view, "data-stack", name)
        attribute(view, "data-whole", f"0,{queries},0,{keys}")
        view.locator("header select").and_(view.get_by_label("text")).select_option("1")
        attribute(view, "data-batch", "1")
        attribute(view, "data-ready", "true")
        notebook.execute(f"view.layer, view.head, view.query, view.key = {layers - 1}, {heads - 1}, {queries - 1}, 1")
        weight = notebook.evaluate("float(translated.pair(query=view.query, key=1, batch=1, stack=view.stack)[-1, -1])")
        view.locator(".readout strong").get_by_text(f"{weight:#.3g}").wait_for()
        notebook.execute("view.batch = 0")
    names = notebook.evaluate("list(matched.stacks)")
    images.scroll_into_view_if_needed()
    for name in names:
        images.locator("header").get_by_label("stack").select_option(name)
        n = notebook.evaluate(f"len(matched.stacks[{name!r}].query_tokens[0])")
        attribute(images, "data-whole", f"0,{n},0,{n}")
        attribute(images, "data-ready", "true")
        notebook.execute("images.sort = 'entropy'")
        shape = notebook.evaluate(f"matched.patterns(stack={name!r})['entropy'].shape")
        panel(images, "grid").locator(".note").get_by_text("head, ").wait_for()
        best = notebook.evaluate(f"[[r.layer, r.head] for r in matched.patterns(stack={name!r}).sorted('entropy')]")
        notebook.execute(f"images.layer, images.head = {best[0]}")
        attribute(images, "data-layer", str(best[0][0]))
        images.page.wait_for_timeout(300)
        assert order(images, shape[0] * shape[1]) == best
    assert len(names) == 2
