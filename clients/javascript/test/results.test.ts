import assert from "node:assert/strict";
import { test } from "node:test";
import * as errors from "../src/errors.js";
import { follow, stableWordsOf, wordsOf, type Transcript } from "../src/events.js";
import { parametersOf } from "../src/options.js";

const token = (text: string, timeSecs: number, confidence = 1) => ({ id: 1, text, timeSecs, confidence });

test("pieces become words", () => {
  const words = wordsOf([token("▁he", 0.08), token("llo", 0.16, 0.5), token("▁", 0.2), token("▁you", 0.4)], 0.08);
  assert.deepEqual(words.map((word) => word.text), ["hello", "you"]);
  assert.equal(words[0]!.endSecs, 0.24);
  assert.equal(words[0]!.confidence, 0.5);
});

test("the last stable word may still grow", () => {
  const tokens = [token("▁a", 0), token("b", 1), token("▁c", 2)];
  assert.deepEqual([0, 1, 2, 3].map((stable) => stableWordsOf(tokens, stable)), [0, 0, 0, 1]);
});

test("segments are put together", () => {
  const words = [{ text: "a", startSecs: 0, endSecs: 1, confidence: 1 }];
  const rest = { tokens: [], audioSecs: 1, latencyMs: 1, stableWords: 1, segments: [], alternatives: [] };
  const one: Transcript = { type: "partial", text: "a", words, ...rest };
  const both = follow(one, { ...one, type: "final", text: "b" });
  assert.equal(both.text, "a b");
  assert.equal(both.stableWords, 2);
  assert.equal(follow(one, { ...one, text: "" }).text, "a");
});

test("options have the names of the server", () => {
  assert.deepEqual(parametersOf({ beamSize: 4, endpointSilenceMs: 500, phrases: { Anna: 2 } }), {
    beam_size: 4,
    endpoint_silence_ms: 500,
    phrases: '[{"text":"Anna","weight":2}]',
  });
  assert.deepEqual(parametersOf({ phrases: ["Anna"] }), { phrases: '["Anna"]' });
});

for (const [text, kind] of [
  ["in ensemble 'asr_streaming', server full: 4 of 4 streams are in use; try again later", errors.ServerFull],
  ["sequence 'x' is not live here: it never started", errors.SequenceLost],
  ["AUDIO[3] is nan; every sample must be a finite number in [-1, 1]", errors.InvalidAudio],
  ["beam_size is 99; allowed: whole numbers 1 to 16", errors.InvalidRequest],
  ["server is stopping: it takes nothing new", errors.ServerUnavailable],
  ["Stub process 'decoder_0_0' is not healthy.", errors.ServerUnavailable],
  ["something else", errors.ServerError],
] as const) {
  test(`"${text.slice(0, 30)}" is ${kind.name}`, () => {
    const error = errors.toError(text);
    assert.equal(error.constructor, kind);
    assert.equal(error.name, kind.name);
    assert.ok(!error.message.includes("in ensemble"));
  });
}
