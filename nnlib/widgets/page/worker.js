// The worker: it trains a few hundredths of a second at a time, and in between listens and tells.

import { Training } from "./training.js";

const EPOCHS = 60; // after which a run is over
const TURN = 25; // milliseconds of training between two messages
const BREATH = 15; // milliseconds of rest after them: the reader came to watch

export function serve(worker) {
  let [training, run, timer] = [null, null, null];

  const advance = (until) => {
    let [kind, judged] = ["seen", null];
    do {
      if (!Number.isFinite(training.step())) kind = "failed";
      else if (Number.isInteger(training.standing.epoch)) judged = training.judge();
    } while (kind === "seen" && !judged && performance.now() < until);
    if (judged && training.standing.epoch >= EPOCHS) kind = "finished";
    worker.postMessage({ kind, run, judged, ...training.standing });
    return kind === "seen";
  };
  const turn = () => {
    if (advance(performance.now() + TURN)) timer = setTimeout(turn, BREATH);
  };
  worker.onmessage = ({ data: { kind, data, knobs, number } }) => {
    clearTimeout(timer); // whatever is asked for, what ran pauses
    if (kind === "start") [training, run] = [new Training(data, knobs), number];
    ({ go: turn, step: () => advance(0) })[kind]?.();
  };
}
