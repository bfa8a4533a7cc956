// The canvas of nnlib.drawing. Strokes appear at once, without asking the kernel, which gets the
// picture a few times a second as `picture` and gives back what the net makes of it as `answer`.

const SIDE = 280; // pixels of the canvas, ten for each of MNIST's
const PAUSE = 80; // milliseconds between two pictures that are sent
const REST = 1000; // milliseconds without a picture after which the hand rests
const LARGEST = 512; // pixels of an uploaded picture's longer side; it will shrink far below
const PEN = 22; // pixels: as thick as in MNIST, where a digit of 20 pixels has strokes of 2 to 3
const BLUE = [33, 102, 172];
const RED = [178, 24, 43];

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Return a text in the reader's language, where the kernel has sent one, with a number for {}.
let words = {};
export const _ = (text, ...fills) => fills.reduce((said, fill) => said.replace("{}", fill), words[text] ?? text);
export function speak(known) { words = known; }

// Put off calls so that one is made every `pause` milliseconds at most, and none is lost.
function throttled(action, pause) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      action();
    }, pause);
  };
}

// Put off a call for as long as it is asked for again.
function rested(action, pause) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, pause);
  };
}

// Return the pen of a canvas that is read again and again.
const penOf = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

// Return what is on a canvas as grey values, the weights of the eye applied.
export function greyOf(canvas) {
  const { width, height } = canvas;
  const { data } = penOf(canvas).getImageData(0, 0, width, height); // red, green, blue, alpha
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) {
    grey[i] = Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
  }
  return { width, height, grey: new DataView(grey.buffer) };
}

function whiten(canvas) {
  const pen = penOf(canvas);
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  return pen;
}

