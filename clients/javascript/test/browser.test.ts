import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GatewayClient, type GatewayTranscript, InvalidAudio, ServerUnavailable, encode } from "../src/browser.js";
import { buffers, noServer, recording, site } from "./site.js";

async function all(events: AsyncIterable<GatewayTranscript>): Promise<GatewayTranscript[]> {
  const found: GatewayTranscript[] = [];
  for await (const event of events) found.push(event);
  return found;
}

test("samples become little-endian integers, and what is too loud is cut", () => {
  assert.deepEqual([...encode(Float32Array.of(0.5, -1, 2))], [0, 64, 0, 128, 255, 127]);
  assert.deepEqual([...encode(Int16Array.of(-2))], [254, 255]);
});

describe("GatewayClient against a real gateway", { skip: noServer, timeout: 120_000 }, () => {
  const apiKey = site?.key ?? "";
  const client = new GatewayClient(site?.gateway ?? "", { apiKey });

  test("a stream is what the Python client makes of it", async () => {
    const events = await all(client.stream(buffers(recording, 3200), { words: true }));
    const final = events.at(-1)!;
    assert.equal(final.type, "final");
    assert.equal(final.text, site!.streamed.text);
    assert.deepEqual(final.tokens, site!.streamed.tokens);
    assert.deepEqual(final.words.map((word) => word.text), site!.streamed.words.map(([text]) => text));
    assert.ok(events.length > 3 && events.slice(0, -1).every((event) => event.type === "partial"));
    assert.ok(final.confidence > 0 && final.confidence <= 1);
  });

  test("floats of another rate are resampled by the gateway", async () => {
    const samples = new Int16Array(recording.buffer, recording.byteOffset, recording.length >> 1);
    const doubled = Float32Array.from({ length: 2 * samples.length }, (_, index) => samples[index >> 1]! / 32768);
    const final = (await all(client.stream([doubled], { sampleRate: 32_000 }))).at(-1)!;
    assert.ok(Math.abs(final.audioSecs - recording.length / 32_000) < 0.2);
    assert.ok(final.text.length > 10);
  });

  test("what is wrong is an error of its class", async () => {
    await assert.rejects(all(client.stream([Uint8Array.of(1, 2, 3)], { nBest: 16, beamSize: 2 })), /n_best/);
    const unknown = new GatewayClient(site!.gateway, { model: "no-such-model", apiKey });
    await assert.rejects(all(unknown.stream([recording])), ServerUnavailable);
    await assert.rejects(all(new GatewayClient(site!.gateway).stream([recording])), ServerUnavailable);
    async function* breaks(): AsyncGenerator<Uint8Array> {
      yield recording.subarray(0, 40_000);
      throw new InvalidAudio("microphone unplugged");
    }
    await assert.rejects(all(client.stream(breaks())), /unplugged/);
  });

  test("no gateway is ServerUnavailable", async () => {
    await assert.rejects(all(new GatewayClient("ws://127.0.0.1:1").stream([recording])), ServerUnavailable);
  });
});
