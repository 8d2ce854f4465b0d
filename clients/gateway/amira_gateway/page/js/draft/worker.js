// Runs the draft recogniser off the page's own thread. Messages: {load}, {stream} with or without {samples}; back:
// {ready}, {failed}, {stream, tokens}. What is left of an earlier stream is dropped when another begins.

import { DraftModel } from "./recogniser.js";

let model = null;
let latest = 0; // number of the stream that the page listens to
let open = { number: 0 };
let work = Promise.resolve(); // one thing after another

async function load(base) {
  const ort = await import(new URL("ort.wasm.min.mjs", base));
  ort.env.wasm.wasmPaths = base;
  ort.env.wasm.numThreads = 1; // more need headers that isolate the page
  model = await DraftModel.load(ort, base);
  await model.open().push(new Float32Array(2 * model.description.streaming.chunk_samples)); // the first run is slow
}

async function handle({ load: base, stream: number, samples }) {
  if (base) {
    try {
      await load(base);
      postMessage({ ready: true, frameSecs: model.description.frame_secs });
    } catch (error) {
      postMessage({ failed: String(error) });
    }
    return;
  }
  await new Promise((resolve) => setTimeout(resolve)); // messages come in only between tasks: a newer stream may have
  if (number === latest) {
    if (open.number !== number) open = { number, stream: model.open() };
    if (await open.stream.push(samples)) postMessage({ stream: number, tokens: open.stream.tokens.slice(-200) });
  }
}

onmessage = ({ data }) => {
  latest = data.stream ?? latest;
  if (data.load || data.samples) work = work.then(() => handle(data));
};
