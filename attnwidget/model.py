"""A model to ask: text in, attention out."""

from __future__ import annotations

import inspect
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from attnwidget.generate import check_generates, generate
from attnwidget.inputs import prepare
from attnwidget.inputs.idlimits import check_ids
from attnwidget.inputs.placement import input_device, placement_text
from attnwidget.inputs.prepare import as_names, decoder_axis
from attnwidget.intercept.differentiating import check_target, differentiate
from attnwidget.intercept.forecast import refuse_too_much
from attnwidget.intercept.naming import Axis, Naming
from attnwidget.intercept.session import fill, watching
from attnwidget.intercept.store import check_where
from attnwidget.intercept.terms import Terms
from attnwidget.intercept.written import as_written
from attnwidget.interventions import Interventions
from attnwidget.live import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attnwidget.attention import AttentionCapture
    from attnwidget.attention.tokens import TokenNames
    from attnwidget.inputs import Prepared
    from attnwidget.intercept.differentiating import Target
    from attnwidget.intercept.picks import Given
    from attnwidget.intercept.store import Where
    from attnwidget.intercept.terms import Dtype
    from attnwidget.widget import AttentionWidget
    from attnwidget.widget.live import Text

_TOKENIZER_FILES = ("*token*", "vocab*", "*.model", "*.tiktoken", "tekken*")
_SHARED = ("revision", "token", "cache_dir", "local_files_only", "trust_remote_code")


