import assert from "node:assert/strict";
import { test } from "node:test";
import { type AudioBuffer16k, Chunker, collect } from "../src/audio.js";
import { InvalidAudio } from "../src/errors.js";

test("buffers of any length give the same chunks", () => {
  const samples = Int16Array.from({ length: 1000 }, (_, index) => index * 37 - 16000);
  const bytes = new Uint8Array(samples.buffer);
  for (const size of [1, 3, 7, 64, 999, 2000]) {
    const chunker = new Chunker(64);
    const chunks: Float32Array[] = [];
    for (let at = 0; at < bytes.length; at += size) chunks.push(...chunker.push(bytes.subarray(at, at + size)));
    assert.deepEqual(chunks.map((chunk) => chunk.length), Array(15).fill(64));
    const all = [...chunks, chunker.finish()].flatMap((chunk) => [...chunk]);
    assert.deepEqual(all, [...samples].map((sample) => sample / 32768));
  }
});

test("a part of a larger buffer is read as that part", () => {
  const bytes = Uint8Array.of(9, 0, 128, 255, 127, 9).subarray(1, 5);
  assert.deepEqual([...new Chunker(2).push(bytes)[0]!], [-1, 32767 / 32768]);
});

test("integers are scaled, floats are not", async () => {
  const buffers: AudioBuffer16k[] = [Int16Array.of(16384), Float32Array.of(0.25), Uint8Array.of(0, 192)];
  assert.deepEqual([...(await collect(buffers))], [0.5, 0.25, -0.5]);
});

test("anything else is refused by name", () => {
  assert.throws(() => new Chunker(2).push([1, 2] as unknown as Uint8Array), InvalidAudio);
  assert.throws(() => new Chunker(2).push("x" as unknown as Uint8Array), /is string; allowed: Uint8Array/);
});
