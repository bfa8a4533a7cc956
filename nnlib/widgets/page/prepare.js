// What is drawn, made to look like a set's images by the steps and numbers of nnlib.pictures. It is
// for even paper: shadows, lines and frames stay. An image is {data, width, height}, row by row.

const BOXES = { mnist: 20 / 28, digits: 1, "fashion-mnist": 1 };
const [LOOK, RIM, PALE, NOISE, INK, DUST] = [280, 0.05, 0.03, 5, 0.1, 0.2];
const BLUR = 4; // pixels about what is drawn
const MANY = 2000; // values that tell a quantile
const NOTHING = "it shows nothing; draw with more contrast";

const sum = (values) => values.reduce((a, b) => a + b, 0);
const most = (values) => values.reduce((a, b) => Math.max(a, b), 0);
// The nearest whole number, of two the even one, as NumPy and Python round.
const rounded = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
const mapped = (image, change) => ({ ...image, data: image.data.map(change) });

// Return a quantile of some values, of many by looking at a part of them.
function quantile(values, q) {
  const stride = Math.ceil(values.length / MANY);
  const sorted = values.filter((_, i) => i % stride === 0).sort(); // numbers of a typed array, by size
  return sorted[Math.floor(q * (sorted.length - 1))];
}

// Return an image of this size whose pixels are `value(x, y)`.
function filled(width, height, value) {
  const data = new Float64Array(width * height);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) data[i] = value(x, y);
  return { data, width, height };
}

function blurred({ data, width, height }, deviation) {
  const radius = Math.floor(4 * deviation + 0.5);
  const bell = Float64Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp(-0.5 * ((k - radius) / deviation) ** 2));
  const all = sum(bell);
  const along = (from, step, length) => from.map((_, i) => {
    const first = i - step * (Math.floor(i / step) % length);
    const last = first + step * (length - 1);
    let total = 0;
    for (let k = 0, at = i - step * radius; k < bell.length; k++, at += step) {
      total += bell[k] * from[at < first ? first : at > last ? last : at];
    }
    return total / all;
  });
  return { data: along(along(data, 1, width), width, height), width, height };
}

// Return an image scaled by averaging, as Pillow's box filter does.
function resized(image, factor) {
  const turned = ({ data, width, height }) => { // every row scaled, and made a column
    const length = Math.max(1, rounded(width * factor));
    const scale = width / length;
    const half = (Math.max(scale, 1) + 1) / 2;
    return filled(height, length, (row, i) => {
      const centre = (i + 0.5) * scale;
      const [first, last] = [Math.max(0, Math.floor(centre - half) + 1), Math.min(width - 1, Math.floor(centre + half - 1))];
      let total = 0;
      for (let x = first; x <= last; x++) total += data[row * width + x];
      return total / (last - first + 1);
    });
  };
  return turned(turned(image));
}

// Return the pixels about the edge of an image.
function rimOf({ data, width, height }, wide) {
  const across = Math.min(data.length, wide * width);
  const sides = filled(2 * wide, height, (x, y) => data[y * width + (x < wide ? x : width - 1 - x + wide)]);
  return Float64Array.of(...data.subarray(0, across), ...data.subarray(data.length - across), ...sides.data);
}

// Return left, top, width and height of where a value passes a test.
function boxOf({ data, width }, test) {
  let [left, top, right, bottom] = [width, Infinity, -1, -1];
  for (let i = 0; i < data.length; i++) {
    if (!test(data[i])) continue;
    const x = i % width;
    if (x < left) left = x;
    if (x > right) right = x;
    bottom = Math.floor(i / width);
    if (top > bottom) top = bottom;
  }
  return [left, top, right - left + 1, bottom - top + 1];
}

const cut = ({ data, width }, [left, top, wide, high]) => (
  filled(wide, high, (x, y) => data[(top + y) * width + left + x]));

