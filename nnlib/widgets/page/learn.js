// The playground of the page: knobs, curves and weights of nets that a worker trains.

import { make, percent, pixels, signed } from "../canvas.js";
import { ACTIVATIONS } from "./net.js";
import { column } from "./reader.js";

const CHOICES = {
  hidden: [[], [4], [16], [32], [64], [16, 16], [64, 64]],
  activation: Object.keys(ACTIVATIONS),
  lr: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
  momentum: [0, 0.5, 0.9, 0.95],
  weight_decay: [0, 1e-5, 1e-4, 1e-3, 0.01, 0.1],
  batch_size: [1, 4, 16, 32, 64, 128, 256],
};
const COLOURS = 6;
const [OFTEN, CALM] = [100, 1000]; // milliseconds between two drawings
const OVER = { finished: "has finished", failed: "has failed: its loss is no number any more", paused: "is paused" };

const written = (value) => (Array.isArray(value) ? value.join("-") || "none" : String(value));

// Fill the knobs' lists, each with the value that the notebook has among them.
function offer(form, knobs) {
  return Object.fromEntries(Object.entries(CHOICES).map(([name, known]) => {
    const values = known.some((value) => written(value) === written(knobs[name])) ? known : [knobs[name], ...known];
    const list = form.elements[name];
    list.append(...values.map((value) => make("option", {}, written(value))));
    list.value = written(knobs[name]);
    return [name, () => values[list.selectedIndex]];
  }));
}

// Return a picture of the incoming weights (D, H) of every unit, side by side.
function weightsOf({ weights, units }, [height, width]) {
  const limit = weights.reduce((a, w) => Math.max(a, Math.abs(w)), 0) || 1;
  return Array.from({ length: units }, (_, unit) => pixels(
    column(weights, units, unit).map((w) => (127 * w) / limit), width, height, signed,
    `Incoming weights of unit ${unit} of the first layer`));
}

export function learn(root, { knobs: first, shape, said }, worker) {
  const part = (selector) => root.querySelector(selector);
  const [go, step, rate, rows] = [".go", ".step", ".rate", "tbody"].map(part);
  const values = offer(part("form"), first);
  const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM : OFTEN;
  let [run, number, drawn] = [null, 0, 0];

  const line = (chart, kind) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    node.setAttribute("class", `${kind} colour-${number % COLOURS}`);
    part(`${chart} g`).append(node);
    return node;
  };
  const begin = () => {
    const knobs = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value()]));
    const turned = Object.keys(knobs).filter((name) => written(knobs[name]) !== written(first[name]));
    const name = turned.map((each) => `${part(`[name=${each}]`).parentNode.firstChild.data.trim()} ${written(knobs[each])}`);
    const lines = [".loss", ".accuracy"].map((chart) => [line(chart, "training"), line(chart, "validation")]);
    const cells = Array.from({ length: 3 }, () => make("td"));
    const gone = make("button", { type: "button", "aria-label": `Remove run ${number + 1}` }, "×");
    const head = make("th", { scope: "row", class: `colour-${number % COLOURS}` }, String(number + 1));
    const row = make("tr", {}, head, ...cells, make("td", {}, gone));
    const made = { number: ++number, seen: [], judged: [], best: 0, lines, cells, state: "paused" };
    cells[0].append(name.join(", ") || "as given");
    rows.append(row);
    gone.addEventListener("click", () => {
      [row, ...lines.flat()].forEach((node) => node.remove());
      if (run === made) [run] = [null, worker.postMessage({ kind: "pause" }), say("")];
      go.focus();
    });
    [run, rate.value] = [made, 0];
    worker.postMessage({ kind: "start", knobs: { ...knobs, seed: first.seed } });
  };
  const say = (state) => {
    if (run) run.state = state;
    const learning = run?.state === "learning";
    go.textContent = learning ? "Pause" : run?.state === "paused" ? "Go on" : "Train";
    rate.disabled = !run || Boolean(run.state in OVER && run.state !== "paused");
    part(".status").textContent = run ? `Run ${run.number} ${learning ? "is learning" : OVER[state]}.` : "There is no run.";
  };
  const start = () => {
    worker.postMessage({ kind: "go" });
    say("learning");
  };
  const draw = () => {
    const points = (list, name) => list.map((each) => `${each.epoch},${each[name]}`).join(" ");
    ["loss", "accuracy"].forEach((name, chart) => [run.seen, run.judged].forEach((list, kind) => (
      run.lines[chart][kind].setAttribute("points", points(list, name)))));
    part(".weights").replaceChildren(...weightsOf(run.seen.at(-1), shape));
    run.cells[1].textContent = run.seen.at(-1).epoch.toFixed(1);
    run.cells[2].textContent = run.judged.length ? percent(run.best) : "–";
    drawn = performance.now();
  };

  worker.addEventListener("message", ({ data: { kind, judged, ...seen } }) => {
    if (!run) return;
    run.seen.push(seen);
    if (judged) run.judged.push({ epoch: seen.epoch, ...judged });
    run.best = Math.max(run.best, judged?.accuracy ?? 0);
    if (kind !== "seen") say(kind);
    if (run.state !== "learning" || performance.now() - drawn > pause) draw();
  });
  part("form").addEventListener("change", () => [begin(), start()]);
  go.addEventListener("click", () => {
    if (run?.state === "learning") return [worker.postMessage({ kind: "pause" }), say("paused")];
    if (run?.state !== "paused") begin();
    return start();
  });
  step.addEventListener("click", () => {
    if (!run || run.state in OVER && run.state !== "paused") begin();
    worker.postMessage({ kind: "step" });
    say("paused");
  });
  rate.addEventListener("input", () => {
    const factor = 10 ** rate.value;
    part("output").textContent = factor.toPrecision(2);
    worker.postMessage({ kind: "rate", factor });
  });
  part(".said").textContent = said;
}
