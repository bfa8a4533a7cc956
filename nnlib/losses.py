"""How wrong a batch of predictions is: softmax cross-entropy on logits, and accuracy.

Softmax and logarithm are taken together, with the largest logit subtracted first, so that no
logit is too large: exp never overflows and log never sees a zero.
"""

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log p with p = softmax(z) over the last axis: z - max z - log Σ exp(z - max z).

    logits (N, K) -> (N, K).
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)  # (N, K), largest is 0
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities exp(zₖ) / Σⱼ exp(zⱼ): logits (N, K) -> (N, K), rows sum to 1."""
    return np.exp(log_softmax(logits))


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0
) -> tuple[float, np.ndarray]:
    """Return the mean cross-entropy of a batch and its gradient with respect to the logits.

    loss = -1/N Σₙ Σₖ tₙₖ log pₙₖ and ∂loss/∂z = (p - t) / N, where t is 1 - s at the label plus
    s / K everywhere; s = `smoothing` (label smoothing, Szegedy et al. 2016, section 7), 0 for
    the plain loss. logits (N, K), labels (N,) whole numbers below K -> (float, (N, K)).
    """
    n, k = logits.shape
    log_p = log_softmax(logits)  # (N, K)
    rows = np.arange(n)
    loss = -log_p[rows, labels].mean()
    gradient = np.exp(log_p)  # (N, K), p
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * log_p.mean()
        gradient -= logits.dtype.type(smoothing / k)
    gradient[rows, labels] -= logits.dtype.type(1 - smoothing)
    gradient /= logits.dtype.type(n)
    return float(loss), gradient


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of rows whose largest logit is at the label: (N, K), (N,) -> 0 … 1."""
    return float((logits.argmax(axis=-1) == labels).mean())
