"""A language model of LSTM layers."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.models.sampling import prompt, sample


class LSTMLanguageModel(nn.Module):
    """An embedding, LSTM layers and a linear layer: of each token the logits of the next one.

    Tokens (N, L) and a state, None at the start of a text, become logits (N, L, vocab_size) and the
    state after them. Dropout acts on the embeddings, between layers and in front of the last.
    Zaremba et al., "Recurrent neural network regularization", 2014.

    >>> logits, _ = LSTMLanguageModel(11, 8, 16)(tg.zeros((2, 5), dtype="int64"))
    >>> logits.shape
    (2, 5, 11)
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int = 128,
        hidden_size: int = 128,
        num_layers: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocab_size, embedding_size)
        between = dropout if num_layers > 1 else 0.0
        self.rnn = nn.LSTM(
            embedding_size, hidden_size, num_layers, batch_first=True, dropout=between
        )
        self.decoder = nn.Linear(hidden_size, vocab_size)

    def forward(self, tokens: Any, state: Any = None) -> tuple[Any, Any]:
        x, state = self.rnn(self.drop(self.encoder(tokens)), state)
        return self.decoder(self.drop(x)), state

    def generate(
        self,
        tokens: Any,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: tg.Generator | None = None,
    ) -> Any:
        """The tokens (N, L) and so many more, each drawn by `sample` from the logits after it."""
        training = self.training
        found = [prompt("LSTMLanguageModel", tokens, max_new_tokens)]
        state: Any = None
        self.eval()
        try:
            with tg.no_grad():
                for _ in range(max_new_tokens):
                    logits, state = self(found[-1], state)
                    drawn = sample(logits[:, -1], temperature, top_k, generator)
                    found.append(drawn[:, None].astype(found[0].dtype))
        finally:
            self.train(training)
        return tg.concatenate(found, axis=1)
