"""Models that attend over whole sequences are shown as they are, also where their data is followed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.attention import FramedAttention
from attnwidget.intercept import session
from attnwidget.intercept.windows.local import may_cut

TEXT = {"vocab_size": 50}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
MODELS = {
    "gpt2": lambda: transformers.GPT2Model(transformers.GPT2Config(**TEXT, n_embd=32, n_layer=2, n_head=4)),
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**TEXT, **SMALL)),
    "llama": lambda: transformers.LlamaModel(transformers.LlamaConfig(**TEXT, **SMALL, num_key_value_heads=2)),
    "mistral": lambda: transformers.MistralModel(
        transformers.MistralConfig(**TEXT, **SMALL, num_key_value_heads=2, sliding_window=3)
    ),
    "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SMALL, image_size=16, patch_size=4)),
    "t5": lambda: transformers.T5Model(
        transformers.T5Config(**TEXT, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
    ),
}


def inputs_for(name, batch):
    if name == "vit":
        return {"pixel_values": torch.randn(batch, 3, 16, 16)}
    ids = torch.randint(50, (batch, 12))
    if name == "t5":
        return {"input_ids": ids, "decoder_input_ids": ids[:, :6]}
    if name == "bert":
        mask = torch.ones(batch, 12, dtype=torch.long)
        mask[0, 9:] = 0
        return {"input_ids": ids, "attention_mask": mask}
    return {"input_ids": ids}


@pytest.mark.parametrize("name", list(MODELS))
def test_they_are_not_followed(name):
    assert not may_cut(MODELS[name]().modules())


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", list(MODELS))
def test_following_them_changes_nothing(name, batch, monkeypatch):
    torch.manual_seed(0)
    model, inputs = MODELS[name]().eval(), inputs_for(name, batch)
    shown = []
    for follows in (False, True):
        monkeypatch.setattr(session, "may_cut", lambda _, follows=follows: follows)
        with torch.no_grad(), aw.capture(model) as cap:
            model(**inputs)
        shown.append(cap)
    plain, followed = shown
    assert repr(plain) == repr(followed)
    assert plain.notes == followed.notes
    for stack in plain.stacks.values():
        for one, other in zip(stack.layers, followed.stacks[stack.name].layers, strict=True):
            assert not isinstance(other, FramedAttention)
            everything = slice(0, one.n_heads), slice(0, one.n_queries), slice(0, one.n_keys)
            np.testing.assert_array_equal(one.weights(batch - 1, *everything), other.weights(batch - 1, *everything))


HEADS, SIZE = 2, 8
WIDTH = HEADS * SIZE


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x):
        q, k, v = self.mix(x).view(*x.shape[:2], 3, HEADS, SIZE).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)


class Net(nn.Module):
    """A stem that makes a sequence, a way to cut it, and attention."""

    def __init__(self, layers=2):
        super().__init__()
        self.stem = nn.Linear(4, WIDTH)
        self.layers = nn.ModuleList(Attention() for _ in range(layers))

    def num_windows(self):
        """Named so that its data is followed."""

    def forward(self, x):
        return self.attend(self.stem(x))

    def attend(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


class CutForGood(Net):
    """Channels of a time series become examples and stay so."""

    def attend(self, x):
        return super().attend(x.view(-1, x.shape[-2], WIDTH))


class FlatCutForGood(Net):
    """The same, where nothing but the layers that follow tells."""

    def attend(self, x):
        return super().attend(x.flatten(1, 2).view(-1, 5, WIDTH))


class Twice(Net):
    """Guidance runs each example with and without a condition."""

    def attend(self, x):
        return super().attend(torch.cat([x, x]))


class Repeated(Net):
    """Beams."""

    def attend(self, x):
        return super().attend(x.repeat_interleave(3, dim=0))


class Images(Net):
    """Several images for each example: cut before anything was computed from them."""

    def forward(self, x):
        return self.attend(self.stem(x.view(-1, x.shape[-2], 4)))


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        (Net, (6, 5, 4), (6, 5)),
        (CutForGood, (2, 3, 5, 4), (6, 5)),
        (FlatCutForGood, (2, 3, 5, 4), (6, 5)),
        (Twice, (3, 5, 4), (6, 5)),
        (Repeated, (2, 5, 4), (6, 5)),
        (Images, (2, 3, 5, 4), (6, 5)),
    ],
)
def test_examples_that_are_no_windows(kind, shape, expected):
    torch.manual_seed(0)
    net = kind()
    assert may_cut(net.modules())
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(shape))
    stack = cap.stacks["self"]
    assert (stack.n_examples, len(stack.query_tokens[0])) == expected
    assert stack.n_layers == 2
    assert [note.startswith("stack 'self' has 6 examples") for note in cap.notes] == [True] * (shape[0] != expected[0])


class Bands(Net):
    """Windows of four tokens in each layer, every second one shifted, padded where they do not fit."""

    def attend(self, x):
        for number, layer in enumerate(self.layers):
            x = x + self.cut(layer, x, number % 2 * 2)
        return x

    def cut(self, layer, x, shift):
        batch, length, _ = x.shape
        x = functional.pad(x, (0, 0, 0, -length % 4)).roll(-shift, 1)
        windows = layer(x.reshape(-1, 4, WIDTH)).reshape(batch, -1, WIDTH)
        return windows.roll(shift, 1)[:, :length]


@pytest.mark.parametrize("batch", [1, 3])
def test_windows_written_by_hand(batch):
    torch.manual_seed(0)
    net = Bands()
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(batch, 10, 4))
    stack = cap.stacks["self"]
    assert (stack.n_examples, len(stack.query_tokens[0])) == (batch, 10)
    held = np.zeros((2, 10, 10), bool)
    for layer in range(2):
        for window in np.roll(np.pad(np.arange(10), (0, 2), constant_values=-1), -2 * layer).reshape(3, 4):
            inside = window[window >= 0]
            held[layer][np.ix_(inside, inside)] = True
        assert (cap.allowed(layer, batch=batch - 1) == held[layer]).all()


class Glued(Bands):
    """Windows whose keys are joined by others, from elsewhere."""

    def cut(self, layer, x, shift):
        batch, length, _ = x.shape
        windows = functional.pad(x, (0, 0, 0, -length % 4)).reshape(-1, 4, WIDTH)
        q = layer.mix(windows)[..., :WIDTH].view(-1, 4, HEADS, SIZE).transpose(1, 2)
        keys = torch.cat([windows, windows.new_ones(len(windows), 1, WIDTH).cos()], 1)
        k, v = layer.mix(keys)[..., WIDTH:].view(-1, 5, 2, HEADS, SIZE).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return out.reshape(batch, -1, WIDTH)[:, :length]


def test_windows_that_cannot_be_placed_are_said():
    torch.manual_seed(0)
    net = Glued()
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(2, 10, 4))
    assert cap.stacks["self"].n_examples == 6
    note, twice = cap.notes
    assert twice.startswith("the module attends 2 times in one run")
    assert note == (
        "6 windows of 4 x 5 tokens were cut from a sequence of 10, and are shown one by one: what they look at does "
        "not all come from that sequence"
    )


class Looped(Net):
    """Queries are taken in portions, to save memory."""

    def attend(self, x):
        for layer in self.layers:
            q, k, v = layer.mix(x).view(*x.shape[:2], 3, HEADS, SIZE).permute(2, 0, 3, 1, 4)
            parts = [self.look(layer, part, k, v) for part in q.split(4, dim=2)]
            x = x + torch.cat(parts, 2).transpose(1, 2).reshape(x.shape)
        return x

    def look(self, layer, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v)


def test_portions_of_the_queries_are_one_layer():
    torch.manual_seed(0)
    net = Looped()
    x = torch.randn(2, 10, 4)
    with torch.no_grad():
        plain = net(x)
        with aw.capture(net) as cap:
            assert torch.equal(net(x), plain)
    stack = cap.stacks["self"]
    assert (stack.n_layers, stack.n_examples, len(stack.query_tokens[0])) == (2, 2, 10)
    q, k, _ = net.layers[0].mix(net.stem(x)).view(2, 10, 3, HEADS, SIZE).permute(2, 0, 3, 1, 4)
    wanted = torch.softmax(q @ k.mT * SIZE**-0.5, -1).detach().numpy()
    for example in range(2):
        np.testing.assert_allclose(cap.weights(0, batch=example), wanted[example], atol=1e-6)
    assert cap.verify().ok
    (note,) = cap.notes
    assert note.startswith("the module attends 2 times in one run")  # it does so for its layers


class Frames(Net):
    """Frames of videos are looked at one by one, and then those of an example together, as Allegro does."""

    def forward(self, x):
        num_frames = x.shape[1]
        frames = self.stem(x.flatten(0, 1))
        return self.attend(frames.view(len(x), num_frames * x.shape[2], WIDTH))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_frames_that_are_put_together_leave_examples_what_they_are(batch):
    torch.manual_seed(0)
    net = Frames(layers=1)
    assert may_cut(net.modules())
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(batch, 3, 5, 4))
    assert cap.stacks["self"].size_text() == ("15 tokens" if batch == 1 else f"{batch} examples of 15 tokens")
    assert not cap.notes


class Rows(Net):
    """Projections of rows, all examples in one: as GPT-2's `Conv1D`."""

    def attend(self, x):
        for layer in self.layers:
            q, k, v = layer.mix(x.flatten(0, 1)).view(*x.shape[:2], 3, HEADS, SIZE).permute(2, 0, 3, 1, 4)
            x = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x

    def forward(self, x):
        return self.attend(x.repeat(1, 1, WIDTH // 4))


class Joint(Net):
    """Space and time together, as in TimeSformer: of the tokens that stand for a frame, one of each video goes on."""

    def __init__(self, layers=2):
        super().__init__(layers)
        self.first = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x):
        num_frames = x.shape[1]
        frames = self.stem(x.flatten(0, 1))
        frames = torch.cat([self.first.expand(len(frames), 1, -1), frames], 1)
        first, rest = frames[: len(x), :1], frames[:, 1:]
        rest = rest.reshape(len(x), num_frames, -1, WIDTH).transpose(1, 2).flatten(1, 2)
        return self.attend(torch.cat([first, rest], 1))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(("kind", "shape", "tokens"), [(Rows, (7, 4), 7), (Joint, (3, 4, 4), 13)])
def test_as_many_as_the_examples_that_were_given_are_no_windows(kind, shape, tokens, batch):
    torch.manual_seed(0)
    net = kind(layers=1)
    assert may_cut(net.modules())
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(batch, *shape))
    stack = cap.stacks["self"]
    assert (stack.n_examples, len(stack.query_tokens[0])) == (batch, tokens)
    assert not cap.notes


