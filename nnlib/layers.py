"""The parts of a network, each with its forward pass and its backward pass.

A layer is a function with a memory: `forward` computes the output and keeps what the derivative
will need; `backward` takes the gradient of the loss with respect to that output and returns the
gradient with respect to the input, leaving the gradients of its own parameters in `gradients`.
It never updates anything: that is the optimiser's work. Chain the layers forward to predict,
backward to learn; there is nothing else to a network.

Shapes: N examples, D inputs, H outputs of the layer.
"""

from collections.abc import Callable

import numpy as np

from nnlib import checks

LEAKY_SLOPE = 0.01
Array = np.ndarray


class Layer:
    """A differentiable function from (N, D) to (N, H), with parameters or without."""

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self.statistics: dict[str, Array] = {}  # kept with the weights but not learned

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the output for the input x (N, D), keeping what `backward` needs."""
        raise NotImplementedError

    def backward(self, gradient: Array) -> Array:
        """Return ∂loss/∂input from ∂loss/∂output, both of the shapes of the last forward."""
        raise NotImplementedError


class Linear(Layer):
    """Affine map y = x W + b, with W (D, H) and b (H,).

    Backward, with g = ∂loss/∂y: ∂W = xᵀ g, ∂b = Σₙ gₙ, ∂x = g Wᵀ.
    """

    def __init__(self, weights: Array, bias: Array) -> None:
        super().__init__()
        self.parameters = {"W": weights, "b": bias}

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return x W + b, of shape (N, H)."""
        self.x = x  # (N, D)
        return x @ self.parameters["W"] + self.parameters["b"]  # (N, H)

    def backward(self, gradient: Array) -> Array:
        """Return g Wᵀ (N, D) and keep ∂W (D, H) and ∂b (H,)."""
        self.gradients = {"W": self.x.T @ gradient, "b": gradient.sum(axis=0)}
        return gradient @ self.parameters["W"].T  # (N, D)


class ReLU(Layer):
    """max(0, x); the derivative is 1 where x > 0 and 0 elsewhere, at 0 as well."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return max(0, x)."""
        self.y = np.maximum(x, 0)
        return self.y

    def backward(self, gradient: Array) -> Array:
        """Pass the gradient where the unit was on. The output tells: y > 0 exactly if x > 0."""
        return gradient * (self.y > 0)


class LeakyReLU(Layer):
    """x where x > 0, else 0.01 x (Maas, Hannun, Ng 2013): no unit is ever quite dead."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return max(x, 0.01 x)."""
        self.x = x
        return np.maximum(x, LEAKY_SLOPE * x)

    def backward(self, gradient: Array) -> Array:
        """Scale the gradient by 1 where x > 0, by the slope elsewhere."""
        return np.where(self.x > 0, gradient, LEAKY_SLOPE * gradient)


class Tanh(Layer):
    """tanh x, with derivative 1 - tanh² x."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return tanh x."""
        self.y = np.tanh(x)
        return self.y

    def backward(self, gradient: Array) -> Array:
        """Multiply by 1 - y²."""
        return gradient * (1 - self.y**2)


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ), computed as ½ + ½ tanh(x/2), which cannot overflow; derivative y (1 - y)."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return 1 / (1 + e⁻ˣ)."""
        self.y = 0.5 + 0.5 * np.tanh(0.5 * x)
        return self.y

    def backward(self, gradient: Array) -> Array:
        """Multiply by y (1 - y)."""
        return gradient * self.y * (1 - self.y)


class GELU(Layer):
    """½ x (1 + tanh(c (x + a x³))), c = √(2/π), a = 0.044715.

    The tanh form of the Gaussian error linear unit (Hendrycks and Gimpel 2016, section 2).
    """

    C, A = np.sqrt(2 / np.pi).item(), 0.044715

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the smooth gate times x."""
        self.x = x
        self.t = np.tanh(self.C * (x + self.A * x * x * x))
        return 0.5 * x * (1 + self.t)

    def backward(self, gradient: Array) -> Array:
        """Multiply by ½ (1 + t) + ½ x (1 - t²) c (1 + 3 a x²)."""
        x, t = self.x, self.t
        inner = self.C * (1 + 3 * self.A * x * x)
        return gradient * 0.5 * (1 + t + x * (1 - t * t) * inner)


class Dropout(Layer):
    """In training, each value is 0 with probability p and divided by 1 - p otherwise.

    So the expectation is unchanged and prediction needs no correction ("inverted" dropout;
    Srivastava et al. 2014). The mask comes from the generator that the caller gives.
    """

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        super().__init__()
        self.p, self.rng = p, rng

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return x when predicting, x times a fresh mask when training."""
        self.mask = self._draw(x) if training and self.p > 0 else None
        return x if self.mask is None else x * self.mask

    def _draw(self, x: Array) -> Array:
        drawn = self.rng.random(x.shape[::-1], dtype=np.float32).T  # (N, D), unit by unit
        keep = drawn >= self.p
        return keep.astype(x.dtype) / x.dtype.type(1 - self.p)

    def backward(self, gradient: Array) -> Array:
        """Multiply by the mask of the forward pass."""
        return gradient if self.mask is None else gradient * self.mask


