// What is drawn, made to look like a set's images by the steps and numbers of nnlib.pictures, but
// for even paper: shadows and light from one side stay. An image is {data, width, height}.

const BOXES = { mnist: 20 / 28, digits: 1, "fashion-mnist": 1 };
const [LOOK, RIM, PALE, NOISE, INK, DUST] = [280, 0.05, 0.03, 5, 0.1, 0.2];
const NOTHING = "it shows nothing; draw with more contrast";

const sum = (values) => values.reduce((a, b) => a + b, 0);
const most = (values) => values.reduce((a, b) => Math.max(a, b), 0);
const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
// The nearest whole number, of two the even one, as NumPy and Python round.
const rounded = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
const mapped = (image, change) => ({ ...image, data: image.data.map(change) });

function quantile(values, q) {
  const sorted = values.slice().sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  return sorted[Math.floor(at)] * (1 - (at % 1)) + sorted[Math.ceil(at)] * (at % 1);
}

// Return an image of this size whose pixels are `value(x, y)`.
function filled(width, height, value) {
  const data = new Float64Array(width * height);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) data[i] = value(x, y);
  return { data, width, height };
}

// Replace every row by what `change` makes of it, and then every column by what `other` does.
function separable(image, change, other = change) {
  const turned = ({ data, width, height }, how) => {
    const lines = Array.from({ length: height }, (_, y) => how(data.subarray(y * width, (y + 1) * width)));
    return filled(height, lines[0].length, (x, y) => lines[x][y]);
  };
  return turned(turned(image, change), other);
}

function blurred(image, deviation) {
  const radius = Math.floor(4 * deviation + 0.5);
  const bell = Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp(-0.5 * ((k - radius) / deviation) ** 2));
  const all = sum(bell);
  return separable(image, (line) => line.map((_, i) => bell.reduce((total, weight, k) => (
    total + (weight / all) * line[Math.max(0, Math.min(line.length - 1, i + k - radius))]), 0)));
}

// Return an image scaled by averaging, as Pillow's box filter does.
function resized(image, factor) {
  const scaled = (line) => {
    const length = Math.max(1, rounded(line.length * factor));
    const scale = line.length / length;
    const half = (Math.max(scale, 1) + 1) / 2;
    return Float64Array.from({ length }, (_, i) => {
      const centre = (i + 0.5) * scale;
      const part = line.subarray(Math.floor(centre - half) + 1, Math.floor(centre + half - 1) + 1);
      return sum(part) / part.length;
    });
  };
  return separable(image, scaled);
}

const onRim = (i, { width, height }, wide) => Math.min(
  i % width, width - 1 - (i % width), Math.floor(i / width), height - 1 - Math.floor(i / width)) < wide;
const rimOf = (image, wide) => image.data.filter((_, i) => onRim(i, image, wide));
const widthOfRim = ({ width, height }) => Math.max(1, rounded(RIM * Math.max(width, height)));

// Return each pixel's contrast with the paper, and where it is ink that noise does not explain.
function contrast(page, strokes) {
  const paper = quantile(rimOf(page, widthOfRim(page)), 0.5);
  const above = mapped(blurred(page, Math.max(page.width, page.height) / 400), (grey) => grey - paper);
  const side = sum(above.data.map((grey) => grey ** 3)) < 0 ? -1 : 1; // dark ink, or light
  const ink = mapped(above, (grey) => (side * grey) / Math.max(side < 0 ? paper : 255 - paper, 16));
  const steps = ink.data.map((value, i) => Math.abs(value - ink.data[Math.max(0, i - 2)]));
  const floor = Math.max((NOISE * quantile(steps, 0.25)) / 0.3186 / Math.SQRT2, PALE);
  const found = ink.data.filter((value) => value > floor);
  if (found.length < Math.max(4, 0.0005 * ink.data.length)) throw new Error(NOTHING);
  const threshold = strokes ? otsu(found) : Math.max(floor, INK * most(ink.data));
  return [mapped(ink, (value) => Math.max(value, 0)), mapped(ink, (value) => value > threshold)];
}