class AttentionModel(Interventions):
    """A model, with its tokenizer where it has one. The model stays as it is: mode, device, attention implementation.

    Args:
        model: any PyTorch module.
        tokenizer: a transformers tokenizer; without one, pass ids or tensors.
        name: what to call the model; read from its config if None.
        store: where captures keep queries and keys: "device" (where they were computed), "cpu" (in memory), "disk" (in
            memory-mapped temporary files) or a folder (in such files there).

    Examples:
        >>> model = AttentionModel.from_pretrained("bert-base-uncased")  # doctest: +SKIP
        >>> cap = model.capture("The cat sat on the mat")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,  # noqa: ANN401
        *,
        name: str | None = None,
        store: Where = "device",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"model is {type(model).__name__} {model!r:.60}; expected a torch.nn.Module, "
                "or a name or folder for AttentionModel.from_pretrained"
            )
        if tokenizer is not None and not callable(tokenizer):
            raise TypeError(f"tokenizer is {type(tokenizer).__name__}; expected a transformers tokenizer or None")
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or _name(model)
        check_where(store)
        self.store = store

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        tokenizer: Any = None,  # noqa: ANN401
        auto_class: Any = None,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> AttentionModel:
        """Load a model and its tokenizer with transformers, in eval mode.

        Args:
            name_or_path: a name on the model hub, or a local folder.
            tokenizer: used instead of the model's own.
            auto_class: a transformers class to load with; `AutoModel` if None.
            **kwargs: passed on to `from_pretrained` (dtype, device_map, attn_implementation ...).

        Returns:
            The wrapped model.

        Raises:
            OSError: nothing could be loaded; the text says what was tried.
        """
        from transformers import AutoModel, AutoTokenizer

        source = os.fspath(name_or_path)
        folder = Path(source)
        if (isinstance(name_or_path, os.PathLike) or folder.is_absolute() or source[:1] == ".") and not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {source!r}; expected a folder with config.json and weights, or a hub name"
            )
        loader = AutoModel if auto_class is None else auto_class
        try:
            model = loader.from_pretrained(source, **kwargs)
        except (OSError, ValueError) as error:
            where = (
                "a local folder" if folder.is_dir() else "a local folder (there is none) and as a name on the model hub"
            )
            raise OSError(
                f"could not load {source!r} with {loader.__name__}, tried as {where}: {error} "
                "Offline, pass the path of a folder saved with save_pretrained"
            ) from error
        if tokenizer is None:
            tokenizer = _load_tokenizer(AutoTokenizer, source, model, kwargs)
        return cls(model.eval(), tokenizer)

    def capture(
        self,
        inputs: Any,  # noqa: ANN401 - see below
        *args: Any,  # noqa: ANN401
        tokens: TokenNames | Sequence[TokenNames] | None = None,
        key_tokens: TokenNames | Sequence[TokenNames] | None = None,
        store: Where | None = None,
        dropout: bool = False,
        dtype: Dtype = None,
        layers: Given | None = None,
        heads: Given | None = None,
        limit: int | None = None,
        progress: bool = True,
        values: bool = False,
        target: Target | None = None,
        **forward_kwargs: Any,  # noqa: ANN401
    ) -> AttentionCapture:
        """Run the model once, without gradients, and keep its attention. Padding is cut off each example.

        The model runs in the mode and precision it is in. In training mode weights are those before dropout.

        Args:
            inputs: a str, a pair (str, str), a list of either, token ids (list, list of lists, int tensor or array), a
                dict of tensors, or any tensor, which is passed on as the first argument.
            *args: passed on to the model.
            tokens: names of the tokens, instead of the tokenizer's; numbered where there is neither.
            key_tokens: names of the keys where they are others (cross attention).
            store: where to keep queries and keys, as for the model; where the model says if None.
            dropout: the weights after dropout, where the model is in training mode; all of them are kept, see
                `aw.capture`.
            dtype: keep queries and keys as torch.bfloat16 or torch.float16, see `aw.capture`.
            layers: which layers to keep, counted within each stack, see `aw.capture`.
            heads: which heads to keep, counted within each layer.
            limit: the most bytes to hold; what is estimated to be more is refused before the model runs.
            progress: show a bar if it takes more than two seconds.
            values: keep values too, for `cap.measure("value-weighted")`: as many numbers as keys, and a copy of each
                layer's output projection.
            target: a function from what the model returns to a tensor of one number, such as `lambda output:
                output.logits[0, -1, token]`. The run then records gradients, and one backward pass tells how the target
                depends on each head, for `cap.measure("gradient")`; values are kept too. The model's parameters, their
                `.grad` and `requires_grad`, and its mode stay as they are.
            **forward_kwargs: passed on to the model.

        Returns:
            The capture.

        Raises:
            TypeError: the inputs are none of these, or the target is no function that returns a tensor.
            ValueError: an empty text, one that is too long for the model, or ids it does not have; or a model whose
                parameters hold no values; or a target that is not one number, or does not depend on the run.
            CaptureError: no attention was seen, or some that cannot be shown, or it would be more than `limit`.

        Warns:
            AttentionWarning: the model overflowed, and some weights are not numbers.
        """
        if target is not None:
            check_target(target)
        prepared = self._arguments(inputs, forward_kwargs, tokens, key_tokens)
        terms = Terms.of(
            store=self.store if store is None else store,
            dropout=dropout,
            dtype=dtype,
            layers=layers,
            heads=heads,
            limit=limit,
            progress=progress,
            values=values,
            gradients=target is not None,
        )
        refuse_too_much(self.model, prepared.kwargs, terms)
        derives = target is not None
        # Inference mode, which a person may be in, would leave no graph.
        outside = torch.inference_mode(False) if derives else nullcontext()
        with outside, torch.set_grad_enabled(derives), watching(self.model, terms, model=self.name) as run:
            result, recorder = run
            output = self.model(*prepared.args, *args, **prepared.kwargs)
            if target is not None:
                differentiate(recorder, target, output)
        fill(result, recorder, prepared.naming)
        return result

    def generate(
        self,
        inputs: Any,  # noqa: ANN401 - see below
        *,
        store: Where | None = None,
        dtype: Dtype = None,
        layers: Given | None = None,
        heads: Given | None = None,
        limit: int | None = None,
        progress: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> AttentionCapture:
        """Let the model go on from a prompt, and keep the attention of all of it as one causal map.

        Prefill and steps are joined, equal to one forward pass over the final sequence, whatever the cache. Of beams,
        those that became the returned sequences are shown. A token is run to find the one after it: the last one was
        not run, and has no row and no column. `cap.generation` holds every id, and tells what was given.

        Args:
            inputs: the prompt, in every form that `capture` takes; several prompts are padded on the left.
            store: where to keep queries and keys, as for the model; where the model says if None.
            dtype: keep queries and keys as torch.bfloat16 or torch.float16, see `aw.capture`.
            layers: which layers to keep, counted within each stack, see `aw.capture`.
            heads: which heads to keep, counted within each layer.
            limit: the most bytes to hold; what is estimated to be more, with `max_new_tokens`, is refused before the
                model runs.
            progress: show a bar of tokens if it takes more than two seconds.
            **options: passed on to transformers' `generate` (max_new_tokens, do_sample, num_beams ...).

        Returns:
            The capture; one example per returned sequence.

        Raises:
            TypeError, ValueError: as for `capture`, or what transformers refuses.
            CaptureError: the model cannot generate, or runs something else in between (a negative prompt), or what it
                leaves would be more than `limit`.
        """
        check_generates(self.model, self.name)
        terms = Terms.of(
            store=self.store if store is None else store,
            dtype=dtype,
            layers=layers,
            heads=heads,
            limit=limit,
            progress=progress,
        )
        two_sided = self._is_two_sided()
        prepared = prepare(
            inputs, self.tokenizer, device=input_device(self.model), parameters=self._parameters(), left=not two_sided
        )
        kwargs = self._accepted(prepared.kwargs)
        if "token_type_ids" not in self._parameters():  # which generate() refuses where forward would not mind
            kwargs.pop("token_type_ids", None)
        check_ids(self.model, self.name, kwargs, more=0 if two_sided else options.get("max_new_tokens") or 0)
        refuse_too_much(self.model, kwargs, terms, more=options.get("max_new_tokens") or 0)
        return generate(self, replace(prepared, kwargs=kwargs), options, terms)

    def show(
        self,
        text: Text,
        *,
        values: bool = False,
        target: Target | None = None,
        **traits: Any,  # noqa: ANN401 - traits check their own types
    ) -> AttentionWidget:
        """Run the model on a text and show it in a view with a text box: editing it runs the model again.

        A run that was begun in the page has a thread of its own, and can be cancelled there: it stops within a layer,
        the model is as it was, and the picture stays. The selection moves along with its tokens. A capture that was
        replaced is let go of; `view.capture` is the one shown.

        Args:
            text: a text, or a pair of texts.
            values: as for `capture`, of every text: for `measure="value-weighted"`.
            target: as for `capture`, of every text: for `measure="gradient"`.
            **traits: of `AttentionWidget`, to start with (layer=3, head=5).

        Returns:
            The view; setting its `text` runs the model too.

        Raises:
            TypeError: text is neither, the model has no tokenizer, or there is no such trait.
            ValueError, CaptureError: as for `capture`.
        """
        return show(self, text, values=values, target=target, **traits)

    def __repr__(self) -> str:
        kind, tokenizer = (
            type(self.model).__name__,
            type(self.tokenizer).__name__ if self.tokenizer is not None else "none",
        )
        implementation = getattr(getattr(self.model, "config", None), "_attn_implementation", None)
        attention = f", attention {implementation}" if implementation else ""
        return (
            f"AttentionModel({self.name!r}, {kind} on {placement_text(self.model)}{attention}, tokenizer {tokenizer})"
        )

    def _arguments(
        self,
        inputs: Any,  # noqa: ANN401 - see `capture`
        forward_kwargs: Mapping[str, Any],
        tokens: TokenNames | Sequence[TokenNames] | None = None,
        key_tokens: TokenNames | Sequence[TokenNames] | None = None,
    ) -> Prepared:
        """What to call the model with, on its device, and what its tokens are called."""
        device = input_device(self.model)
        prepared = prepare(inputs, self.tokenizer, device=device, parameters=self._parameters())
        kwargs = {**prepared.kwargs, **forward_kwargs}
        kwargs = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in kwargs.items()}
        kwargs = self._accepted(kwargs)
        check_ids(self.model, self.name, kwargs)
        naming = prepared.naming
        if tokens is not None:
            naming = Naming(as_names(tokens, naming.queries))
        if self._is_two_sided():
            naming = Naming(decoder_axis(kwargs, self.tokenizer), naming.queries, _roles(naming.queries))
        if key_tokens is not None:
            naming = Naming(naming.queries, as_names(key_tokens, naming.keys), naming.roles)
        return replace(prepared, kwargs=kwargs, naming=naming)

    def _is_two_sided(self) -> bool:
        """Whether an encoder and a decoder run; either alone has the config of both."""
        has_both = getattr(getattr(self.model, "config", None), "is_encoder_decoder", False)
        return bool(has_both) and any(name.startswith("decoder_input") for name in self._parameters())

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.model.forward).parameters

    def _accepted(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Without what only the tokenizer knows: some models take no token types, some no mask."""
        parameters = self._parameters()
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            return kwargs
        spare = {"token_type_ids"}
        mask = kwargs.get("attention_mask")
        if isinstance(mask, torch.Tensor) and bool(mask.all()):
            spare.add("attention_mask")
        return {key: value for key, value in kwargs.items() if key in parameters or key not in spare}


def _roles(axis: Axis | None) -> dict[str, Axis | None]:
    return {} if axis is None else {"encoder": axis}


def _name(model: nn.Module) -> str:
    known = Path(str(getattr(getattr(model, "config", None), "_name_or_path", "") or ""))
    # A folder called model says nothing; the one it is in does.
    return (known.parent if known.name == "model" else known).name or type(as_written(model)).__name__


def _load_tokenizer(loader: Any, source: str, model: nn.Module, kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    picture_or_sound = getattr(model, "main_input_name", "input_ids") != "input_ids"
    try:
        # From a folder without one, some classes make a tokenizer that knows no words at all.
        if Path(source).is_dir() and not any(next(Path(source).glob(files), None) for files in _TOKENIZER_FILES):
            raise OSError("the folder holds no tokenizer files")
        return loader.from_pretrained(source, **{name: kwargs[name] for name in _SHARED if name in kwargs})
    except (OSError, ValueError, KeyError) as error:
        if picture_or_sound:
            return None
        raise OSError(
            f"loaded the model {source!r} and found no tokenizer beside it ({error}); pass one: "
            "AttentionModel.from_pretrained(..., tokenizer=AutoTokenizer.from_pretrained(...))"
        ) from error
