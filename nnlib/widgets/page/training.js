// A training in the page: random numbers of its own, batches, steps, and what is seen of them.

import { Net, SGD, crossEntropy } from "./net.js";

// Return a source of numbers between 0 and 1 (Park and Miller 1988): the same for the same seed.
function source(seed) {
  let state = (seed % 2147483646) + 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

// Return a net's first weights, normally distributed: He's for the ReLU family, else Glorot's.
function drawn(sizes, activation, random) {
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  return sizes.slice(1).map((h, layer) => {
    const d = sizes[layer];
    const deviation = Math.sqrt(2 / (/relu|gelu/.test(activation) ? d : d + h));
    return { W: new Float64Array(d * h).map(() => deviation * normal()), b: new Float64Array(h) };
  });
}

function shuffled(n, random) {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

export class Training {
  // train, val: {x: (N, D), y: (N,)}; `given`: parameters to begin with, orders (epoch, N)
  constructor({ train, val, classes }, knobs, given = {}) {
    const random = source(knobs.seed ?? 0);
    const d = train.x.length / train.y.length;
    const sizes = [d, ...knobs.hidden, classes];
    this.net = new Net(sizes, knobs.activation, given.parameters ?? drawn(sizes, knobs.activation, random));
    this.order = (epoch) => given.orders?.[epoch] ?? shuffled(train.y.length, random);
    Object.assign(this, { train, val, d, knobs, sgd: new SGD(), epochs: 0, at: 0, seen: 0, loss: 0, right: 0 });
  }

  // Take one step and return its loss, without the penalty; `judged` is true after an epoch's last.
  step() {
    const { train, d, knobs } = this;
    if (this.at === 0) [this.rows, this.seen, this.loss, this.right] = [this.order(this.epochs), 0, 0, 0];
    const batch = this.rows.slice(this.at, this.at + knobs.batch_size);
    const x = new Float64Array(batch.length * d);
    batch.forEach((row, i) => x.set(train.x.subarray(row * d, (row + 1) * d), i * d));
    const { loss, right, gradient } = crossEntropy(
      this.net.forward(x, batch.length), batch.map((row) => train.y[row]));
    this.sgd.step(this.net, this.net.backward(gradient, batch.length), knobs);
    this.at += batch.length;
    this.seen += batch.length;
    this.loss += loss * batch.length;
    this.right += right;
    if (this.at >= train.y.length) [this.at, this.epochs] = [0, this.epochs + 1];
    return loss;
  }

  // Return loss and accuracy on validation images.
  judge() {
    const { x, y } = this.val;
    const { loss, right } = crossEntropy(this.net.forward(x, y.length), y);
    return { loss, accuracy: right / y.length };
  }

  // Return where it is: the running means of this epoch, and the weights to look at.
  get standing() {
    return {
      number: this.number,
      epoch: this.epochs + this.at / this.train.y.length,
      loss: this.loss / this.seen,
      accuracy: this.right / this.seen,
      weights: Float32Array.from(this.net.parameters[0].W),
      units: this.net.sizes[1],
    };
  }
}
