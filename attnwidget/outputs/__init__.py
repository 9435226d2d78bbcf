"""What a model puts out: logits over a vocabulary, and numbers drawn from them. Knows torch, and no attention."""

from attnwidget.outputs.measuring import Metric, metric_of
from attnwidget.outputs.vocabulary import logits_of, name_of_token, place_of, token_id

__all__ = ["Metric", "logits_of", "metric_of", "name_of_token", "place_of", "token_id"]
