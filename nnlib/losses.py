"""How wrong a batch of predictions is: softmax cross-entropy on logits, and accuracy.

Softmax and logarithm are taken together, with the largest logit subtracted first, so that no
logit is too large: exp never overflows and log never sees a zero.
"""

import numpy as np

Array = np.ndarray


def log_softmax(logits: Array) -> Array:
    """Return log p with p = softmax(z) over the last axis: z - max z - log Σ exp(z - max z).

    logits (N, K) -> (N, K).
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)  # (N, K), largest is 0
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: Array) -> Array:
    """Return the probabilities exp(zₖ) / Σⱼ exp(zⱼ): logits (N, K) -> (N, K), rows sum to 1."""
    return np.exp(log_softmax(logits))


def softmax_cross_entropy(
    logits: Array, labels: Array, smoothing: float = 0.0, weights: Array | None = None
) -> tuple[float, Array]:
    """Return the mean cross-entropy of a batch and its gradient with respect to the logits.

    loss = -1/N Σₙ Σₖ tₙₖ log pₙₖ and ∂loss/∂z = (p - t) / N, where t is 1 - s at the label plus
    s / K everywhere; s = `smoothing` (label smoothing, Szegedy et al. 2016, section 7), 0 for
    the plain loss. logits (N, K), labels (N,) whole numbers below K -> (float, (N, K)).

    With `weights` w (N,) >= 0, each example's share 1/N is wₙ / Σ w instead, Σ over this batch: a
    weight of 2 is the example twice, and the scale of all weights together has no effect. Where
    all are 0, so are loss and gradient.
    """
    n, k = logits.shape
    log_p = log_softmax(logits)  # (N, K)
    rows = np.arange(n)
    losses = -log_p[rows, labels]  # (N,)
    gradient = np.exp(log_p)  # (N, K), p
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * log_p.mean(axis=1)
        gradient -= logits.dtype.type(smoothing / k)
    gradient[rows, labels] -= logits.dtype.type(1 - smoothing)
    if weights is None:
        gradient /= logits.dtype.type(n)
        return float(losses.mean()), gradient
    shares = relative(weights) / n  # (N,)
    gradient *= shares[:, None].astype(logits.dtype)
    return float(losses @ shares), gradient


def relative(weights: Array) -> Array:
    """Return weights (N,) divided by their mean, which is then 1; zeros where all are 0."""
    return weights * (len(weights) / (weights.sum() or 1.0))


def accuracy(logits: Array, labels: Array) -> float:
    """Return the fraction of rows whose largest logit is at the label: (N, K), (N,) -> 0 … 1."""
    return float((logits.argmax(axis=-1) == labels).mean())
