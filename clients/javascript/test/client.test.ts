import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import {
  AsrClient,
  DeadlineExceeded,
  InvalidAudio,
  InvalidRequest,
  ServerUnavailable,
  type Transcript,
} from "../src/index.js";
import { buffers, noServer, recording, site } from "./site.js";

async function all(events: AsyncIterable<Transcript>): Promise<Transcript[]> {
  const found: Transcript[] = [];
  for await (const event of events) found.push(event);
  return found;
}

describe("AsrClient against a real server", { skip: noServer, timeout: 120_000 }, () => {
  const client = new AsrClient({ endpoint: site?.endpoint ?? "" });
  after(() => client.close());

  function check(transcript: Transcript, expected: NonNullable<typeof site>["streamed"]): void {
    assert.equal(transcript.text, expected.text);
    assert.deepEqual(transcript.tokens.map((token) => token.id), expected.tokens);
    assert.deepEqual(transcript.words.map((word) => word.text), expected.words.map(([text]) => text));
    for (const [index, [, start, end]] of expected.words.entries()) {
      assert.ok(Math.abs(transcript.words[index]!.startSecs - start) < 1e-4);
      assert.ok(Math.abs(transcript.words[index]!.endSecs - end) < 1e-4);
    }
  }

  test("the server is ready", async () => assert.equal(await client.isReady(), true));

  for (const size of [640, 4001, 1 << 20]) {
    test(`a stream of buffers of ${size} bytes is what the Python client makes of it`, async () => {
      const events = await all(client.stream(buffers(recording, size)));
      assert.equal(events.length, site!.streamed.events);
      assert.deepEqual(events.map((event) => event.type), [...Array(events.length - 1).fill("partial"), "final"]);
      check(events.at(-1)!, site!.streamed);
      assert.ok(events.every((event) => event.latencyMs > 0));
    });
  }

  test("a recording as a whole", async () => {
    check(await client.transcribe(recording), site!.whole);
    check(await client.transcribe(buffers(recording, 3333)), site!.whole);
  });

  test("streams side by side keep their own words", async () => {
    const finals = await Promise.all(
      Array.from({ length: 6 }, async (_, index) => (await all(client.stream(buffers(recording, 1000 + index)))).at(-1)!),
    );
    for (const final of finals) check(final, site!.streamed);
  });

  test("endpointing: the text goes on over segments", async () => {
    const pause = new Float32Array(3 * 16000);
    const twice = [recording, pause, recording, pause];
    const events = await all(client.stream(twice, { endpointing: true, endpointSilenceMs: 1000 }));
    const segments = events.flatMap((event) => event.segments);
    assert.ok(segments.length >= 2);
    assert.equal(
      events.at(-1)!.text,
      segments.map((segment) => segment.text).filter((text) => text !== "").join(" "),
    );
    assert.equal(segments[0]!.rule, "silence");
  });

  test("alternatives of a beam", async () => {
    const final = (await all(client.stream([recording], { beamSize: 4, nBest: 3 }))).at(-1)!;
    assert.equal(final.alternatives.length, 3);
    assert.ok(final.alternatives[0]!.score >= final.alternatives[1]!.score);
  });

  test("no audio is an empty transcript", async () => {
    const events = await all(client.stream([]));
    assert.deepEqual(events.map((event) => [event.type, event.text]), [["final", ""]]);
  });

  test("a loop that is left early gives its place back, and the next stream runs", async () => {
    for await (const event of client.stream(buffers(recording, 32_000))) {
      assert.equal(event.type, "partial");
      break;
    }
    check((await all(client.stream([recording]))).at(-1)!, site!.streamed);
  });

  test("what is wrong is an error of its class that names it, with what was recognised before", async () => {
    const bad = Float32Array.from({ length: 8960 }, () => Number.NaN);
    const broken = all(client.stream([recording.subarray(0, 2 * 8960 * 8), bad]));
    await assert.rejects(broken, (error: unknown) => {
      assert.ok(error instanceof InvalidAudio);
      assert.match(error.message, /AUDIO\[0\] is nan/);
      assert.ok(site!.streamed.text.startsWith(error.partialText!.split(" ")[0]!));
      assert.equal(error.retryable, false);
      return true;
    });
    await assert.rejects(all(client.stream([recording], { beamSize: 99 })), InvalidRequest);
    await assert.rejects(all(client.stream([recording], { phraseWeight: Number.NaN })), InvalidRequest);
    await assert.rejects(all(client.stream([recording], { sampleRate: 44_100 })), /takes 16000 Hz: resample/);
    await assert.rejects(client.transcribe(new Float32Array(31 * 16000)), /allowed: up to 30 s/);
  });

  test("an error of the source of the audio reaches the caller", async () => {
    async function* breaks(): AsyncGenerator<Uint8Array> {
      yield recording.subarray(0, 40_000);
      throw new RangeError("microphone unplugged");
    }
    await assert.rejects(all(client.stream(breaks())), RangeError);
  });

  test("no server is ServerUnavailable, and too short a time DeadlineExceeded", async () => {
    const nowhere = new AsrClient({ endpoint: "127.0.0.1:1" });
    await assert.rejects(all(nowhere.stream([recording])), ServerUnavailable);
    assert.equal(await nowhere.isReady(), false);
    nowhere.close();
    const impatient = new AsrClient({ endpoint: site!.endpoint, timeoutMs: 1 });
    await assert.rejects(impatient.transcribe(recording), DeadlineExceeded);
    impatient.close();
  });
});
