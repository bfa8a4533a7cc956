// The worker: it trains a few hundredths of a second at a time, and in between listens and tells.

import { Training } from "./training.js";

const EPOCHS = 60; // after which a run is over
const TURN = 25; // milliseconds of training between two messages
const BREATH = 15; // milliseconds of rest after them: the reader came to watch

export function serve(worker) {
  let [data, training, timer] = [null, null, null];

  const advance = (until) => {
    let [kind, judged] = ["seen", null];
    do {
      if (!Number.isFinite(training.step())) kind = "failed";
      else if (training.at === 0) judged = training.judge();
    } while (kind === "seen" && !judged && performance.now() < until);
    if (judged && training.epochs >= EPOCHS) kind = "finished";
    worker.postMessage({ kind, ...training.standing, judged });
    return kind === "seen";
  };
  const turn = () => (timer = advance(performance.now() + TURN) ? setTimeout(turn, BREATH) : null);
  const pause = () => {
    clearTimeout(timer);
    timer = null;
  };

  const answers = {
    data: (given) => (data = given.data),
    start: ({ knobs, number }) => {
      pause();
      training = new Training(data, knobs);
      training.number = number;
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
