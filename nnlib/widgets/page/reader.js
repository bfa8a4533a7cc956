// What answers the canvas where there is no kernel: the net travels in the page, and reads there.

import { _ } from "../canvas.js";
import { Net, softmax } from "./net.js";
import { fitPicture } from "./prepare.js";

const UNITS = 6;
const BARS = 12;

// Return a net from its weights as numbers of 16 bits, W and b of each layer in turn.
export function netOf({ sizes, activation }, bytes) {
  const view = new DataView(bytes.buffer);
  let at = 0;
  const numbers = (length) => Float64Array.from({ length }, () => {
    const bits = view.getUint16(at, true);
    const [power, rest] = [(bits >> 10) & 31, bits & 1023];
    at += 2;
    return (bits >> 15 ? -1 : 1) * (power ? (1024 + rest) * 2 ** (power - 25) : rest * 2 ** -24);
  });
  return new Net(sizes, activation, sizes.slice(1).map((h, i) => ({ W: numbers(sizes[i] * h), b: numbers(h) })));
}

// Return a column of a matrix (D, H), given row by row.
export const column = (matrix, h, j) => Float64Array.from({ length: matrix.length / h }, (none, i) => matrix[i * h + j]);

// Return what the net makes of one image of bytes (h, w), as nnlib.widgets.canvas tells it.
function answerOf(net, { shape: [height, width], classes, scaling: [offset, factor] }, seen) {
  const probabilities = softmax(net.forward(Float64Array.from(seen, (pixel) => (pixel - offset) * factor)));
  const ordered = (values) => [...values.keys()].sort((i, j) => values[j] - values[i]);
  const [k] = ordered(probabilities);
  const [first, second] = net.parameters;
  const shares = net.inputs[1].map((h, unit) => h * second.W[unit * classes.length + k]);
  const chosen = ordered(shares.map(Math.abs)).slice(0, UNITS);
  const incoming = chosen.map((unit) => column(first.W, shares.length, unit));
  const limit = Math.max(...incoming.map((weights) => weights.reduce((a, w) => Math.max(a, Math.abs(w)), 0))) || 1;
  return {
    message: _("This looks like {}: {}%", classes[k], (100 * probabilities[k]).toFixed(1)),
    bars: ordered(probabilities).slice(0, BARS).sort((i, j) => i - j)
      .map((i) => ({ name: classes[i], probability: probabilities[i] })),
    seen: { height, width, values: Uint8Array.from(seen) },
    units: chosen.map((unit, i) => ({ number: unit, contribution: shares[unit],
      weights: Int8Array.from(incoming[i], (w) => Math.round((127 * w) / limit)) })),
  };
}

// Return a model as the canvas knows it: given a picture, or asked for an example, it answers.
export function readerOf(about, net, examples) {
  const state = { pause: 0, answer: { message: _("Draw here, or choose a picture") } };
  let [tell, row] = [() => {}, -1];
  const say = (answer) => {
    state.answer = answer;
    tell();
  };
  const size = about.shape[0] * about.shape[1];
  const show = (chosen) => {
    row = chosen % about.labels.length;
    const answer = answerOf(net, about, examples.subarray(row * size, (row + 1) * size));
    const message = answer.message + _(" (it is {})", about.classes[about.labels[row]]);
    say({ ...answer, message, example: true });
  };
  const read = ({ grey, width, height }) => {
    if (!grey) return say({ message: _("Draw here, or choose a picture") });
    try {
      const data = new Float64Array(new Uint8Array(grey.buffer));
      say(answerOf(net, about, fitPicture({ data, width, height }, about.shape, about.dataset).data));
    } catch (error) {
      say({ message: error.message });
    }
  };
  return {
    show, read, // an example, a picture
    get: (name) => state[name],
    set: (name, value) => (state[name] = value),
    save_changes: () => read(state.picture),
    send: ({ kind }) => kind === "example" && show(row + 1),
    on: (event, listener) => (tell = listener),
  };
}
