// The playground of the page: knobs, curves and weights of nets that a worker trains.

import { _, make, percent, pixels, signed } from "../canvas.js";
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
const CHARTS = ["loss", "accuracy"];
const COLOURS = 6;
const [OFTEN, CALM] = [100, 1000]; // milliseconds between two drawings
const SAID = {
  learning: (number) => _("Run {} is learning.", number),
  paused: (number) => _("Run {} is paused.", number),
  finished: (number) => _("Run {} has finished.", number),
  removed: (number) => _("Run {} is removed.", number),
  failed: (number) => _("Run {} has failed: its loss is no number any more.", number),
};

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
  return Array.from({ length: units }, (none, unit) => pixels(
    column(weights, units, unit).map((w) => (127 * w) / limit), width, height, signed,
    _("Incoming weights of unit {} of the first layer", unit)));
}

// Return a new run's lines in the charts and its row in the table, in its colour.
function shown(root, number, name, remove) {
  const colour = `colour-${number % COLOURS}`;
  const line = (chart, kind) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    node.setAttribute("class", `${kind} ${colour}`);
    root.querySelector(`.${chart} g`).append(node);
    return node;
  };
  const lines = CHARTS.map((chart) => [line(chart, "training"), line(chart, "validation")]);
  const cells = [make("td"), make("td")];
  const gone = make("button", { type: "button", "aria-label": _("Remove run {}", number) }, "×");
  const row = make("tr", {}, make("th", { scope: "row", class: colour }, String(number)), make("td", {}, name),
    ...cells, make("td", {}, gone));
  root.querySelector("tbody").append(row);
  gone.addEventListener("click", () => {
    for (const node of [row, ...lines.flat()]) node.remove();
    remove();
  });
  return { lines, cells };
}

export function learn(root, { knobs: first, shape, said }, worker) {
  const part = (selector) => root.querySelector(selector);
  const [go, step] = [".go", ".step"].map(part);
  const values = offer(part("form"), first);
  const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM : OFTEN;
  let [run, number, drawn] = [null, 0, 0];

  const say = (state) => {
    run.state = state;
    go.textContent = { learning: _("Pause"), paused: _("Go on") }[state] ?? _("Train");
    part(".status").textContent = SAID[state](run.number);
  };
  const order = (kind, more) => worker.postMessage({ kind, ...more });
  const begin = () => {
    const knobs = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value()]));
    const turned = Object.keys(knobs).filter((name) => written(knobs[name]) !== written(first[name]));
    const words = turned.map((name) => part(`[name=${name}]`).parentNode.firstChild.data + written(knobs[name]));
    number += 1;
    const made = { number, seen: [], judged: [], best: 0 };
    Object.assign(made, shown(root, number, words.join(", ") || "as given", () => {
      if (run === made) {
        order("pause");
        say("removed");
      }
      go.focus();
    }));
    run = made;
    order("start", { knobs: { ...knobs, seed: first.seed }, number });
  };
  const start = (begins) => {
    if (begins) begin();
    order("go");
    say("learning");
  };
  const draw = () => {
    const last = run.seen.at(-1);
    CHARTS.forEach((name, chart) => [run.seen, run.judged].forEach((list, kind) => {
      run.lines[chart][kind].setAttribute("points", list.map((at) => `${at.epoch},${at[name]}`).join(" "));
    }));
    part(".weights").replaceChildren(...weightsOf(last, shape));
    run.cells[0].textContent = last.epoch.toFixed(1);
    run.cells[1].textContent = run.judged.length ? percent(run.best) : "–";
    drawn = performance.now();
  };

  worker.addEventListener("message", ({ data: { kind, judged, ...seen } }) => {
    if (seen.number !== run.number) return; // of a run that has given way to this one
    if (kind !== "failed") run.seen.push(seen);
    if (judged) run.judged.push({ epoch: seen.epoch, ...judged });
    run.best = Math.max(run.best, judged?.accuracy ?? 0);
    if (kind !== "seen") say(kind);
    if (run.seen.length && (run.state !== "learning" || performance.now() - drawn > pause)) draw();
  });
  part("form").addEventListener("change", () => start(true));
  go.addEventListener("click", () => {
    if (run?.state !== "learning") return start(run?.state !== "paused");
    order("pause");
    say("paused");
  });
  step.addEventListener("click", () => {
    if (run?.state !== "learning" && run?.state !== "paused") begin();
    order("step");
    say("paused");
  });
  part(".said").textContent = said;
}
