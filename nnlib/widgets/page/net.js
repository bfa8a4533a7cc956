// The net of nnlib's layers, losses and optim, in double precision and in the same shapes:
// x (N, D), W (D, H) row by row. The same numbers in give the same numbers out.

const C = Math.sqrt(2 / Math.PI);
const A = 0.044715;
const SLOPE = 0.01;
const gate = (x) => Math.tanh(C * (x + A * x * x * x));

// Of each activation: y of x, and its slope, which x and y tell.
export const ACTIVATIONS = {
  relu: [(x) => Math.max(x, 0), (x, y) => (y > 0 ? 1 : 0)],
  leaky_relu: [(x) => Math.max(x, SLOPE * x), (x) => (x > 0 ? 1 : SLOPE)],
  tanh: [Math.tanh, (x, y) => 1 - y * y],
  sigmoid: [(x) => 0.5 + 0.5 * Math.tanh(0.5 * x), (x, y) => y * (1 - y)],
  gelu: [
    (x) => 0.5 * x * (1 + gate(x)),
    (x) => {
      const t = gate(x);
      return 0.5 * (1 + t + x * (1 - t * t) * C * (1 + 3 * A * x * x));
    },
  ],
};

// Return Σ a[i, k] b[k, j] for (n, d) and (d, h), where `a` and `b` say how they are read.
function product(n, d, h, a, [ai, ak], b, [bk, bj], out = new Float64Array(n * h)) {
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < d; k++) {
      const factor = a[i * ai + k * ak];
      if (factor === 0) continue; // of dark pixels and of units that are off
      for (let j = 0, at = i * h, from = k * bk; j < h; j++, at++, from += bj) out[at] += factor * b[from];
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
      const sum = new Float64Array(n * h);
      for (let i = 0; i < n; i++) sum.set(b, i * h);
      product(n, d, h, this.inputs[layer], [d, 1], W, [h, 1], sum);
      this.inputs.push(sum.map(this.act));
      return sum;
    });
    return this.sums.at(-1);
  }

  // Return the gradient of every parameter from that of the logits (N, K), shaped as they are.
  backward(gradient, n) {
    const gradients = [];
    for (let layer = this.parameters.length - 1; layer >= 0; layer--) {
      const [d, h] = this.sizes.slice(layer);
      const x = this.inputs[layer];
      const b = product(1, n, h, [1], [0, 0], gradient, [h, 1]); // the sum of the rows
      gradients.unshift({ W: product(d, n, h, x, [1, d], gradient, [h, 1]), b });
      if (layer === 0) break;
      const sums = this.sums[layer - 1];
      const back = product(n, h, d, gradient, [h, 1], this.parameters[layer].W, [1, h]);
      gradient = back.map((g, i) => g * this.slope(sums[i], x[i]));
    }
    return gradients;
  }
}

// Return softmax(z) of one row of logits.
export function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const powers = logits.map((z) => Math.exp(z - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((p) => p / sum);
}

// Return the mean cross-entropy of logits (N, K), its gradient (N, K), and how many are right.
export function crossEntropy(logits, labels) {
  const n = labels.length;
  const k = logits.length / n;
  const gradient = new Float64Array(logits.length);
  let [loss, right] = [0, 0];
  for (let i = 0; i < n; i++) {
    const row = logits.subarray(i * k, (i + 1) * k);
    const largest = row.reduce((a, b) => Math.max(a, b));
    loss += Math.log(row.reduce((sum, z) => sum + Math.exp(z - largest), 0)) + largest - row[labels[i]];
    right += row.indexOf(largest) === labels[i];
    gradient.set(softmax(row).map((p, j) => (p - (j === labels[i])) / n), i * k);
  }
  return { loss: loss / n, right, gradient };
}

export class SGD {
  // g ← g + λ W; v ← μ v + g; w ← w - η v, with λ for the weight matrices alone
  step({ parameters }, gradients, { lr, momentum, weight_decay }) {
    this.velocity ??= parameters.map(({ W, b }) => ({ W: W.map(() => 0), b: b.map(() => 0) }));
    parameters.forEach((layer, at) => {
      for (const [name, w] of Object.entries(layer)) {
        const [g, v] = [gradients[at][name], this.velocity[at][name]];
        const decay = name === "W" ? weight_decay : 0;
        for (let i = 0; i < w.length; i++) {
          v[i] = momentum * v[i] + g[i] + decay * w[i];
          w[i] -= lr * v[i];
        }
      }
    });
  }
}