class BatchNorm(Layer):
    """Normalise each unit over the batch: y = γ x̂ + β, x̂ = (x - μ) / √(σ² + ε).

    In training μ and σ² are the batch's own, and running averages of them (the variance
    unbiased) are kept for prediction (Ioffe and Szegedy 2015, algorithm 1 and 2).
    """

    EPSILON, MOMENTUM = 1e-5, 0.1

    def __init__(self, gamma: Array, beta: Array) -> None:
        super().__init__()
        self.parameters = {"gamma": gamma, "beta": beta}  # both (D,)
        self.statistics = {"mean": np.zeros_like(beta), "variance": np.ones_like(gamma)}

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return γ x̂ + β, (N, D), from the batch's statistics or the running ones."""
        self.training = training
        mean = x.mean(axis=0) if training else self.statistics["mean"]  # (D,)
        centred = x - mean  # (N, D)
        variance = (centred * centred).mean(axis=0) if training else self.statistics["variance"]
        if training:
            self.remember(len(x), mean, variance)
        self.scale = 1 / np.sqrt(variance + x.dtype.type(self.EPSILON))  # (D,)
        self.normalised = centred * self.scale  # (N, D)
        return self.parameters["gamma"] * self.normalised + self.parameters["beta"]

    def remember(self, n: int, mean: Array, variance: Array) -> None:
        """Move the running statistics towards those of a batch of n, the variance unbiased."""
        for name, value in (("mean", mean), ("variance", variance * (n / max(n - 1, 1)))):
            running = self.statistics[name]
            running += running.dtype.type(self.MOMENTUM) * (value - running)

    def backward(self, gradient: Array) -> Array:
        """Return ∂x = γ/√(σ²+ε) · (g - mean(g) - x̂ mean(g x̂)); the means only in training."""
        along = (gradient * self.normalised).sum(axis=0)  # (D,)
        self.gradients = {"gamma": along, "beta": gradient.sum(axis=0)}
        if self.training:
            n = gradient.dtype.type(len(gradient))
            gradient = gradient - self.gradients["beta"] / n - self.normalised * (along / n)
        return gradient * (self.parameters["gamma"] * self.scale)


ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "gelu": GELU,
}


def activation(name: str) -> Layer:
    """Return a new activation layer by its name; InputError lists the names there are."""
    return ACTIVATIONS[checks.one_of("activation", name, ACTIVATIONS)]()


INITIALISERS: dict[str, Callable[[int, int], float]] = {
    "he": lambda inputs, outputs: (2 / inputs) ** 0.5,
    "glorot": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,
    "normal": lambda inputs, outputs: 1.0,
}


def default_initialiser(activation_name: str) -> str:
    """Return "he" for the ReLU family, whose units are half off, and "glorot" for the rest."""
    return "he" if activation_name in ("relu", "leaky_relu", "gelu") else "glorot"


def initial_weights(
    inputs: int, outputs: int, rng: np.random.Generator, init: str = "he", scale: float = 1.0
) -> Array:
    """Draw W (inputs, outputs) in float64 from a normal distribution of standard deviation s.

    he: s² = 2 / inputs (He et al. 2015); glorot: s² = 2 / (inputs + outputs) (Glorot and Bengio
    2010); normal: s = 1. `scale` multiplies s, so `normal` with scale 0.001 is 1e-3 · N(0, 1).
    """
    deviation = INITIALISERS[checks.one_of("initialiser", init, INITIALISERS)](inputs, outputs)
    return rng.normal(0.0, scale * deviation, size=(inputs, outputs))  # (D, H)
