// The playground of the page: knobs, curves and weights of nets that a worker trains.

import { SIGNED, _, paint, percent } from "../canvas.js";
import { column, limitOf } from "./reader.js";

const COLOURS = 6;
const [OFTEN, CALM] = [100, 1000]; // milliseconds between two drawings

// Return a new run: its row in the table, and in each chart lines of its colour.
function begun(root, number, name) {
  const colour = `colour-${number % COLOURS}`;
  const body = root.querySelector("tbody");
  body.append(body.querySelector("template").content.cloneNode(true));
  const row = body.lastElementChild;
  const [head, turned] = row.cells;
  [head.className, head.textContent, turned.textContent] = [colour, number, name];
  const gone = row.querySelector("button");
  gone.ariaLabel = gone.ariaLabel.replace("{}", number);
  const lines = [...root.querySelectorAll(".runs")].map((runs) => {
    runs.insertAdjacentHTML("beforeend", `<g class="${colour}"><polyline class="training"/>`
      + '<polyline class="validation"/></g>');
    return runs.lastElementChild;
  });
  return { number, row, lines, gone, seen: [], judged: [] };
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

export function learn(root, { shape, knobs: { seed } }, data, worker) {
  const [form, go, step, status, weights] = ["form", ".go", ".step", ".status", ".weights"].map(
    (selector) => root.querySelector(selector));
  const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM : OFTEN;
  let [run, number, drawn] = [null, 0, 0];

  const act = (kind, state) => {
    worker.postMessage({ kind });
    run.state = state;
    go.textContent = go.dataset[state] ?? go.dataset.other;
    status.textContent = status.dataset[state].replace("{}", run.number);
  };
  const begin = () => {
    const chosen = [...form.querySelectorAll("option:checked")];
    const name = chosen.filter((option) => !option.defaultSelected).map(
      (option) => option.closest("label").firstChild.data + option.text);
    const mine = begun(root, ++number, name.join(", ") || "as given");
    mine.gone.onclick = () => {
      for (const node of [mine.row, ...mine.lines]) node.remove();
      if (run === mine) act("pause", "removed");
      go.focus();
    };
    run = mine;
    const knobs = Object.fromEntries(chosen.map(
      (option) => [option.parentNode.name, JSON.parse(option.dataset.value)]));
    worker.postMessage({ kind: "start", data, knobs: { ...knobs, seed }, number });
  };
  const draw = () => {
    const last = run.seen.at(-1);
    ["loss", "accuracy"].forEach((name, chart) => [run.seen, run.judged].forEach((list, kind) => {
      const points = list.map((at) => `${at.epoch},${at[name]}`).join(" ");
      run.lines[chart].children[kind].setAttribute("points", points);
    }));
    weights.replaceChildren(...weightsOf(last, shape));
    run.row.cells[2].textContent = last.epoch.toFixed(1);
    const shares = run.judged.map(({ accuracy }) => accuracy);
    run.row.cells[3].textContent = shares.length ? percent(Math.max(...shares)) : "–";
    drawn = performance.now();
  };

  worker.onmessage = ({ data: { kind, judged, ...seen } }) => {
    if (seen.run !== run.number) return; // of a run that has given way to this one
    if (kind !== "failed") run.seen.push(seen);
    if (judged) run.judged.push({ epoch: seen.epoch, ...judged });
    if (kind !== "seen") act("pause", kind);
    if (run.seen.length && (run.state !== "learning" || performance.now() - drawn > pause)) draw();
  };
  form.onchange = () => {
    begin();
    act("go", "learning");
  };
  go.onclick = () => {
    if (run?.state === "learning") return act("pause", "paused");
    if (run?.state !== "paused") begin();
    return act("go", "learning");
  };
  step.onclick = () => {
    if (!["learning", "paused"].includes(run?.state)) begin();
    act("step", "paused");
  };
}
