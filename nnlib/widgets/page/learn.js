// The playground of the page: knobs, curves and weights of nets that a worker trains.

import { SIGNED, _, paint, percent } from "../canvas.js";
import { column, limitOf } from "./reader.js";

const COLOURS = 6;
const [OFTEN, CALM] = [100, 1000]; // milliseconds between two drawings
const READ = {
  hidden: (text) => (text === "none" ? [] : text.split("-").map(Number)),
  activation: String,
};

// Return a new run: its row in the table, and in each chart lines of its colour.
function begun(root, number, name) {
  const colour = `colour-${number % COLOURS}`;
  const body = root.querySelector("tbody");
  body.append(body.querySelector("template").content.cloneNode(true));
  const row = body.lastElementChild;
  const [head, turned] = row.cells;
  head.className = colour;
  [head.textContent, turned.textContent] = [number, name];
  const gone = row.querySelector("button");
  gone.ariaLabel = gone.ariaLabel.replace("{}", number);
  const lines = [...root.querySelectorAll(".runs")].map((runs) => {
    runs.insertAdjacentHTML("beforeend", `<g class="${colour}"><polyline class="training"/>`
      + '<polyline class="validation"/></g>');
    return runs.lastElementChild;
  });
  return { number, row, lines, gone, seen: [], judged: [], best: 0 };
}

// Return pictures of the incoming weights (D, H) of every unit, all on one scale.
function weightsOf({ W, units }, shape) {
  const limit = limitOf(W) || 1;
  return Array.from({ length: units }, (none, unit) => {
    const canvas = document.createElement("canvas");
    const ariaLabel = _("Incoming weights of unit {} of the first layer", unit);
    Object.assign(canvas, { role: "img", ariaLabel });
    return paint(canvas, column(W, units, unit).map((w) => (127 * w) / limit), shape, SIGNED);
  });
}

export function learn(root, { shape }, worker) {
  const [form, go, step, status, weights] = ["form", ".go", ".step", ".status", ".weights"].map(
    (selector) => root.querySelector(selector));
  const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM : OFTEN;
  let [run, number, drawn] = [null, 0, 0];

  const order = (kind, more) => worker.postMessage({ kind, ...more });
  const say = (state) => {
    run.state = state;
    go.textContent = go.dataset[state] ?? go.dataset.other;
    status.textContent = status.dataset[state].replace("{}", run.number);
  };
  const begin = () => {
    const turned = [...form.querySelectorAll("option:checked")].filter((o) => !o.defaultSelected);
    const name = turned.map((option) => option.closest("label").firstChild.data + option.text);
    const mine = begun(root, ++number, name.join(", ") || "as given");
    mine.gone.addEventListener("click", () => {
      for (const node of [mine.row, ...mine.lines]) node.remove();
      if (run === mine) {
        order("pause");
        say("removed");
      }
      go.focus();
    });
    run = mine;
    const knobs = [...new FormData(form)].map(([key, text]) => [key, (READ[key] ?? Number)(text)]);
    order("start", { knobs: Object.fromEntries(knobs), run: number });
  };
  const start = (state) => {
    if (state !== "paused") begin();
    order("go");
    say("learning");
  };
  const draw = () => {
    const last = run.seen.at(-1);
    ["loss", "accuracy"].forEach((name, chart) => [run.seen, run.judged].forEach((list, kind) => {
      const points = list.map((at) => `${at.epoch},${at[name]}`).join(" ");
      run.lines[chart].children[kind].setAttribute("points", points);
    }));
    weights.replaceChildren(...weightsOf(last, shape));
    run.row.cells[2].textContent = last.epoch.toFixed(1);
    run.row.cells[3].textContent = run.judged.length ? percent(run.best) : "–";
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
  form.addEventListener("change", start);
  go.addEventListener("click", () => {
    if (run?.state !== "learning") return start(run?.state);
    order("pause");
    say("paused");
  });
  step.addEventListener("click", () => {
    if (!["learning", "paused"].includes(run?.state)) begin();
    order("step");
    say("paused");
  });
}
