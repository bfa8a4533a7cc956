// A picture of one's own, made to look like a set's images: by the steps and numbers of
// nnlib.pictures, but for even paper (shadows, lines and frames stay). An image is {data, width,
// height}: grey values row by row, or red, green and blue in turn, which are 3 channels.

const BOXES = { mnist: 20 / 28, digits: 1, "fashion-mnist": 1 };
const [LOOK, RIM, PALE, EDGE, DUST] = [280, 0.05, 0.03, 0.1, 0.08];

const sum = (values) => values.reduce((a, b) => a + b, 0);
const most = (values) => values.reduce((a, b) => Math.max(a, b), 0);
const quantile = (values, q) => values.slice().sort()[Math.floor(q * (values.length - 1))];
// The nearest whole number, of two the even one, as NumPy and Python round.
const rounded = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

// Return the pixels about the edge of an image.
const rimOf = ({ data, width }, wide) => data.filter((grey, i) => Math.min(
  i % width, width - 1 - (i % width), i / width, (data.length - 1 - i) / width) < wide);

// Return left, top, width and height of where values are above this one.
function boxOf({ data, width }, floor) {
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
  data.forEach((value, i) => {
    if (value <= floor) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  });
  return [left, top, right - left + 1, bottom - top + 1];
}

// Return a box of an image in another size, by averaging, as Pillow's box filter does.
function resized(image, [left, top, wide, high], width, height, channels = 1) {
  const spans = (first, scale, length, end) => Array.from({ length }, (none, i) => {
    const [centre, half] = [first + (i + 0.5) * scale, (Math.max(scale, 1) + 1) / 2];
    return [Math.max(0, Math.floor(centre - half) + 1), Math.min(end, Math.floor(centre + half))];
  });
  const columns = spans(left, wide / width, width, image.width);
  const rows = spans(top, high / height, height, image.height);
  const { data } = image;
  const means = new Float64Array(width * height * channels).map((none, i) => {
    const pixel = Math.floor(i / channels);
    const [[x, right], [y, below]] = [columns[pixel % width], rows[Math.floor(pixel / width)]];
    let total = 0;
    for (let row = y * image.width; row < below * image.width; row += image.width) {
      for (let at = row + x; at < row + right; at++) total += data[at * channels + (i % channels)];
    }
    return total / (right - x) / (below - y);
  });
  return { data: means, width, height };
}

// Return the threshold halfway between the means of the values on its sides: as Otsu's, the one
// that parts two classes best, found step by step (Ridler and Calvard 1978).
function parting(values) {
  const mean = (some) => sum(some) / (some.length || 1);
  let threshold = 0.65 * most(values); // above what is a shadow at most
  for (let step = 0; step < 8; step++) {
    const above = values.filter((value) => value > threshold);
    threshold = (mean(above) + mean(values.filter((value) => value <= threshold))) / 2;
  }
  return threshold;
}

// Return ink without what is dust: of its connected parts, those much smaller than the largest.
function dusted({ data, width, height }, threshold) {
  const around = [-1, 0, 1].flatMap((x) => [x - width, x, x + width]);
  const left = data.map((value) => value > threshold);
  const parts = [];
  for (let start = left.indexOf(1); start >= 0; start = left.indexOf(1, start)) {
    const part = [start];
    left[start] = 0;
    for (const at of part) { // grows meanwhile
      for (const step of around) {
        if (left[at + step]) part.push(at + step);
        left[at + step] = 0;
      }
    }
    parts.push(part);
  }
  const largest = most(parts.map((part) => part.length));
  const clean = new Float64Array(data.length);
  for (const part of parts.filter(({ length }) => length >= DUST * largest)) {
    for (const at of part) for (const step of around) clean[at + step] = data[at + step];
  }
  return { data: clean, width, height };
}

// Return what is drawn on a page, 0 being paper; null where it shows nothing.
function inkOf(page, strokes) {
  const paper = quantile(rimOf(page, Math.max(1, RIM * Math.max(page.width, page.height))), 0.5);
  const near = Math.exp(-0.5 / (Math.max(page.width, page.height) / 400) ** 2); // blurred a little
  const along = (values, step) => values.map((value, i) => (
    (value + near * ((values[i - step] ?? value) + (values[i + step] ?? value))) / (1 + 2 * near)));
  const above = along(along(Float64Array.from(page.data, (grey) => grey - paper), 1), page.width);
  const sign = Math.sign(sum(above.map((grey) => grey * grey * grey))) || 1; // of light ink or dark
  const full = Math.max(sign < 0 ? paper : 255 - paper, 16);
  const ink = above.map((grey) => Math.max(0, (sign * grey) / full));
  const found = ink.filter((value) => value > PALE);
  if (found.length < Math.max(4, 0.0005 * ink.length)) return null;
  const threshold = strokes ? parting(found) : Math.max(PALE, EDGE * most(found));
  return dusted({ ...page, data: ink }, threshold);
}

// Return the middle of a picture in colour, as large as it covers a frame.
function covered(picture, wide, high) {
  const scale = Math.min(picture.width / wide, picture.height / high);
  const [across, down] = [wide * scale, high * scale];
  const box = [(picture.width - across) / 2, (picture.height - down) / 2, across, down];
  return resized(picture, box, wide, high, 3).data.map(rounded);
}

// Return an image in a frame, the centre of its weights in the middle as far as it stays inside.
function placed({ data, width, height }, wide, high, weights) {
  const corner = (side, length, place) => {
    const centre = sum(weights.map((weight, i) => weight * place(i))) / sum(weights);
    return Math.max(0, Math.min(side - length, rounded((side - 1) / 2 - centre)));
  };
  const left = corner(wide, width, (i) => i % width);
  const top = corner(high, height, (i) => Math.floor(i / width));
  const frame = new Float64Array(wide * high);
  for (let y = 0; y < height; y++) {
    frame.set(data.subarray(y * width, (y + 1) * width), (top + y) * wide + left);
  }
  return frame;
}

// Return the pixels of a picture as an image of the set, of this shape; null if it shows nothing.
export function fitPicture(picture, [high, wide, channels], dataset) {
  if (channels) return covered(picture, wide, high);
  const made = BOXES[dataset];
  if (picture.width === wide && picture.height === high) {
    const rim = rimOf(picture, 1);
    if (!made && quantile(rim, 0.5) > 127) return picture.data.map((value) => 255 - value);
    if (!made || quantile(rim, 0.25) === 0) return picture.data;
  }
  const scaled = (image, box, factor) => resized(
    image, box, ...box.slice(2).map((length) => Math.max(1, rounded(length * factor))));
  const whole = [0, 0, picture.width, picture.height];
  const factor = LOOK / Math.max(...whole);
  const page = factor < 1 ? scaled(picture, whole, factor) : picture;
  const drawn = inkOf(page, dataset === "mnist" || dataset === "digits");
  if (!drawn) return null;
  const box = boxOf(drawn, EDGE * most(drawn.data));
  const ink = scaled(drawn, box, Math.min(wide / box[2], high / box[3]) * (made ?? 1));
  const full = 255 / most(ink.data); // a thin pen fades when it shrinks
  ink.data = ink.data.map((value) => rounded(value * full));
  return placed(ink, wide, high, dataset === "mnist" ? ink.data : ink.data.map(() => 1));
}
