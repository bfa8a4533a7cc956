// What answers the canvas where there is no kernel: the net travels in the page, and reads there.

import { _ } from "../canvas.js";
import { Net, softmax } from "./net.js";

const UNITS = 6;
const BARS = 12;

// Return a net from its weights as numbers of 16 bits, W and b of each layer in turn.
export function netOf({ sizes, activation }, bytes) {
  const bits = Uint32Array.from(
    new Uint16Array(bytes.buffer), (half) => ((half & 0x8000) << 16) | ((half & 0x7fff) << 13));
  const numbers = Float64Array.from(new Float32Array(bits.buffer), (x) => x * 2 ** 112);
  let at = 0;
  const take = (length) => numbers.subarray(at, (at += length));
  return new Net(sizes, activation, sizes.slice(1).map(
    (h, layer) => ({ W: take(sizes[layer] * h), b: take(h) })));
}

// Return a column of a matrix (D, H), given row by row.
export const column = (matrix, h, j) => (
  new Float64Array(matrix.length / h).map((none, i) => matrix[i * h + j]));

// Return the largest absolute value.
export const limitOf = (values) => values.reduce((a, value) => Math.max(a, Math.abs(value)), 0);

// Return places of a list, those of the largest values first.
const ordered = (values) => [...values.keys()].sort((i, j) => values[j] - values[i]);

// Return what the net makes of an image, as nnlib.widgets.canvas tells it; examples have a label.
export function answerOf(net, { shape: [height, width], classes, scaling }, image, label) {
  const [offset, factor] = scaling.map((numbers) => [numbers].flat()); // one, or one a channel
  const x = Float64Array.from(image, (pixel, i) => (
    (pixel - offset[i % offset.length]) * factor[i % factor.length]));
  const probabilities = softmax(net.forward(x))[0];
  const [k] = ordered(probabilities);
  const [first, second] = net.parameters;
  const shares = net.inputs[1].map((h, unit) => h * second.W[unit * classes.length + k]);
  const chosen = ordered(shares.map(Math.abs)).slice(0, UNITS);
  const incoming = chosen.map((unit) => column(first.W, shares.length, unit));
  const limit = Math.max(...incoming.map(limitOf)) || 1;
  return {
    message: _("This looks like {}: {}%", classes[k], (100 * probabilities[k]).toFixed(1))
      + (label === undefined ? "" : _(" (it is {})", classes[label])),
    example: label !== undefined,
    bars: ordered(probabilities).slice(0, BARS).sort((i, j) => i - j).map(
      (i) => ({ name: classes[i], probability: probabilities[i] })),
    seen: { height, width, values: image },
    units: chosen.map((unit, i) => ({ number: unit, contribution: shares[unit],
      weights: incoming[i].map((w) => (127 * w) / limit) })),
  };
}
