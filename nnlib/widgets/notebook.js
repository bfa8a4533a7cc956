// What ties the canvas to the kernel of an open notebook: it gets the picture a few times a second
// as `picture`, and gives back what the net makes of it as `answer`.

import { board, speak } from "./canvas.js";

const PAUSE = 80; // milliseconds between two pictures that are sent
const REST = 1000; // milliseconds without a picture after which the hand rests

function render({ model, el }) {
  let timer = null;
  const send = (picture) => {
    clearTimeout(timer);
    timer = setTimeout(() => model.send({ kind: "rest" }), REST);
    if (!picture) return model.send({ kind: "example" });
    model.set("picture", picture);
    return model.save_changes();
  };
  speak(model.get("words"));
  el.innerHTML = model.get("html");
  el.onmousedown = (event) => { // a button leaves the focus where it is
    if (event.target.matches("button")) event.preventDefault();
  };
  const show = board(el, {
    read: send, example: () => send(null), pause: PAUSE, channels: model.get("channels") });
  const answer = () => show(model.get("answer"));
  model.on("change:answer", answer);
  answer();
  return () => model.off("change:answer", answer);
}

export default { render };
