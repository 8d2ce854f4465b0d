/** What tests against real servers need; tests/javascript starts them and says where they are. */

import { readFileSync } from "node:fs";

interface Site {
  endpoint: string;
  gateway: string;
  /** Of the gateway. */
  key: string;
  /** 16-bit little-endian, 16 kHz. */
  recording: string;
  /** What the Python client makes of it, streamed and as a whole. */
  streamed: Expected;
  whole: Expected;
}

interface Expected {
  text: string;
  tokens: number[];
  words: [string, number, number][];
  events: number;
}

const file = process.env["AMIRA_TEST_SITE"];
export const site = file === undefined ? undefined : (JSON.parse(readFileSync(file, "utf8")) as Site);
export const recording = site === undefined ? new Uint8Array(0) : new Uint8Array(readFileSync(site.recording));

export const noServer = site === undefined && "no server: run `make test-js`";

export function* buffers(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
