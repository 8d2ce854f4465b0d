// Runs the draft recogniser off the page's own thread. Messages: {load}, {open}, {samples}; back: {ready}, {failed},
// {tokens, frames, millis}.

import { DraftModel } from "./recogniser.js";

let model = null;
let stream = null;
let work = Promise.resolve(); // one thing after another

async function load(base) {
  const ort = await import(new URL("ort.wasm.min.mjs", base));
  ort.env.wasm.wasmPaths = base;
  ort.env.wasm.numThreads = 1; // more need headers that isolate the page
  model = await DraftModel.load(ort, base);
  await model.open().push(new Float32Array(2 * model.description.streaming.chunk_samples)); // the first run is slow
}

async function handle({ load: base, open, samples }) {
  if (base) {
    try {
      await load(base);
      postMessage({ ready: true, frameSecs: model.description.frame_secs });
    } catch (error) {
      postMessage({ failed: String(error) });
    }
  }
  if (open) stream = model.open();
  if (samples) {
    const began = performance.now();
    if (await stream.push(samples)) {
      postMessage({ tokens: stream.tokens.slice(-200), frames: stream.frames, millis: performance.now() - began });
    }
  }
}

onmessage = ({ data }) => {
  work = work.then(() => handle(data));
};
