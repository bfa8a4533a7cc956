// The worker: it trains a few hundredths of a second at a time, and in between listens and tells.

import { Training } from "./training.js";

const EPOCHS = 60; // after which a run is over
const TURN = 25; // milliseconds of training between two messages
const BREATH = 15; // milliseconds of rest after them: the reader came to watch

export function serve(worker) {
  let [data, training, number, timer] = [null, null, 0, null];

  const advance = (until) => {
    let [kind, judged] = ["seen", null];
    do {
      if (!Number.isFinite(training.step())) kind = "failed";
      else if (Number.isInteger(training.standing.epoch)) judged = training.judge();
    } while (kind === "seen" && !judged && performance.now() < until);
    if (judged && training.standing.epoch >= EPOCHS) kind = "finished";
    worker.postMessage({ kind, number, judged, ...training.standing });
    return kind === "seen";
  };
  const turn = () => (timer = advance(performance.now() + TURN) ? setTimeout(turn, BREATH) : null);
  const pause = () => (timer = clearTimeout(timer) ?? null);

  const answers = {
    data: (given) => ({ data } = given),
    start: ({ knobs, run }) => {
      pause();
      [training, number] = [new Training(data, knobs), run];
    },
    go: () => (timer ??= setTimeout(turn)),
    pause,
    step: () => {
      pause();
      advance(0);
    },
  };
  worker.onmessage = ({ data: message }) => answers[message.kind](message);
}
