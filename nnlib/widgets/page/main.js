// Where the page's scripts begin: each live part wakes, or leaves its figure as it is. The same
// script is the worker's, since a page from a disk can load no other.

import { _, greyOf, make, pixels, ink, render, speak } from "../canvas.js";
import { learn } from "./learn.js";
import { fitPicture } from "./prepare.js";
import { netOf, readerOf } from "./reader.js";
import { Training } from "./training.js";
import { serve } from "./worker.js";

const WARM = 8; // pictures that are read beforehand: the first strokes wait no longer than others
const SOURCE = globalThis.document?.currentScript.textContent;

// Return what was packed as deflated bytes in base64.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Return a row of pictures to choose from, one stop of the Tab key, arrows within it.
function choices(group, about, images, show) {
  const [height, width] = about.shape;
  return make("div", { class: "choices", role: "radiogroup", "aria-label": _("Examples") }, ...about.labels.map((label, row) => {
    const image = images.subarray(row * height * width, (row + 1) * height * width);
    const name = _("Example {}, {}", row + 1, about.classes[label]);
    const button = make("input", { type: "radio", name: group, "aria-label": name });
    button.addEventListener("change", () => show(row));
    const picture = pixels(image, width, height, ink, name);
    picture.setAttribute("aria-hidden", true);
    return make("label", {}, button, picture);
  }));
}

const wake = {
  async draw(root, about) {
    const [weights, images] = await Promise.all([about.weights, about.images].map(unpacked));
    const model = readerOf(about, netOf(about, weights), images);
    render({ model, el: root });
    root.querySelector(".desk").append(choices(root.previousElementSibling.id, about, images, model.show),
      make("p", { class: "small" }, _("A picture of your own may be dropped here, too: best on even ground, evenly lit.")));
    const figure = root.previousElementSibling;
    const caption = figure.querySelector("figcaption") ?? figure.appendChild(make("figcaption"));
    caption.replaceChildren(...caption.querySelectorAll("b"), " ", about.said);
    figure.querySelector(".card").replaceWith(root);
    for (let time = 0; time <= WARM; time++) {
      model.show(0);
      if (time < WARM) model.read(greyOf(root.querySelector(".paper")));
    }
  },
  async learn(root, about) {
    const bytes = await unpacked(about.images);
    const x = Float64Array.from(bytes, (pixel) => pixel / 255);
    const d = bytes.length / about.labels.length;
    const split = (from, to) => ({ x: x.slice(from * d, to * d), y: about.labels.slice(from, to) });
    const data = { train: split(0, about.train), val: split(about.train, about.labels.length), classes: about.classes };
    const worker = new Worker(URL.createObjectURL(new Blob([SOURCE], { type: "text/javascript" })));
    worker.postMessage({ kind: "data", data });
    root.append(document.getElementById("nnlib-learn").content.cloneNode(true));
    learn(root, about, worker);
  },
};

speak(JSON.parse(globalThis.document?.getElementById("nnlib-words")?.textContent ?? "{}"));
globalThis.nnlib = { Training, fitPicture, netOf }; // to try in the console
if (!SOURCE) serve(globalThis);
for (const root of globalThis.document?.querySelectorAll(".nnlib-live") ?? []) {
  const about = JSON.parse(root.firstElementChild.textContent);
  wake[about.kind]?.(root, about).then(() => (root.hidden = false));
}
