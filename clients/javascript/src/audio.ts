/** Audio buffers of any length, to chunks of the size that the model takes. */

import { InvalidAudio } from "./errors.js";

/**
 * One channel. Bytes are 16-bit little-endian samples, as ffmpeg's `-f s16le` gives them; an odd byte at the end is
 * completed by the next buffer. Float32Array holds samples in [-1, 1], Int16Array integers.
 */
export type AudioBuffer16k = Uint8Array | Int16Array | Float32Array;

/** Buffers as they come: from a file, a microphone, a socket. */
export type Audio = AsyncIterable<AudioBuffer16k> | Iterable<AudioBuffer16k>;

const INT16_SCALE = 32768;

/** Reads the samples of one buffer after the other. */
export class SampleReader {
  private oddByte = new Uint8Array(0);

  read(buffer: AudioBuffer16k): Float32Array {
    if (buffer instanceof Float32Array) return buffer;
    if (buffer instanceof Int16Array) return Float32Array.from(buffer, (sample) => sample / INT16_SCALE);
    if (!(buffer instanceof Uint8Array)) {
      throw new InvalidAudio(`an audio buffer is ${describe(buffer)}; allowed: Uint8Array, Int16Array, Float32Array`);
    }
    const bytes = new Uint8Array(this.oddByte.length + buffer.length);
    bytes.set(this.oddByte);
    bytes.set(buffer, this.oddByte.length);
    const count = bytes.length >> 1;
    this.oddByte = bytes.slice(2 * count);
    const view = new DataView(bytes.buffer);
    return Float32Array.from({ length: count }, (_, index) => view.getInt16(2 * index, true) / INT16_SCALE);
  }
}

/** Gives chunks of exactly so many samples; the rest comes out of `finish`. Nothing is resampled. */
export class Chunker {
  private readonly reader = new SampleReader();
  private pending = new Float32Array(0);

  constructor(private readonly chunkSamples: number) {}

  /** Take a buffer; return the chunks that it completes. */
  push(buffer: AudioBuffer16k): Float32Array[] {
    const all = join([this.pending, this.reader.read(buffer)]);
    const chunks: Float32Array[] = [];
    let at = 0;
    for (; at + this.chunkSamples <= all.length; at += this.chunkSamples) {
      chunks.push(all.slice(at, at + this.chunkSamples));
    }
    this.pending = all.slice(at);
    return chunks;
  }

  /** Return what is left, shorter than a chunk and maybe empty. */
  finish(): Float32Array {
    return this.pending;
  }
}

/** Return all samples. */
export async function collect(audio: Audio): Promise<Float32Array> {
  const reader = new SampleReader();
  const parts: Float32Array[] = [];
  for await (const buffer of audio) parts.push(reader.read(buffer));
  return join(parts);
}

function join(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function describe(value: unknown): string {
  return value === null || typeof value !== "object" ? typeof value : value.constructor.name;
}