// Draw anything drawable in the middle of a canvas, as large as it fits.
export function lay(canvas, image) {
  const scale = Math.min(canvas.width / image.width, canvas.height / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  const pen = whiten(canvas);
  pen.imageSmoothingEnabled = scale < 1;
  pen.drawImage(image, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}

// Return a canvas of one pixel a value; `colour` turns a value into [red, green, blue].
export function pixels(values, width, height, colour, label) {
  const canvas = make("canvas", { width, height, role: "img", "aria-label": label });
  const image = canvas.getContext("2d").createImageData(width, height);
  values.forEach((value, i) => image.data.set([...colour(value), 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export const ink = (value) => [255 - value, 255 - value, 255 - value];

// Blue is negative, white zero, red positive, as in the report's figures.
export function signed(value) {
  const full = value < 0 ? BLUE : RED;
  return full.map((channel) => Math.round(247 + (channel - 247) * Math.min(1, Math.abs(value) / 127)));
}

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const signedBytes = (view) => new Int8Array(view.buffer, view.byteOffset, view.byteLength);
export const percent = (share) => `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)} %`;
const withSign = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;

// Let a canvas be drawn on by mouse, finger or pen; `changed` is called for every movement.
function drawable(canvas, width, changed) {
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect(); // the page may show it smaller than it is
    return [
      ((event.clientX - box.left) * canvas.width) / box.width,
      ((event.clientY - box.top) * canvas.height) / box.height,
    ];
  };
  const stroke = (to) => {
    const pen = penOf(canvas);
    Object.assign(pen, { lineCap: "round", lineWidth: width(), strokeStyle: "black" });
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...to);
    pen.stroke();
    last = to;
  };
  const move = (event) => {
    if (!event.isPrimary) return;
    if (event.buttons === 0) return end(event); // it was let go outside the window
    const between = event.getCoalescedEvents?.() ?? []; // all that happened since the last frame
    for (const step of between.length ? between : [event]) stroke(place(step));
    changed("move");
  };
  const end = (event) => {
    if (event.isPrimary) listen("removeEventListener");
  };
  const listen = (how) => {
    // of the window: the hand may leave the canvas and come back
    window[how]("pointermove", move);
    window[how]("pointerup", end);
    window[how]("pointercancel", end);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    changed("begin");
    last = place(event);
    stroke(last);
    listen("addEventListener");
  });
}

function bars(shown) {
  return shown.map(({ name, probability }) => {
    const fill = make("span", { class: "fill", style: `width: ${100 * probability}%` });
    const track = make("span", { class: "track", "aria-hidden": "true" }, fill);
    const row = make("li", {}, make("span", { class: "name" }, name), track, percent(probability));
    if (shown.every((other) => other.probability <= probability)) row.classList.add("best");
    return row;
  });
}

function unitFigures(units, { width, height }) {
  return units.map(({ number, contribution, weights }) => {
    const label = _("Incoming weights of hidden unit {}", number);
    const picture = pixels(signedBytes(weights), width, height, signed, label);
    const share = make("b", {}, withSign(contribution));
    return make("figure", {}, picture, make("figcaption", {}, _("unit {}", number), make("br"), share));
  });
}

export function render({ model, el }) {
  words = model.get("words") ?? words;
  const canvas = make("canvas", { width: SIDE, height: SIDE, class: "paper", role: "img",
    "aria-label": _("Canvas: draw here with mouse, finger or pen") });
  const clear = make("button", { type: "button", class: "clear" }, _("Clear"));
  const example = make("button", { type: "button", class: "example" }, _("An example"));
  const pen = make("input", { type: "range", min: 8, max: 44, value: PEN, class: "thickness" });
  const file = make("input", { type: "file", accept: "image/*", class: "upload" });
  const message = make("p", { class: "message", "aria-live": "polite" });
  const seen = make("div", { class: "seen" });
  const probabilities = make("ul", { class: "bars", "aria-label": _("Probabilities") });
  const units = make("div", { class: "units" });
  let used = true; // what is on the canvas was not drawn, and gives way to the first stroke

  const rest = rested(() => model.send({ kind: "rest" }), REST);
  const send = (picture) => {
    model.set("picture", picture);
    model.save_changes();
    rest();
  };
  const sendDrawing = throttled(() => used || send(greyOf(canvas)), model.get("pause") ?? PAUSE);
  const empty = () => {
    whiten(canvas);
    used = true;
  };

  drawable(canvas, () => Number(pen.value), (what) => {
    if (what === "begin" && used) {
      empty();
      used = false;
    }
    sendDrawing();
  });
  clear.addEventListener("click", () => {
    empty();
    send({});
  });
  example.addEventListener("click", () => {
    model.send({ kind: "example" });
    rest();
  });
  const readFile = async ([chosen]) => {
    if (!chosen) return;
    try {
      const image = await createImageBitmap(chosen);
      const scale = Math.min(1, LARGEST / Math.max(image.width, image.height));
      const copy = make("canvas", { width: Math.max(1, Math.round(image.width * scale)),
        height: Math.max(1, Math.round(image.height * scale)) });
      lay(copy, image);
      lay(canvas, image);
      used = true;
      send(greyOf(copy));
    } catch {
      message.textContent = _("cannot read {} as a picture; choose a PNG or JPEG", chosen.name);
    }
  };
  file.addEventListener("change", () => {
    readFile([...file.files]);
    file.value = ""; // the same file may be chosen again
  });
  el.addEventListener("dragover", (event) => event.preventDefault());
  el.addEventListener("drop", (event) => {
    event.preventDefault();
    readFile(event.dataTransfer.files);
  });

  const answer = () => {
    const said = model.get("answer");
    message.textContent = said.message ?? "";
    seen.replaceChildren();
    probabilities.replaceChildren(...bars(said.bars ?? []));
    units.replaceChildren(...(said.units ? unitFigures(said.units, said.seen) : []));
    if (!said.seen) return;
    const { width, height, values } = said.seen;
    const small = pixels(bytes(values), width, height, ink, _("The image that the net sees"));
    seen.append(small);
    if (said.example) {
      lay(canvas, small);
      used = true;
    }
  };
  model.on("change:answer", answer);

  const title = (text, pane) => make("section", {}, make("p", { class: "title" }, text), pane);
  for (const button of [clear, example]) {
    button.dataset.lmSuppressShortcuts = "true"; // Enter presses it, and does not edit the cell
    button.addEventListener("mousedown", (event) => event.preventDefault()); // leaves the focus
  }
  el.classList.add("nnlib-drawing");
  el.append(
    make("div", { class: "desk" }, canvas,
      make("div", { class: "tools" }, clear, example,
        make("label", {}, `${_("Picture")} `, file), make("label", {}, `${_("Thickness")} `, pen))),
    make("div", { class: "result" }, message,
      make("div", { class: "panes" }, title(_("What the net sees"), seen),
        title(_("Probabilities"), probabilities)),
      title(_("Hidden units that decided, and what each adds to the answer"), units)),
  );
  empty();
  answer();
  return () => model.off("change:answer", answer);
}

export default { render };
