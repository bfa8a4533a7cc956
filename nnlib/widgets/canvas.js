// A canvas to draw on, and what a net answers, in the parts of canvas.html. Strokes appear at once;
// what was drawn goes to whoever answers, be it a kernel (notebook.js) or a net in the page.

const LARGEST = 512; // pixels of an uploaded picture's longer side; it will shrink far below
const [BLUE, RED] = [[33, 102, 172], [178, 24, 43]];

// Return a text in the reader's language, where there is one, with something for each {}.
let words = {};
export const _ = (text, ...fills) => fills.reduce(
  (said, fill) => said.replace("{}", fill), words[text] ?? text);
export const speak = (known) => (words = known);

// What red, green and blue a value has: of grey images as ink, and of images in colour.
export const INK = { 1: (value) => 255 - value, 3: (value) => value };
// Of weights, -127 to 127: blue is negative, white zero, red positive; in colour, grey is zero.
export const SIGNED = {
  1: (value, channel) => 247 + (((value < 0 ? BLUE : RED)[channel] - 247) * Math.abs(value)) / 127,
  3: (value) => 127.5 + value,
};

// Paint values (h, w) or (h, w, 3) on a canvas, one pixel each, in the colours of INK or SIGNED.
export function paint(canvas, values, [height, width], colours) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  const channels = values.length / (width * height);
  image.data.forEach((none, i) => {
    const channel = i % 4; // red, green, blue, alpha
    const value = values[(i >> 2) * channels + (channels === 3 ? channel : 0)];
    image.data[i] = channel === 3 ? 255 : colours[channels](value, channel);
  });
  pen.putImageData(image, 0, 0);
  return canvas;
}

// Return the pen of a canvas that is read again and again.
const penOf = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

// Return what is on a canvas: its colours, or grey values, the weights of the eye applied.
export function pictureOf(canvas, channels = 1) {
  const { width, height } = canvas;
  const from = penOf(canvas).getImageData(0, 0, width, height).data; // red, green, blue, alpha
  const data = new Uint8Array(width * height * channels).map((none, i) => (channels === 3
    ? from[4 * Math.floor(i / 3) + (i % 3)]
    : Math.round(0.299 * from[4 * i] + 0.587 * from[4 * i + 1] + 0.114 * from[4 * i + 2])));
  return { width, height, data };
}

function whiten(canvas) {
  const pen = Object.assign(penOf(canvas), { fillStyle: "white" });
  pen.fillRect(0, 0, canvas.width, canvas.height);
  canvas.covered = false;
  return pen;
}

// Lay anything drawable on white in the middle of a canvas, as large as it fits; it was not drawn
// there, and gives way to the first stroke.
function lay(canvas, image) {
  const scale = Math.min(canvas.width / image.width, canvas.height / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  const pen = whiten(canvas);
  pen.imageSmoothingEnabled = scale < 1;
  pen.drawImage(image, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  canvas.covered = true;
}

export const percent = (share) => `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)} %`;
const withSign = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;

// Let a canvas be drawn on by mouse, finger or pen; `changed` is called for every movement.
function drawable(canvas, thickness, changed) {
  let last = null;
  const stroke = (event) => {
    const box = canvas.getBoundingClientRect(); // the page may show it smaller than it is
    const scale = canvas.width / box.width;
    const to = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const look = { lineCap: "round", lineWidth: thickness.value, strokeStyle: "black" };
    const pen = Object.assign(penOf(canvas), look);
    pen.beginPath();
    pen.moveTo(...(last ?? to));
    pen.lineTo(...to);
    pen.stroke();
    last = to;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId); // the hand may leave the canvas and come back
    if (canvas.covered) whiten(canvas);
    last = null;
    stroke(event);
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const between = event.getCoalescedEvents?.() ?? []; // all that happened since the last frame
    for (const step of between.length ? between : [event]) stroke(step);
    changed();
  });
}

// Return the items of a list, made like its first, each with the value that it is to show.
function items(list, values) {
  while (list.children.length < values.length) list.append(list.firstChild.cloneNode(true));
  return values.map((value, i) => [...list.children[i].children, value]);
}

// Bring the parts in `el` to life: `read` gets pictures of so many channels, nothing where
// the canvas was cleared, `example` is called to show one. Returns what shows an answer.
export function board(el, read, example, channels = 1) {
  const part = (name) => el.querySelector(`.${name}`);
  const [canvas, message, seen] = [part("paper"), part("message"), part("seen").firstChild];

  const readFile = async ([file]) => {
    if (!file) return;
    try {
      const image = await createImageBitmap(file);
      const scale = Math.min(1, LARGEST / Math.max(image.width, image.height));
      const copy = new OffscreenCanvas(
        Math.ceil(image.width * scale), Math.ceil(image.height * scale));
      lay(copy, image);
      lay(canvas, image);
      read(pictureOf(copy, channels));
    } catch {
      message.textContent = _("cannot read {} as a picture; choose a PNG or JPEG", file.name);
    }
  };

  el.classList.add("nnlib-drawing", channels === 3 ? "colour" : "grey");
  whiten(canvas);
  if (channels === 1) drawable(canvas, part("thickness"), () => read(pictureOf(canvas)));
  part("example").onclick = example;
  part("clear").onclick = () => {
    whiten(canvas);
    read(null);
  };
  part("upload").onchange = ({ target }) => {
    readFile([...target.files]);
    target.value = ""; // the same file may be chosen again
  };
  el.ondragover = el.ondrop = (event) => {
    event.preventDefault();
    readFile(event.dataTransfer.files); // none before the drop
  };

  return (answer) => {
    message.textContent = answer.message ?? "";
    if (el.classList.toggle("waiting", !answer.seen)) return;
    const { width, height, values } = answer.seen;
    paint(seen, values, [height, width], INK);
    const largest = Math.max(...answer.bars.map((bar) => bar.probability));
    for (const [name, track, share, bar] of items(part("bars"), answer.bars)) {
      name.textContent = bar.name;
      track.style.setProperty("--share", bar.probability);
      share.textContent = percent(bar.probability);
      track.parentNode.classList.toggle("best", bar.probability === largest);
    }
    for (const [weights, number, share, unit] of items(part("units"), answer.units)) {
      paint(weights, unit.weights, [height, width], SIGNED);
      weights.setAttribute("aria-label", _("Incoming weights of hidden unit {}", unit.number));
      number.textContent = _("unit {}", unit.number);
      share.textContent = withSign(unit.contribution);
    }
    if (answer.example) lay(canvas, seen);
  };
}
