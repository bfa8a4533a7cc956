// The net of nnlib's layers, losses and optim, in double precision and in the same shapes:
// x (N, D), W (D, H) row by row. The same numbers in give the same numbers out.

const [SLOPE, A, C] = [0.01, 0.044715, Math.sqrt(2 / Math.PI)]; // of leaky ReLU and of GELU
const gate = (x) => Math.tanh(C * (x + A * x * x * x));

// Of each activation: y of x, and its slope, which x and y tell.
const ACTIVATIONS = {
  relu: [(x) => Math.max(x, 0), (x, y) => (y > 0 ? 1 : 0)],
  leaky_relu: [(x) => Math.max(x, SLOPE * x), (x) => (x > 0 ? 1 : SLOPE)],
  tanh: [Math.tanh, (x, y) => 1 - y * y],
  sigmoid: [(x) => 0.5 + 0.5 * Math.tanh(0.5 * x), (x, y) => y * (1 - y)],
  gelu: [
    (x) => 0.5 * x * (1 + gate(x)),
    (x) => 0.5 * (1 + gate(x) + x * (1 - gate(x) ** 2) * C * (1 + 3 * A * x * x)),
  ],
};

// Return Σ a[i, k] b[k, j] for (n, d) and (d, h), where `a` and `b` say how they are read.
function product(n, d, h, a, [ai, ak], b, [bk, bj], out = new Float64Array(n * h)) {
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < d; k++) {
      const factor = a[i * ai + k * ak];
      if (factor === 0) continue; // of dark pixels and of units that are off
      for (let j = 0; j < h; j++) out[i * h + j] += factor * b[k * bk + j * bj];
    }
  }
  return out;
}

export class Net {
  // sizes [D, H1, …, K]; parameters [{W: (D, H), b: (H,)}, …], one a layer
  constructor(sizes, activation, parameters) {
    [this.act, this.slope] = ACTIVATIONS[activation];
    Object.assign(this, { sizes, parameters });
  }

  // Return the logits (N, K) of x (N, D), and keep what `backward` needs.
  forward(x, n = 1) {
    this.inputs = [x];
    this.sums = this.parameters.map(({ W, b }, layer) => {
      const [d, h] = this.sizes.slice(layer);
      const sum = new Float64Array(n * h).map((none, i) => b[i % h]);
      product(n, d, h, this.inputs[layer], [d, 1], W, [h, 1], sum);
      this.inputs.push(sum.map((z) => this.act(z)));
      return sum;
    });
    return this.sums.at(-1);
  }

  // Return the gradient of every parameter from that of the logits (N, K), shaped as they are.
  backward(gradient, n) {
    const gradients = [];
    for (let layer = this.parameters.length - 1; ; layer--) {
      const [d, h] = this.sizes.slice(layer);
      const x = this.inputs[layer];
      const W = product(d, n, h, x, [1, d], gradient, [h, 1]);
      const b = product(1, n, h, [1], [0, 0], gradient, [h, 1]); // the sum of the rows
      gradients.unshift({ W, b });
      if (layer === 0) return gradients;
      const back = product(n, h, d, gradient, [h, 1], this.parameters[layer].W, [1, h]);
      const sums = this.sums[layer - 1];
      gradient = back.map((g, i) => g * this.slope(sums[i], x[i]));
    }
  }

  // g ← g + λ W; v ← μ v + g; w ← w - η v, with λ for the weight matrices alone
  step(gradients, { lr, momentum, weight_decay }) {
    this.velocity ??= this.parameters.map(() => ({}));
    this.parameters.forEach((layer, at) => ["W", "b"].forEach((name) => {
      const [w, g, decay] = [layer[name], gradients[at][name], name === "W" ? weight_decay : 0];
      const v = (this.velocity[at][name] ??= new Float64Array(w.length));
      for (let i = 0; i < w.length; i++) {
        v[i] = momentum * v[i] + g[i] + decay * w[i];
        w[i] -= lr * v[i];
      }
    }));
  }
}

// Return softmax(z) of one row of logits, and log Σ exp z.
export function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const powers = logits.map((z) => Math.exp(z - largest));
  const sum = powers.reduce((a, b) => a + b);
  return [powers.map((p) => p / sum), Math.log(sum) + largest];
}

// Return the mean cross-entropy of logits (N, K), its gradient (N, K), and the share that is right.
export function crossEntropy(logits, labels) {
  const [n, k] = [labels.length, logits.length / labels.length];
  const gradient = new Float64Array(logits.length);
  let [loss, accuracy] = [0, 0];
  labels.forEach((label, i) => {
    const row = logits.subarray(i * k, (i + 1) * k);
    const [probabilities, log] = softmax(row);
    loss += (log - row[label]) / n;
    accuracy += (row.indexOf(Math.max(...row)) === label) / n;
    gradient.set(probabilities.map((p, j) => (p - (j === label)) / n), i * k);
  });
  return { loss, accuracy, gradient };
}
