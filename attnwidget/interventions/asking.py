"""Asking a model what mattered: the same text again, with some of its attention changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnwidget.interventions.ablating import ablate, ablate_jointly
from attnwidget.interventions.attributing import logit_attribution
from attnwidget.interventions.knocking import knockout
from attnwidget.interventions.nexttokens import candidates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from attnwidget.analysis import Ablation, Candidates, Effect, LogitAttribution
    from attnwidget.attention.tokens import TokenNames
    from attnwidget.inputs import Prepared
    from attnwidget.intercept.picks import Given
    from attnwidget.interventions.ablating import Mode
    from attnwidget.outputs.measuring import Asked


class Interventions:
    """What `AttentionModel` can do beyond capturing. Each question is answered by real forward passes.

    Only the result of a head, before the output projection, is other than the model's. Gradients are off; the model,
    its mode and its hooks stay as they are. One text at a time, and a model in eval mode.
    """

    model: nn.Module
    tokenizer: Any
    name: str

    if TYPE_CHECKING:

        def _arguments(
            self,
            inputs: Any,  # noqa: ANN401
            forward_kwargs: Mapping[str, Any],
            tokens: TokenNames | Sequence[TokenNames] | None = None,
            key_tokens: TokenNames | Sequence[TokenNames] | None = None,
        ) -> Prepared: ...

    def ablate(
        self,
        inputs: Any,  # noqa: ANN401 - see `capture`
        heads: Iterable[tuple[int, int]] | None = None,
        *,
        mode: Mode = "zero",
        metric: Asked = "loss",
        token: str | int | None = None,
        versus: str | int | None = None,
        position: int = -1,
        stack: str | None = None,
        reference: Any = None,  # noqa: ANN401 - as inputs
        at_once: int | None = None,
        progress: bool = True,
        **forward_kwargs: Any,  # noqa: ANN401
    ) -> Ablation:
        """Replace the result of one head at a time, and tell how the output changes (Michel et al. 2019).

        A head's result z = softmax(...) v, which the output projection takes, becomes 0 ("zero"), its mean over
        positions ("mean"), or the mean of the values that the mask allows ("uniform": even weights). Of grouped heads
        only the one query head changes. Query heads on the model's own path: sdpa, eager, flash, nn.MultiheadAttention.

        Args:
            inputs: one text or other input, in every form that `capture` takes.
            heads: (layer, head) pairs, counted within the stack; every head if None.
            mode: "zero", "mean" or "uniform".
            metric: "loss", the mean of -log p(token | tokens before it) in nats; "logits" or "probability", of `token`
                as the one after `position`; or a function of the model's output that gives a number.
            token: its id, or a text that is one token (" Mary").
            versus: with "logits": a token whose logit is taken off (the logit difference of Wang et al. 2022).
            position: of the logits that are read, counted from 0, or from the end.
            stack: whose heads; the first of the capture if None ("cross", "encoder" ... of an encoder-decoder).
            reference: with "mean": inputs (several in a list) over whose tokens the mean is taken; this one if None.
            at_once: how many heads run as one batch; as many as a few thousand tokens hold if None. A function as
                metric is given one at a time.
            progress: show a bar if it takes more than two seconds.
            **forward_kwargs: passed on to the model.

        Returns:
            The baseline, and a map (L, H) of the changes.

        Raises:
            TypeError, ValueError: inputs, heads, mode or metric that are none, or a model in training mode.
            IndexError: no such head or position.
            KeyError: no such stack.
            CaptureError: nothing was captured, or a layer's attention cannot be changed; the text names its module.
        """
        return ablate(
            self,
            inputs,
            heads,
            mode=mode,
            asked=metric,
            about={"token": token, "versus": versus, "position": position},
            stack=stack,
            reference=reference,
            at_once=at_once,
            progress=progress,
            forward_kwargs=forward_kwargs,
        )

    def ablate_jointly(
        self,
        inputs: Any,  # noqa: ANN401 - see `capture`
        heads: Iterable[tuple[int, int]] | None,
        *,
        mode: Mode = "zero",
        metric: Asked = "loss",
        token: str | int | None = None,
        versus: str | int | None = None,
        position: int = -1,
        stack: str | None = None,
        reference: Any = None,  # noqa: ANN401 - as inputs
        **forward_kwargs: Any,  # noqa: ANN401
    ) -> Effect:
        """Replace the results of several heads in one run, and tell how the output changes.

        Where one head does what another lost, each alone matters little and both together much (backup heads, Wang et
        al. 2022; self-repair, McGrath et al. 2023). What replaces them is made from the unchanged run, as in `ablate`:
        of one head, both give the same.

        Args:
            inputs: one text or other input, in every form that `capture` takes.
            heads: (layer, head) pairs, counted within the stack; every head of it if None.
            mode: as for `ablate`.
            metric: as for `ablate`.
            token: as for `ablate`.
            versus: as for `ablate`.
            position: as for `ablate`.
            stack: as for `ablate`.
            reference: as for `ablate`.
            **forward_kwargs: passed on to the model.

        Returns:
            The number with and without all of these heads.

        Raises:
            TypeError, ValueError, IndexError, KeyError, CaptureError: as for `ablate`.
        """
        return ablate_jointly(
            self,
            inputs,
            heads,
            mode=mode,
            asked=metric,
            about={"token": token, "versus": versus, "position": position},
            stack=stack,
            reference=reference,
            forward_kwargs=forward_kwargs,
        )

    def knockout(
        self,
        inputs: Any,  # noqa: ANN401 - see `capture`
        *,
        query: Given,
        key: Given,
        layers: Given | None = None,
        heads: Iterable[tuple[int, int]] | None = None,
        metric: Asked = "loss",
        token: str | int | None = None,
        versus: str | int | None = None,
        position: int = -1,
        stack: str | None = None,
        **forward_kwargs: Any,  # noqa: ANN401
    ) -> Effect:
        """Cut edges before the softmax, in some layers at once, and tell how the output changes (Geva et al. 2023).

        The scores of each of these queries with each of these keys become -infinity, and the rows are normalised again;
        a row that may look at nothing any more gives 0. Rows that are cut are computed in float32 from the queries and
        keys of this run, after a check that this gives what the model computed.

        Args:
            inputs: one text or other input, in every form that `capture` takes.
            query: a number, numbers or a slice, counted from 0 (or from the end) without padding.
            key: likewise.
            layers: in which layers of the stack, all heads of them; every layer if None.
            heads: (layer, head) pairs, instead of `layers`.
            metric: as for `ablate`.
            token: as for `ablate`.
            versus: as for `ablate`.
            position: as for `ablate`.
            stack: as for `ablate`.
            **forward_kwargs: passed on to the model.

        Returns:
            The number with and without these edges.

        Raises:
            TypeError, ValueError, IndexError, KeyError, CaptureError: as for `ablate`; CaptureError too where the
                weights of a layer are not explained by its queries, keys and mask.
        """
        return knockout(
            self,
            inputs,
            query=query,
            key=key,
            layers=layers,
            heads=heads,
            asked=metric,
            about={"token": token, "versus": versus, "position": position},
            stack=stack,
            forward_kwargs=forward_kwargs,
        )

    def candidates(
        self,
        inputs: Any,  # noqa: ANN401 - see `capture`
        *,
        position: int = -1,
        k: int = 10,
        **forward_kwargs: Any,  # noqa: ANN401
    ) -> Candidates:
        """What a language model would say next: the likeliest tokens, with their probabilities.

        Args:
            inputs: one text or other input, in every form that `capture` takes.
            position: of the token after which they come, counted from 0 (or from the end) without padding. A model for
                masked tokens says what stands at this place.
            k: how many.
            **forward_kwargs: passed on to the model.

        Returns:
            A table, the likeliest first.

        Raises:
            TypeError, ValueError: inputs that are none or several, a model without logits over a vocabulary, or in
                training mode.
            IndexError: no such position.
        """
        return candidates(self, inputs, position=position, k=k, forward_kwargs=forward_kwargs)

    def logit_attribution(
        self,
        inputs: Any,  # noqa: ANN401 - see `capture`
        *,
        token: str | int,
        versus: str | int | None = None,
        position: int = -1,
        **forward_kwargs: Any,  # noqa: ANN401
    ) -> LogitAttribution:
        """What each head adds to the logit of a token, directly through the residual stream (Elhage et al. 2021).

        For models whose layers normalise first and add what attention and MLP give, as GPT-2 and Llama do. Whether one
        is, is told by the values that run: the parts must add up. What later layers make of a head is not in it.

        Args:
            inputs: one text or other input, in every form that `capture` takes.
            token: its id, or a text that is one token (" Mary").
            versus: a token whose logit is taken off: the logit difference of Wang et al. 2022.
            position: of the logits, counted from 0 (or from the end) without padding.
            **forward_kwargs: passed on to the model.

        Returns:
            A map (L, H), and what is not heads; all of it adds up to the logit.

        Raises:
            TypeError, ValueError: as for `ablate`.
            IndexError: no such position.
            CaptureError: the model has no such stream (post-norm, scaled, bounded, two-sided); the text says what was
                seen.
        """
        return logit_attribution(
            self, inputs, token=token, versus=versus, position=position, forward_kwargs=forward_kwargs
        )
