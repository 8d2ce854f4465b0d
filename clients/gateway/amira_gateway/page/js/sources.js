// Where audio comes from. A source calls `push` with Float32Array buffers and `done` when there are no more.

const SAMPLE_RATE = 16000;
const PIECE_SECS = 0.1;
const MOST_BACKLOG_BYTES = 1 << 20;

/** The microphone. */
export class Microphone {
  /** Ask for the microphone. Rejects with an Error whose text is for people. */
  static async open() {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give the microphone only to pages from localhost or over HTTPS.");
    }
    const source = new Microphone();
    try {
      source.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      throw new Error(`No microphone: ${error.message}`);
    }
    // Not every browser connects a microphone to a context of another rate: then its own rate is sent.
    try {
      await source.#connect(new AudioContext({ sampleRate: SAMPLE_RATE }));
    } catch {
      await source.#connect(new AudioContext());
    }
    return source;
  }

  async #connect(context) {
    this.context = context;
    try {
      await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
      this.node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
      context.createMediaStreamSource(this.stream).connect(this.node);
    } catch (error) {
      await context.close();
      throw error;
    }
    this.sampleRate = context.sampleRate;
  }

  start(push, done) {
    this.done = done;
    this.node.port.onmessage = ({ data }) => push(data);
  }

  stop() {
    if (this.context.state === "closed") return;
    this.node.port.postMessage("stop");
    this.node.port.onmessage = null;
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
    this.done?.();
  }
}

/** A file, at the pace of speech or as fast as it is taken. */
export class Recording {
  /** Decode a file. Rejects with an Error whose text is for people. */
  static async open(file, { fast }) {
    const source = new Recording();
    source.fast = fast;
    source.sampleRate = SAMPLE_RATE;
    try {
      const context = new OfflineAudioContext(1, 1, SAMPLE_RATE);
      const audio = await context.decodeAudioData(await file.arrayBuffer());
      source.samples = mono(audio);
    } catch {
      throw new Error(`${file.name} is no audio that this browser can decode. POST /v1/audio/transcriptions takes more formats.`);
    }
    return source;
  }

  start(push, done, backlog) {
    const piece = SAMPLE_RATE * PIECE_SECS;
    const began = performance.now();
    let sent = 0;
    const step = () => {
      const due = this.fast ? this.samples.length : ((performance.now() - began) / 1000) * SAMPLE_RATE;
      while (sent < Math.min(due, this.samples.length) && backlog() < MOST_BACKLOG_BYTES) {
        push(this.samples.subarray(sent, sent + piece));
        sent += piece;
      }
      if (sent >= this.samples.length) this.stop();
      else this.timer = setTimeout(step, this.fast ? 10 : PIECE_SECS * 500);
    };
    this.done = done;
    step();
  }

  stop() {
    clearTimeout(this.timer);
    const done = this.done;
    this.done = null;
    done?.();
  }
}

function mono(audio) {
  const mixed = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel);
    for (let i = 0; i < mixed.length; i++) mixed[i] += samples[i] / audio.numberOfChannels;
  }
  return mixed;
}
