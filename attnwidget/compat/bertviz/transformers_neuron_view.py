"""The names that BertViz's neuron notebooks import their models from; here they are those of transformers."""

from __future__ import annotations

_NAMES = (
    *("BertConfig", "BertModel", "BertTokenizer"),
    *("GPT2Config", "GPT2Model", "GPT2Tokenizer"),
    *("RobertaConfig", "RobertaModel", "RobertaTokenizer"),
    *("XLNetConfig", "XLNetModel", "XLNetTokenizer"),
)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}: it offers {', '.join(_NAMES)}; neuron_view.show takes any "
            "model and tokenizer of transformers"
        )
    import transformers

    return getattr(transformers, name)


def __dir__() -> list[str]:
    return sorted(_NAMES)
