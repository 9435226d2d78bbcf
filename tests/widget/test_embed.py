import numpy as np
import torch
from captures import make_capture
from embedded import unpacked

from attnwidget.attention import AttentionCapture, AttentionStack, FactoredAttention, Mask
from attnwidget.widget import embed
from attnwidget.widget.codes import decode
from attnwidget.widget.embed import pack


def unpack(data):
    header, body = unpacked(data)
    tiles = {}
    for tile in header["tiles"]:
        dtype = {"u8": "u1", "u16": "<u2"}[tile["dtype"]]
        codes = np.frombuffer(body, dtype, tile["height"] * tile["width"], tile["offset"])
        tiles[tile["layer"], tile["head"], tile["dtype"]] = decode(codes.reshape(tile["height"], tile["width"]))
    return header, tiles


def test_a_small_capture_travels_whole():
    capture = make_capture(layers=2, heads=3, queries=9)
    header, tiles = unpack(pack(capture, stack="self", batch=0, layer=1, head=2))
    assert header["version"] == 2
    assert len(tiles) == 2 * 3 * 2
    for (layer, head, dtype), weights in tiles.items():
        np.testing.assert_allclose(weights, capture.weights(layer, head), rtol={"u8": 0.045, "u16": 2e-4}[dtype])


def test_the_locked_head_comes_first_then_thumbnails_then_the_nearest_heads():
    header, _ = unpack(pack(make_capture(layers=3, heads=3, queries=5), stack="self", batch=0, layer=2, head=0))
    order = [(tile["layer"], tile["head"], tile["dtype"]) for tile in header["tiles"]]
    assert order[0] == (2, 0, "u16")
    assert all(dtype == "u8" for *_, dtype in order[1:10])
    assert set(order[10:12]) == {(1, 0, "u16"), (2, 1, "u16")}


def test_the_budget_is_kept_and_thumbnails_are_pooled():
    capture = make_capture(layers=2, heads=4, queries=100)
    budget = 60_000
    data = pack(capture, stack="self", batch=0, layer=0, head=0, budget=budget)
    header, tiles = unpack(data)
    assert len(data) <= budget
    assert len(header["tiles"]) < 2 * 4 * 2
    assert tiles[1, 3, "u8"].shape == (48, 48)
    edges = np.floor(np.arange(49) * 100 / 48).astype(int)
    pooled = np.maximum.reduceat(np.maximum.reduceat(capture.weights(1, 3), edges[:-1], 0), edges[:-1], 1)
    np.testing.assert_allclose(tiles[1, 3, "u8"], pooled, rtol=0.045)


def test_a_rectangle_keeps_its_shape():
    capture = make_capture(layers=1, heads=1, queries=4, keys=6)
    _, tiles = unpack(pack(capture, stack="self", batch=0, layer=0, head=0))
    assert tiles[0, 0, "u16"].shape == (4, 6)


def long_capture(tokens, heads=4):
    torch.manual_seed(0)
    layers = [
        FactoredAttention(*torch.randn(2, 1, heads, tokens, 4), mask=Mask.causal(tokens, tokens)) for _ in range(2)
    ]
    return AttentionCapture([AttentionStack("self", layers)])


def test_long_heads_are_sampled_and_say_so(monkeypatch):
    monkeypatch.setattr(embed, "EXACT_CELLS", 600**2 - 1)
    monkeypatch.setattr(embed, "MAX_PAIRS", 2**22)
    monkeypatch.setattr(embed, "TILE", 64)
    capture = long_capture(600)
    header, tiles = unpack(pack(capture, stack="self", batch=0, layer=0, head=1))
    first, *others = header["tiles"]
    assert (first["layer"], first["head"], first["rows"], first["height"]) == (0, 1, 2, 64)
    np.testing.assert_allclose(tiles[0, 1, "u16"], capture.tile(0, 1, height=64, width=64, rows=2).values, rtol=2e-4)
    share = 2**21 // 8 // (48 * 600)  # rows under each cell that half of the work allows
    assert [(tile["dtype"], tile["rows"]) for tile in others] == [("u8", share)] * 8
    np.testing.assert_allclose(
        tiles[1, 3, "u8"], capture.tile(1, 3, height=48, width=48, rows=share).values, rtol=0.045
    )


def test_packing_long_heads_takes_bounded_work(monkeypatch):
    monkeypatch.setattr(embed, "EXACT_CELLS", 1000)
    monkeypatch.setattr(embed, "MAX_PAIRS", 10 * 48 * 600)
    monkeypatch.setattr(embed, "TILE", 64)
    header, _ = unpack(pack(long_capture(600), stack="self", batch=0, layer=0, head=0))
    looked = sum(tile["height"] * tile["rows"] * 600 for tile in header["tiles"])
    assert looked <= 10 * 48 * 600
    assert [tile["rows"] for tile in header["tiles"]] == [2, *[1] * 7]


def test_heads_that_fit_are_exact():
    header, _ = unpack(pack(long_capture(60), stack="self", batch=0, layer=0, head=0))
    assert len(header["tiles"]) == 16
    assert {tile["rows"] for tile in header["tiles"]} == {None}


def test_a_view_of_lift_travels_as_lift():
    capture = make_capture(layers=1, heads=2, queries=6, causal=True)
    header, tiles = unpack(capture.show(measure="lift").embed)
    assert {tile["measure"] for tile in header["tiles"]} == {"lift"}
    np.testing.assert_allclose(np.nan_to_num(tiles[0, 1, "u16"]) * 6, capture.lift(0, 1), rtol=2e-4)
    assert all("measure" not in tile for tile in unpack(capture.show().embed)[0]["tiles"])
