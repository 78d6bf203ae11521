"""A text classifier whose head reads the mean over the tokens, as sentence encoders such as MiniLM are trained."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models and their outputs are untyped.

import inspect
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.auto.modeling_auto import AutoModel


class MeanPooled(nn.Module):
    """logits = head(dropout(sum_t mask_t h_t / sum_t mask_t)) with h the last hidden states of an encoder.

    Reimers and Gurevych 2019 (arXiv 1908.10084), section 3. Called as the classifiers of transformers are.
    """

    def __init__(self, encoder: nn.Module, config: Any) -> None:
        """The head has `config.num_labels` outputs; dropout is the configuration's for hidden states."""
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    @property
    def base_model(self) -> nn.Module:
        return self.encoder

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        logits: Any = self.classifier(self.dropout(pooled))
        return SequenceClassifierOutput(logits=logits)


def without_pooler(config: Any) -> dict[str, Any]:
    """The option that leaves out a pooler which nothing would read, of the kinds of model that have one."""
    kind = AutoModel._model_mapping[type(config)]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    options = inspect.signature(kind.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in options else {}


def _dropout(config: Any) -> float:
    """The dropout of a configuration, under the name of BERT and most others, else under DistilBERT's."""
    for name in ("hidden_dropout_prob", "seq_classif_dropout"):
        value = getattr(config, name, None)
        if value is not None:
            return float(value)
    return 0.0
