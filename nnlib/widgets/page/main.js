// Where the page's scripts begin: each live part wakes, or leaves its figure as it is. The same
// script is the worker's, since a page from a disk can load no other.

import { INK, board, paint, pictureOf, speak } from "../canvas.js";
import { learn } from "./learn.js";
import { fitPicture } from "./prepare.js";
import { answerOf, netOf } from "./reader.js";
import { Training } from "./training.js";
import { serve } from "./worker.js";

const SOURCE = globalThis.document?.currentScript.textContent;

// Return what was packed as deflated bytes in base64.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const wake = {
  async draw(root, about) {
    const [weights, pixels] = await Promise.all([about.weights, about.images].map(unpacked));
    const size = about.shape.reduce((a, b) => a * b);
    const images = about.labels.map((label, i) => pixels.subarray(i * size, (i + 1) * size));
    const net = netOf(about, weights);
    let row = 0;
    const choose = (chosen) => {
      row = chosen % images.length;
      show(answerOf(net, about, images[row], about.labels[row]));
    };
    const { ask, nothing } = root.querySelector(".choices").dataset;
    const read = (picture) => {
      const image = picture && fitPicture(picture, about.shape, about.dataset);
      show(image ? answerOf(net, about, image) : { message: picture ? nothing : ask });
    };
    const show = board(root, read, () => choose(row + 1), about.shape[2]);
    root.querySelectorAll(".choices label").forEach((label, i) => {
      paint(label.lastChild, images[i], about.shape, INK);
      label.addEventListener("change", () => choose(i));
    });
    for (let i = 8; i >= 0; i--) { // what has been read before is answered faster
      read(pictureOf(root.querySelector(".paper"), about.shape[2]));
      choose(i);
    }
  },
  async learn(root, about) {
    const pixels = Float64Array.from(await unpacked(about.images), (pixel) => pixel / 255);
    const size = pixels.length / about.labels.length;
    const split = (...rows) => (
      { x: pixels.slice(...rows.map((row) => row * size)), y: about.labels.slice(...rows) });
    const [train, val] = [split(0, about.train), split(about.train, about.labels.length)];
    const worker = new Worker(URL.createObjectURL(new Blob([SOURCE], { type: "text/javascript" })));
    learn(root, about, { train, val, classes: about.classes }, worker);
  },
};

speak(JSON.parse(globalThis.document?.getElementById("nnlib-words")?.textContent ?? "{}"));
globalThis.nnlib = { Training, answerOf, fitPicture, netOf }; // to try in the console
if (!SOURCE) serve(globalThis);
for (const root of globalThis.document?.querySelectorAll(".nnlib-live") ?? []) {
  const about = JSON.parse(root.firstElementChild.textContent);
  wake[about.kind]?.(root, about).then(() => (root.hidden = false));
}
