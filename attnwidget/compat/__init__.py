"""For what people come from: BertViz's functions, the outputs of transformers, caches of TransformerLens."""
