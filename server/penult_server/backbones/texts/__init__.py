"""Text models of transformers: tokenising, pooling, and the heads of their classifiers."""
