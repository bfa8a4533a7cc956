// What ties the canvas to the kernel of an open notebook: it gets the picture a few times a second
// as `picture`, and gives back what the net makes of it as `answer`.

import { board, speak } from "./canvas.js";

const PAUSE = 80; // milliseconds between two pictures that are sent
const REST = 1000; // milliseconds without a picture after which the hand rests

const bytes = ({ buffer, byteOffset, byteLength }, Kind) => (
  new Kind(buffer, byteOffset, byteLength));

function render({ model, el }) {
  let [latest, sending, resting] = [null, null, null];
  const rest = () => {
    clearTimeout(resting);
    resting = setTimeout(() => model.send({ kind: "rest" }), REST);
  };
  const send = () => {
    sending = null;
    const { data, width, height } = latest ?? {};
    const picture = data && { grey: new DataView(data.buffer), width, height };
    model.set("picture", { ...picture, at: performance.now() }); // or twice the same were no news
    model.save_changes();
    rest();
  };
  const read = (picture) => {
    latest = picture;
    sending ??= setTimeout(send, PAUSE);
  };
  const example = () => {
    sending = clearTimeout(sending);
    model.send({ kind: "example" });
    rest();
  };
  speak(model.get("words"));
  el.innerHTML = model.get("html");
  el.onmousedown = (event) => { // a button leaves the focus where it is
    if (event.target.matches("button")) event.preventDefault();
  };
  const show = board(el, read, example, model.get("channels"));
  const answer = () => {
    const { seen, units, ...more } = model.get("answer");
    show({
      ...more,
      seen: seen && { ...seen, values: bytes(seen.values, Uint8Array) },
      units: units?.map((unit) => ({ ...unit, weights: bytes(unit.weights, Int8Array) })),
    });
  };
  model.on("change:answer", answer);
  answer();
  return () => model.off("change:answer", answer);
}

export default { render };
