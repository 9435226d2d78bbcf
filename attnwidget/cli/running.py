"""From what the command line names to a capture: a saved one, or a model and a text."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnwidget.attention import AttentionCapture
    from attnwidget.model import AttentionModel

CAPTURE_ENDING = ".safetensors"
"""Of capture files."""


@dataclass(frozen=True)
class Run:
    """A model, and what it runs.

    Attributes:
        model: a name on the model hub, or a folder.
        text: what it reads, or a pair of texts.
        generate: so many tokens it goes on by; 0 for none.
        layers: which to keep; None for all.
        device: where it runs; None: on the CPU.
        dtype: what it is loaded as; None: as transformers does.
    """

    model: str
    text: str | tuple[str, str]
    generate: int = 0
    layers: list[int] | None = None
    device: str | None = None
    dtype: str | None = None

    def capture(self) -> AttentionCapture:
        """Load the model and run it.

        Raises:
            OSError, ValueError, RuntimeError, TypeError: as `AttentionModel.from_pretrained`, `capture` and `generate`.
        """
        model = self._loaded()
        if self.device is not None:
            try:
                model.model.to(self.device)
            except (RuntimeError, AssertionError) as error:  # torch asserts what it was compiled with
                raise ValueError(f"the model cannot be put on {self.device!r}: {error}") from error
        options: dict[str, Any] = {"layers": self.layers, "progress": sys.stderr.isatty()}
        if self.generate:
            return model.generate(self.text, max_new_tokens=self.generate, **options)
        return model.capture(self.text, **options)

    def _loaded(self) -> AttentionModel:
        import transformers

        from attnwidget.model import AttentionModel

        if not self.generate:  # whose head may be missing: then what it writes is noise, and transformers says so
            transformers.utils.logging.set_verbosity_error()
        if not sys.stderr.isatty():
            transformers.utils.logging.disable_progress_bar()
        kwargs: dict[str, Any] = {}
        if self.dtype is not None:
            renamed = int(transformers.__version__.partition(".")[0]) >= _RENAMED
            kwargs["dtype" if renamed else "torch_dtype"] = self.dtype
        if not self.generate:
            return AttentionModel.from_pretrained(self.model, **kwargs)
        auto_class = transformers.AutoModelForCausalLM
        try:
            two_sided = transformers.AutoConfig.from_pretrained(self.model).is_encoder_decoder
        except (OSError, ValueError):
            two_sided = False  # what is wrong with it is said when the model is loaded
        if two_sided:
            auto_class = transformers.AutoModelForSeq2SeqLM
        return AttentionModel.from_pretrained(self.model, auto_class=auto_class, **kwargs)


_RENAMED = 5
"""The version of transformers that calls `torch_dtype` just `dtype`."""


def is_capture_file(source: str) -> bool:
    """Whether this names a saved capture and not a model."""
    return Path(source).is_file() or source.endswith(CAPTURE_ENDING)


def read_text(path: Path) -> str:
    """A text from a file, or from stdin where the path is "-".

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8.
    """
    raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        return raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 (byte {error.start} of {len(raw)} is not)") from error


def layer_place(capture: AttentionCapture, layer: int) -> int:
    """Where a layer of the model is among those that were kept.

    Raises:
        ValueError: it was not kept.
    """
    numbers = [info.number for info in next(iter(capture.stacks.values())).infos]
    if None in numbers:
        return layer
    if layer not in numbers:
        raise ValueError(f"layer {layer} was not kept; --layers kept {', '.join(map(str, numbers))}")
    return numbers.index(layer)
