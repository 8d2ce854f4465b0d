// The streaming recogniser of model-repo in the page: log-mel, encoder with its caches, greedy transducer search
// (label-looping: each call of the joint looks at all frames that are left, and jumps to the first label).

import { StreamingLogMel } from "./log_mel.js";
import { Windows } from "./windows.js";

/** The graphs and numbers of a draft folder. */
export class DraftModel {
  /** Load from a URL ending in "/". `ort` is ONNX Runtime Web. */
  static async load(ort, base) {
    const model = new DraftModel();
    model.ort = ort;
    model.description = await (await fetch(new URL("draft.json", base))).json();
    const floats = async (name) => new Float32Array(await (await fetch(new URL(name, base))).arrayBuffer());
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    const session = (name) => ort.InferenceSession.create(new URL(name, base).href, options);
    model.filterbank = await floats("filterbank.bin");
    model.window = await floats("window.bin");
    model.encoder = await session("encoder.onnx");
    model.joint = await session("decoder_joint.onnx");
    return model;
  }

  open() {
    return new DraftStream(this);
  }
}

/** One stream: samples in, tokens out. */
class DraftStream {
  constructor(model) {
    const { mel, streaming, encoder, transducer } = model.description;
    this.model = model;
    this.mel = new StreamingLogMel(mel, model.filterbank, model.window);
    this.windows = new Windows(streaming, mel.n_mels);
    const { layers, left_context, model_dim, convolution_context } = encoder;
    this.caches = {
      cache_channel: this.#zeros([1, layers, left_context, model_dim]),
      cache_len: this.#integers([0], [1, 1]),
      cache_time: this.#zeros([1, layers, model_dim, convolution_context]),
    };
    this.state = [0, 1].map(() => this.#zeros([1, transducer.prediction_layers, transducer.prediction_hidden]));
    this.label = transducer.blank_id;
    this.frames = 0;
    this.tokens = []; // {piece, frame}
  }

  /** Take samples at the model's rate; return whether there are new frames. */
  async push(samples) {
    const windows = this.windows.push(this.mel.push(samples));
    for (const window of windows) await this.#decode(await this.#encode(window));
    return windows.length > 0;
  }

  async #encode(window) {
    const { ort, encoder, description } = this.model;
    const frames = description.streaming.window_frames;
    const outputs = await encoder.run({
      FEATURES: new ort.Tensor("float32", window, [1, description.mel.n_mels, frames]),
      FEATURES_LENGTH: this.#integers([frames], [1, 1]),
      ...this.caches,
    });
    for (const name of Object.keys(this.caches)) this.caches[name] = outputs[`${name}_next`];
    const [, , dim] = outputs.ENCODED.dims;
    const length = Number(outputs.ENCODED_LENGTH.data[0]);
    return { data: outputs.ENCODED.data.subarray(0, length * dim), length, dim };
  }

  async #decode({ data, length, dim }) {
    const { ort, joint, description } = this.model;
    const { blank_id, max_symbols_per_step, pieces } = description.transducer;
    let frame = 0;
    let symbols = 0;
    while (frame < length) {
      const outputs = await joint.run(
        {
          ENCODED: new ort.Tensor("float32", data.subarray(frame * dim), [1, length - frame, dim]),
          TARGET: new ort.Tensor("int32", Int32Array.of(this.label), [1, 1]),
          STATE_H: this.state[0],
          STATE_C: this.state[1],
        },
        ["LABEL", "STATE_H_NEXT", "STATE_C_NEXT"],
      );
      const blanks = outputs.LABEL.data.findIndex((label) => label !== blank_id);
      if (blanks < 0) break;
      if (blanks) symbols = 0;
      frame += blanks;
      this.label = outputs.LABEL.data[blanks];
      this.state = [outputs.STATE_H_NEXT, outputs.STATE_C_NEXT];
      this.tokens.push({ piece: pieces[this.label], frame: this.frames + frame });
      if (++symbols >= max_symbols_per_step) {
        symbols = 0;
        frame++;
      }
    }
    this.frames += length;
  }

  #zeros(dims) {
    return new this.model.ort.Tensor("float32", new Float32Array(dims.reduce((a, b) => a * b)), dims);
  }

  #integers(values, dims) {
    return new this.model.ort.Tensor("int64", BigInt64Array.from(values.map(BigInt)), dims);
  }
}
