"""The model that ships: `aw.demo()`, and the small world of sentences that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from attnwidget.model import AttentionModel

FOLDER: Final = Path(__file__).parent / "model"


def demo(**kwargs: Any) -> AttentionModel:  # noqa: ANN401 - of from_pretrained
    """A small trained causal language model that comes with the package: no hub, no download.

    A Llama of 3 layers of 8 heads, width 128, 758,400 weights (3.0 MB, float32) and 521 tokens, one for each word of a
    small world of sentences (`attnwidget.smallworld.world`); other words are "[UNK]". scripts/train_demo.py trained it
    from one seed in 3,300 steps of 1,536 tokens, in texts of 128 tokens at most. On texts that it has not read:

    - a previous-token head (layer 0 head 1): 0.98 of its weight is on the token before. Training began with a liking
      for that in this head and its neighbour, head 0;
    - an induction head (layer 1 head 0): 0.93 on the token after the same token earlier. Random words cost 6.29 nats
      each, and 0.07 the second time;
    - "When Mary and John went to the store, John gave a drink to": the right name in all of 50;
    - "Here are the drink Mary wants and the ball John wants. Anna gave the ball to": the right name in all of 50, and
      the induction head looks at it from the last token, with 0.97 against 0.02 for all other names.

    The README beside the module has the table and how it is measured.

    Args:
        **kwargs: passed on to transformers' `from_pretrained` (attn_implementation, dtype, device_map ...).

    Returns:
        The wrapped model, in eval mode, with its tokenizer.

    Examples:
        >>> import attnwidget as aw
        >>> model = aw.demo()
        >>> cap = model.generate("When Mary and John went to the store, John gave a drink to", max_new_tokens=2)
        >>> cap.generation.texts
        ('Mary.',)
    """
    import transformers

    from attnwidget.model import AttentionModel

    model = AttentionModel.from_pretrained(
        FOLDER, auto_class=transformers.AutoModelForCausalLM, **{"local_files_only": True, **kwargs}
    )
    model.name = "aw.demo()"
    return model