class State(Net):
    """Queries of a learned state, repeated for each example, over its own keys, which are not."""

    def attend(self, x):
        (layer,) = self.layers
        state = layer.mix(torch.cos(self.stem.weight.T))  # (4, 3 * WIDTH)
        q = state[:, :WIDTH].view(4, HEADS, SIZE).transpose(0, 1).expand(len(x), -1, -1, -1)
        k, v = state[:, WIDTH : WIDTH + SIZE], state[:, -SIZE:]
        self.seen = torch.einsum("bhid,jd->bhij", q, k).softmax(-1)
        return torch.einsum("bhij,jd->bhid", self.seen, v)


def test_keys_without_examples():
    torch.manual_seed(0)
    net = State(layers=1)
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(2, 5, 4))
    for example in range(2):
        np.testing.assert_allclose(cap.weights(0, batch=example), net.seen[example], atol=1e-6)


class Residual(nn.Module):
    """Windows cut from an image to which what went into a convolution was added, as those of SwinUNETR are."""

    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm, self.attn = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), norm, Attention()

    def forward(self, x, window_size=2):
        x = functional.leaky_relu(self.norm(self.conv(x)) + x).permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape
        x = x.view(batch, height // window_size, window_size, width // window_size, window_size, channels)
        return self.attn(x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window_size**2, channels))


@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(4, WIDTH), nn.InstanceNorm2d(WIDTH)])
def test_a_row_of_an_image_is_not_taken_for_channels(norm):
    torch.manual_seed(0)
    net = Residual(norm).eval()
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(2, WIDTH, 4, 4))
    assert cap.stacks["self"].size_text() == "2 examples of 16 tokens"
    row, column = np.divmod(np.arange(16), 4)
    window = row // 2 * 2 + column // 2
    np.testing.assert_array_equal(cap.allowed(0, batch=1)[0], window[:, None] == window)
    assert not cap.notes
