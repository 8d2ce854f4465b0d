/** The user's microphone in a browser, as an iterable of samples. */

import { Mailbox } from "./mailbox.js";

const WORKLET = `
registerProcessor("amira-capture", class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length > 0) this.port.postMessage(input[0].slice());
    return true;
  }
});`;

/** Samples of one channel in [-1, 1], as they are heard. */
export interface Microphone extends AsyncIterable<Float32Array> {
  /** Of the samples, Hz. */
  readonly sampleRate: number;
  /** Switch it off; the iteration ends. */
  stop(): void;
}

/**
 * Ask for the microphone. Pages must come over https, or from localhost, and most browsers want a click or a key before.
 *
 * @throws DOMException, as `getUserMedia`: the user refused, there is no microphone.
 */
export async function microphone(constraints: MediaTrackConstraints = {}): Promise<Microphone> {
  const media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...constraints } });
  const context = new AudioContext();
  const samples = new Mailbox<Float32Array | undefined>();
  const stop = (): void => {
    for (const track of media.getTracks()) track.stop();
    if (context.state !== "closed") void context.close();
    samples.put(undefined);
  };
  try {
    const worklet = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    await context.audioWorklet.addModule(worklet);
    URL.revokeObjectURL(worklet);
    const capture = new AudioWorkletNode(context, "amira-capture", { numberOfOutputs: 0 });
    capture.port.onmessage = (event: MessageEvent<Float32Array>) => samples.put(event.data);
    context.createMediaStreamSource(media).connect(capture);
    await context.resume();
  } catch (error) {
    stop();
    throw error;
  }
  return {
    sampleRate: context.sampleRate,
    stop,
    async *[Symbol.asyncIterator]() {
      try {
        for (let heard = await samples.take(); heard !== undefined; heard = await samples.take()) yield heard;
      } finally {
        stop();
      }
    },
  };
}
