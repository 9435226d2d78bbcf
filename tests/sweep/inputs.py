"""Makes inputs for any model: what its forward signature, its config and its errors ask for."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from sweep.fields import of
from sweep.shrink import FIRST_SPECIAL, VOCABULARY
from sweep.styles import BATCH, Style, parameters

TEXT, PADDING, SHORT = 12, 3, 7
"""Tokens of text, how many of them are padding in the last example, and tokens of a decoder."""


def make_inputs(model: Any, style: Style) -> dict[str, Any]:
    """Inputs in one style."""
    torch.manual_seed(1)
    names = parameters(model)
    maker = Maker(model.config, style, set(names))
    made = {}
    for name, parameter in names.items():
        needed = parameter.default is inspect.Parameter.empty
        maybe = maker.make(name, needed=needed)
        if maybe is not None:
            made[name] = maybe
    return made


class Maker:
    """Tensors by the name of the argument they are for."""

    def __init__(self, config: Any, style: Style, names: set[str]) -> None:
        self.config = config
        self.style = style
        self.names = names
        self.has_image = "image" in style.modalities and bool({"pixel_values", "image", "grid_thw"} & names)
        self.has_audio = "audio" in style.modalities and bool({"input_features", "input_values"} & names)

    def make(self, name: str, *, needed: bool) -> Any:
        """A value for an argument, or None to leave it out."""
        rule = getattr(self, name, None)
        if rule is not None:
            return rule()
        if not needed:
            return None
        maker = _NEEDED.get(name)
        return None if maker is None else maker(self)

    # text

    def input_ids(self) -> torch.Tensor | None:
        """(B, T), tokens for images and the like in front."""
        if "text" not in self.style.modalities or of(self.config, "vocab_size") is None:
            return None
        limit = min(FIRST_SPECIAL, int(of(self.config, "vocab_size")))
        ids = torch.randint(5, limit, (BATCH, TEXT))
        for kind in ("image", "video", "audio"):
            count = self.style.counts.get(kind, 0)
            token = next(
                (
                    value
                    for key in (f"{kind}_token_id", f"{kind}_token_index", f"{kind}_patch_id", f"{kind}_placeholder_id")
                    if isinstance(value := of(self.config, key), int)
                ),
                None,
            )
            if count and token is not None:
                ids = torch.cat([ids[:, :2], torch.full((BATCH, count), token), ids[:, 2:]], dim=1)
        eos = of(self.config, "eos_token_id")
        if "CLIP" in type(self.config).__name__ and isinstance(eos, int):
            ids[:, -1 - PADDING] = eos
        return ids

    def attention_mask(self) -> torch.Tensor | None:
        """(B, T), the end of the last example is padding."""
        ids = self.input_ids()
        if ids is None or not self.style.padded:
            return None
        mask = torch.ones(ids.shape, dtype=torch.long)
        mask[-1, -PADDING:] = 0
        return mask

    def mm_token_type_ids(self) -> torch.Tensor | None:
        """(B, T), 1 for images, 2 for videos."""
        ids = self.input_ids()
        if ids is None:
            return None
        types = torch.zeros(ids.shape, dtype=torch.long)
        for number, kind in ((1, "image"), (2, "video"), (3, "audio")):
            token = of(self.config, f"{kind}_token_id")
            if isinstance(token, int):
                types[ids == token] = number
        return types

    def decoder_input_ids(self) -> torch.Tensor | None:
        """(B, shorter)."""
        size = of(self.config, "decoder_vocab_size") or of(self.config, "vocab_size")
        return None if size is None else torch.randint(5, min(FIRST_SPECIAL, int(size)), (BATCH, SHORT))

    def bbox(self) -> torch.Tensor | None:
        """(B, T, 4)."""
        ids = self.input_ids()
        return None if ids is None else torch.tensor([1, 2, 30, 40]).expand(*ids.shape, 4).contiguous()

    # images

    def _image_size(self) -> tuple[int, int]:
        size = of(self.config, "image_size", tower="image") or of(self.config, "img_size", tower="image") or 64
        if isinstance(size, dict):
            size = (size["height"], size["width"])
        return (size, size) if isinstance(size, int) else tuple(size[-2:])

    def _channels(self) -> int:
        for name in ("num_channels", "in_channels", "n_channels", "in_chans"):
            value = of(self.config, name, tower="image")
            if isinstance(value, int):
                return value
        return 3

    def _grid(self) -> torch.Tensor:
        return torch.tensor([[1, 4, 4]] * BATCH)

    def pixel_values(self) -> torch.Tensor | None:
        """Images in one of the ways models take them."""
        if not self.has_image:
            return None
        height, width = self._image_size()
        channels = self._channels()
        if self.style.image == "packed":
            patch = of(self.config, "patch_size", 14, tower="image")
            patch = patch if isinstance(patch, int) else patch[-1]
            frames = of(self.config, "temporal_patch_size", 1, tower="image")
            frames = frames if isinstance(frames, int) else frames[0]
            return torch.randn(int(self._grid().prod(-1).sum()), channels * frames * patch * patch)
        frames = of(self.config, "num_frames", 4)
        shape = {
            "one": (BATCH, channels, height, width),
            "list": (BATCH, 1, channels, height, width),
            "crops": (BATCH, 2, channels, height, width),
            "tiles": (BATCH, 1, 2, channels, height, width),
            "frames": (BATCH, frames, channels, height, width),
            "channels first": (BATCH, channels, frames, height, width),
        }[self.style.image]
        return torch.randn(shape)

    image = pixel_values

    def image_grid_thw(self) -> torch.Tensor | None:
        """(images, 3)."""
        return self._grid() if self.has_image and self.style.image == "packed" else None

    grid_thw = image_grid_thw

    def image_sizes(self) -> torch.Tensor | None:
        """(images, 2)."""
        return torch.tensor([self._image_size()] * BATCH) if self.has_image and self.style.sizes else None

    # audio

    def input_features(self) -> torch.Tensor | None:
        """(B, mels, frames) or the other way round."""
        if not self.has_audio:
            return None
        mels = next(
            (
                value
                for name in (
                    "num_mel_bins",
                    "n_mels",
                    "feature_projection_input_dim",
                    "input_feat_per_channel",
                    "n_mel_bins",
                    "input_dim",
                    "input_feat_size",
                    "input_size",
                )
                if isinstance(value := of(self.config, name, tower="audio"), int)
            ),
            80,
        )
        positions = of(self.config, "max_source_positions", tower="audio")
        frames = 2 * positions if isinstance(positions, int) and positions <= 64 else 64
        return torch.randn((BATCH, mels, frames) if self.style.audio == "mels first" else (BATCH, frames, mels))

    def input_features_mask(self) -> torch.Tensor | None:
        """(B, frames)."""
        features = self.input_features() if self.has_audio and "input_features" in self.names else None
        return (
            None
            if features is None
            else torch.ones(BATCH, max(features.shape[1:]) if 64 not in features.shape[1:] else 64, dtype=torch.long)
        )

    feature_attention_mask = input_features_mask

    def input_values(self) -> torch.Tensor | None:
        """(B, samples)."""
        if not self.has_audio:
            return None
        if self.names & {"padding_mask", "audio_codes"} or "n_codebooks" in vars(self.config):  # codecs have channels
            return torch.randn(BATCH, 1, 3200)
        return torch.randn(BATCH, 3200) if self.style.audio == "mels first" else torch.randn(BATCH, 1, 3200)

    # time series

    def past_values(self) -> torch.Tensor:
        """(B, T) or (B, T, channels)."""
        length = of(self.config, "context_length", 32)
        channels = of(self.config, "num_input_channels")
        lags = of(self.config, "lags_sequence")
        length = length + max(lags) if lags else length
        return torch.randn(BATCH, length, channels) if channels else torch.randn(BATCH, length)

    def past_time_features(self) -> torch.Tensor:
        """(B, T, features)."""
        return torch.randn(*self.past_values().shape[:2], of(self.config, "num_time_features", 1))

    def past_observed_mask(self) -> torch.Tensor:
        """(B, T)."""
        return torch.ones_like(self.past_values())

    def future_values(self) -> torch.Tensor:
        """(B, prediction)."""
        channels = of(self.config, "num_input_channels")
        length = of(self.config, "prediction_length", 8)
        return torch.randn(BATCH, length, channels) if channels else torch.randn(BATCH, length)

    def future_time_features(self) -> torch.Tensor:
        """(B, prediction, features)."""
        return torch.randn(BATCH, of(self.config, "prediction_length", 8), of(self.config, "num_time_features", 1))


def _hidden(maker: Maker) -> torch.Tensor | None:
    if "grid_thw" in maker.names:
        return maker.pixel_values()
    return torch.randn(BATCH, TEXT, of(maker.config, "hidden_size", 64))


_NEEDED = {
    "hidden_states": _hidden,
    "inputs_embeds": _hidden,
    "qformer_input_ids": lambda _: torch.randint(5, VOCABULARY, (BATCH, TEXT)),
    "query_embeds": lambda maker: torch.randn(BATCH, 8, of(maker.config, "hidden_size", 64)),
    "pixel_values_videos": lambda maker: torch.randn(
        BATCH, of(maker.config, "frames_per_clip", 4), 3, *maker._image_size()
    ),
}