// Return the threshold whose two classes differ most: Otsu's.
function otsu(values) {
  const width = most(values) / 128;
  const counts = new Float64Array(128);
  for (const value of values) counts[Math.min(127, Math.floor(value / width))] += 1;
  const totals = counts.map((count, i) => count * (i + 0.5) * width);
  let [below, total] = [0, 0];
  const between = counts.map((count, i) => {
    below += count;
    total += totals[i];
    const rest = below * (values.length - below);
    return ((sum(totals) * below) / values.length - total) ** 2 / Math.max(rest, 1);
  });
  return (between.indexOf(most(between)) + 1) * width;
}

// Return the place of a pixel and of those about it, inside the image.
function about(i, { width, height }) {
  const [x, y] = [i % width, Math.floor(i / width)];
  const beside = (at, length) => [at - 1, at, at + 1].filter((each) => each >= 0 && each < length);
  return beside(y, height).flatMap((row) => beside(x, width).map((column) => row * width + column));
}

// Return the connected parts of what is true, each as the places of its pixels.
function connected(image) {
  const left = Uint8Array.from(image.data);
  const parts = [];
  for (let start = left.indexOf(1); start >= 0; start = left.indexOf(1, start)) {
    const part = [start];
    left[start] = 0;
    for (const i of part) {
      for (const j of about(i, image)) if (left[j]) left[part[part.push(j) - 1]] = 0;
    }
    parts.push(part);
  }
  return parts;
}

// Return left, top, width and height of some places.
function boxOf(places, { width }) {
  const spans = [places.map((i) => i % width), places.map((i) => Math.floor(i / width))];
  const [left, top] = spans.map(least);
  return [left, top, most(spans[0]) + 1 - left, most(spans[1]) + 1 - top];
}

// Return what is drawn on a page, 0 being paper, without the margins, frames and dust.
function inkOf(grey, strokes) {
  const page = resized(grey, Math.min(1, LOOK / Math.max(grey.width, grey.height)));
  const [ink, drawn] = contrast(page, strokes);
  const parts = connected(drawn);
  const length = (part) => Math.max(...boxOf(part, page).slice(2));
  const inside = parts.filter((part) => 2 * part.filter((i) => onRim(i, page, widthOfRim(page))).length < part.length);
  const kept = inside.length ? inside : parts;
  const longest = most(kept.map(length));
  const soft = new Set(kept.filter((part) => length(part) >= DUST * longest).flat().flatMap((i) => about(i, page)));
  const clean = ink.data.map((value, i) => (soft.has(i) ? value : 0));
  const end = INK * most(clean);
  const strong = [...clean.keys()].filter((i) => clean[i] > end);
  const [left, top, width, height] = boxOf(strong, page);
  return filled(width, height, (x, y) => clean[(top + y) * page.width + left + x]);
}

// Fit grey values (0 to 255) into one image (height, width) of the set; throws if they show nothing.
export function fitPicture(grey, [height, width], dataset) {
  const made = BOXES[dataset];
  if (grey.width === width && grey.height === height) {
    const turn = !made && quantile(rimOf(grey, 1), 0.5) > 127;
    if (!made || quantile(rimOf(grey, 1), 0.25) === 0) return mapped(grey, (value) => rounded(turn ? 255 - value : value));
  }
  const drawn = inkOf(grey, dataset === "mnist" || dataset === "digits");
  const ink = resized(drawn, Math.min(height / drawn.height, width / drawn.width) * (made ?? 1));
  const full = 255 / most(ink.data);
  const small = mapped(ink, (value) => rounded(value * full));
  const weights = dataset === "mnist" ? small.data : small.data.map(() => 1);
  const corner = (side, length, place) => {
    const centre = sum(weights.map((weight, i) => weight * place(i))) / sum(weights);
    return Math.max(0, Math.min(side - length, rounded((side - 1) / 2 - centre)));
  };
  const left = corner(width, small.width, (i) => i % small.width);
  const top = corner(height, small.height, (i) => Math.floor(i / small.width));
  return filled(width, height, (x, y) => {
    const [across, down] = [x - left, y - top];
    return across >= 0 && across < small.width ? small.data[down * small.width + across] ?? 0 : 0;
  });
}