// Return the part of a page that is not bare paper, as contrast with it, and which of that is ink.
function contrast(page, strokes) {
  const side = Math.max(page.width, page.height);
  const paper = quantile(rimOf(page, Math.max(1, rounded(RIM * side))), 0.5);
  const [left, top, width, height] = boxOf(page, (grey) => Math.abs(grey - paper) > 1);
  if (width < 1) throw new Error(NOTHING);
  const [x, y] = [Math.max(0, left - BLUR), Math.max(0, top - BLUR)]; // with room to blur it
  const [toX, toY] = [Math.min(page.width, left + width + BLUR), Math.min(page.height, top + height + BLUR)];
  const above = mapped(blurred(cut(page, [x, y, toX - x, toY - y]), side / 400), (grey) => grey - paper);
  const sign = above.data.reduce((total, grey) => total + grey ** 3, 0) < 0 ? -1 : 1; // dark ink, or light
  const ink = mapped(above, (grey) => Math.max(0, (sign * grey) / Math.max(sign < 0 ? paper : 255 - paper, 16)));
  const steps = ink.data.map((value, i) => Math.abs(value - ink.data[Math.max(0, i - 2)]));
  const floor = Math.max((NOISE * quantile(steps, 0.25)) / 0.3186 / Math.SQRT2, PALE);
  const found = ink.data.filter((value) => value > floor);
  if (found.length < Math.max(4, 0.0005 * page.data.length)) throw new Error(NOTHING);
  const threshold = strokes ? otsu(found) : Math.max(floor, INK * most(found));
  return [ink, mapped(ink, (value) => value > threshold)];
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

// Return the connected parts of what is true: the places of the pixels of each, and its longer side.
function connected({ data, width, height }) {
  const left = Uint8Array.from(data);
  const parts = [];
  for (let start = left.indexOf(1); start >= 0; start = left.indexOf(1, start)) {
    const places = [start];
    let [first, last, lowest] = [width, 0, 0];
    left[start] = 0;
    for (const at of places) { // grows meanwhile
      const [x, y] = [at % width, Math.floor(at / width)];
      [first, last, lowest] = [Math.min(first, x), Math.max(last, x), Math.max(lowest, y)];
      near(at, { width, height }, (i) => {
        if (left[i]) left[places[places.push(i) - 1]] = 0;
      });
    }
    parts.push({ places, length: 1 + Math.max(last - first, lowest - Math.floor(start / width)) });
  }
  return parts;
}

// Do something at a place and at the places about it.
function near(at, { width, height }, action) {
  const [x, y] = [at % width, Math.floor(at / width)];
  for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
    for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) action(row * width + column);
  }
}

// Return what is drawn on a page, 0 being paper, without margins and dust.
function inkOf(grey, strokes) {
  const factor = LOOK / Math.max(grey.width, grey.height);
  const [ink, drawn] = contrast(factor < 1 ? resized(grey, factor) : grey, strokes);
  const parts = connected(drawn);
  const longest = Math.max(...parts.map((part) => part.length));
  const clean = mapped(ink, () => 0);
  for (const { places, length } of parts) {
    if (length >= DUST * longest) for (const at of places) near(at, ink, (i) => (clean.data[i] = ink.data[i]));
  }
  const end = INK * most(clean.data);
  return cut(clean, boxOf(clean, (value) => value > end));
}

// Fit grey values (0 to 255) into one image (height, width) of the set; throws if they show nothing.
export function fitPicture(grey, [height, width], dataset) {
  const made = BOXES[dataset];
  if (grey.width === width && grey.height === height) {
    const rim = rimOf(grey, 1);
    if (!made && quantile(rim, 0.5) > 127) return mapped(grey, (value) => 255 - value);
    if (!made || quantile(rim, 0.25) === 0) return grey;
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
  const inside = (x) => x >= left && x < left + small.width;
  return filled(width, height, (x, y) => (inside(x) && small.data[(y - top) * small.width + x - left]) || 0);
}
