// A training in the page: random numbers of its own, batches, steps, and what is seen of them.

import { Net, crossEntropy } from "./net.js";

// Return a source of numbers between 0 and 1 (Park and Miller 1988): the same for the same seed.
function source(seed) {
  let state = (seed % 2147483646) + 1;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}

// Return a net's first weights, normally distributed: He's for the ReLU family, else Glorot's.
function drawn(sizes, activation, random) {
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  return sizes.slice(1).map((h, i) => {
    const sd = Math.sqrt(2 / (sizes[i] + (/relu|gelu/.test(activation) ? 0 : h)));
    return { W: new Float64Array(sizes[i] * h).map(() => sd * normal()), b: new Float64Array(h) };
  });
}

function shuffled(n, random) {
  const keys = Float64Array.from({ length: n }, random);
  return [...keys.keys()].sort((i, j) => keys[i] - keys[j]);
}

export class Training {
  // train, val: {x: (N, D), y: (N,)}; `given`: parameters to begin with, orders (epoch, N)
  constructor({ train, val, classes }, knobs, { parameters, orders } = {}) {
    const random = source(knobs.seed ?? 0);
    const sizes = [train.x.length / train.y.length, ...knobs.hidden, classes];
    const { activation } = knobs;
    this.net = new Net(sizes, activation, parameters ?? drawn(sizes, activation, random));
    this.order = (epoch) => orders?.[epoch] ?? shuffled(train.y.length, random);
    Object.assign(this, { train, val, knobs, seen: 0 });
  }

  // Take one step and return its loss, without the penalty.
  step() {
    const { train, knobs, net } = this;
    const [[d], n] = [net.sizes, train.y.length];
    const at = this.seen % n;
    if (at === 0) Object.assign(this, { rows: this.order(this.seen / n), loss: 0, right: 0 });
    const rows = this.rows.slice(at, at + knobs.batch_size);
    const x = new Float64Array(rows.length * d);
    rows.forEach((row, i) => x.set(train.x.subarray(row * d, (row + 1) * d), i * d));
    const logits = net.forward(x, rows.length);
    const { loss, accuracy, gradient } = crossEntropy(logits, rows.map((row) => train.y[row]));
    net.step(net.backward(gradient, rows.length), knobs);
    this.seen += rows.length;
    this.loss += loss * rows.length;
    this.right += accuracy * rows.length;
    return loss;
  }

  // Return loss and accuracy on validation images.
  judge({ x, y } = this.val) {
    return crossEntropy(this.net.forward(x, y.length), y);
  }

  // Return where it is: epochs, the running means of this one, and the weights to look at.
  get standing() {
    const { train: { y }, seen, loss, right, net } = this;
    const images = seen % y.length || y.length;
    const [{ W }, [, units]] = [net.parameters[0], net.sizes];
    return { epoch: seen / y.length, loss: loss / images, accuracy: right / images, W, units };
  }
}
