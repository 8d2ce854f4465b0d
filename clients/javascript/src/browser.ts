/**
 * The client for browsers, over the gateway's WebSocket. It resamples nothing: the gateway does, told the rate.
 * It needs no package and no Node.
 */

import { type AmiraError, DeadlineExceeded, ServerUnavailable, fromGateway } from "./errors.js";
import type { Alternative, Segment, Word } from "./events.js";
import { Mailbox } from "./mailbox.js";
import { type DecodingOptions } from "./options.js";

export * from "./errors.js";
export { microphone, type Microphone } from "./microphone.js";
export type { Alternative, DecodingOptions, Segment, Word };

/** A message of the gateway. */
export interface GatewayTranscript {
  readonly type: "partial" | "final";
  /** The whole text so far. */
  readonly text: string;
  /** Ids in the model's vocabulary. */
  readonly tokens: readonly number[];
  /** Mean of the tokens', 0 to 1. */
  readonly confidence: number;
  /** The words at the beginning of `text` that will not change any more. */
  readonly stableText: string;
  /** Seconds of audio that the text covers. */
  readonly audioSecs: number;
  /** Times of all words so far, where they were asked for. */
  readonly words: readonly Word[];
  /** Those that ended with this message. */
  readonly segments: readonly Segment[];
  readonly alternatives: readonly Alternative[];
}

export interface GatewayOptions {
  /** Name of the recogniser. */
  readonly model?: string;
  /** Where the gateway asks for one. It goes with the handshake, as browsers set no headers there. */
  readonly apiKey?: string;
  /** Longest wait for the connection, and for the last transcript after the audio. */
  readonly timeoutMs?: number;
}

export interface GatewayStreamOptions extends Omit<DecodingOptions, "phrases" | "lengthNormalization"> {
  /** Of the samples, Hz: of a microphone `audioContext.sampleRate`. */
  readonly sampleRate?: number;
  readonly phrases?: readonly string[];
  /** Whether messages carry words with times. */
  readonly words?: boolean;
}

/** Samples of one channel: integers, floats in [-1, 1], or bytes of 16-bit little-endian integers. */
export type Samples = Int16Array | Float32Array | Uint8Array;

const END = Uint8Array.of(0x00);
const KEEPALIVE = Uint8Array.of(0x01);
const KEEPALIVE_MS = 15_000;
const INT16_MAX = 32767;
const INT16_SCALE = 32768;

interface Body {
  type: "partial" | "final" | "error";
  text: string;
  tokens: number[];
  confidence: number;
  stable_text?: string;
  audio_secs?: number;
  words_from?: number | null;
  words?: { word: string; start: number; end: number; confidence: number }[];
  segments?: { text: string; start: number; end: number; rule: string }[];
  alternatives?: Alternative[];
  code?: string;
  message?: string;
  partial_text?: string;
}

/** Recognises what a browser hears. */
export class GatewayClient {
  private readonly model: string;
  private readonly timeoutMs: number;
  private readonly protocols: string[];

  /** @param url of the gateway, such as "wss://asr.example" or `location.origin`. */
  constructor(
    private readonly url: string,
    options: GatewayOptions = {},
  ) {
    this.model = options.model ?? "default";
    this.timeoutMs = options.timeoutMs ?? 10_000;
    this.protocols = options.apiKey === undefined ? [] : ["amira", `amira-key.${base64url(options.apiKey)}`];
  }

  /**
   * Send samples while they come, and yield what the gateway says; the last message is final. Leaving the loop early
   * hangs up.
   *
   * @throws AmiraError, whose class and text say what to do.
   */
  async *stream(
    audio: AsyncIterable<Samples> | Iterable<Samples>,
    options: GatewayStreamOptions = {},
  ): AsyncGenerator<GatewayTranscript, void, undefined> {
    const connection = new Connection(this.address(options), this.protocols, this.timeoutMs);
    try {
      await connection.opened;
      void connection.feed(audio);
      for (;;) {
        const message = await connection.messages.take();
        yield message;
        if (message.type === "final") return;
      }
    } finally {
      connection.close();
    }
  }

  private address(options: GatewayStreamOptions): string {
    const url = new URL(`/v2/decode/stream/${encodeURIComponent(this.model)}`, this.url);
    url.protocol = url.protocol.replace("http", "ws");
    for (const [name, value] of Object.entries(options)) {
      if (value === undefined) continue;
      const serverName = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      url.searchParams.set(serverName, Array.isArray(value) ? value.join("\n") : String(value));
    }
    return url.href;
  }
}

class Connection {
  readonly messages = new Mailbox<GatewayTranscript>();
  readonly opened: Promise<void>;
  private readonly socket: WebSocket;
  private words: Word[] = [];
  private open = true;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly keepalive: ReturnType<typeof setInterval>;

  constructor(
    private readonly address: string,
    protocols: string[],
    private readonly timeoutMs: number,
  ) {
    this.socket = new WebSocket(address, protocols);
    this.socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      this.socket.onopen = () => {
        clearTimeout(this.timer);
        resolve();
      };
      const lose = (reason: string): void => {
        const text = `the connection to ${address} ended (${reason}): check the address and the gateway`;
        const error = new ServerUnavailable(text);
        this.fail(error);
        reject(error);
      };
      this.socket.onclose = (event) => lose(event.reason === "" ? `close code ${event.code}` : event.reason);
      // A connection that was never made; browsers do not say why. Not every runtime lets a close event follow.
      this.socket.onerror = () => setTimeout(() => lose("no connection, or refused"), 0);
      this.await(reject);
    });
    this.socket.onmessage = (event: MessageEvent<string>) => this.read(JSON.parse(event.data) as Body);
    this.keepalive = setInterval(() => this.send(KEEPALIVE), KEEPALIVE_MS);
  }

  /** Send all audio, then the end. */
  async feed(audio: AsyncIterable<Samples> | Iterable<Samples>): Promise<void> {
    try {
      for await (const samples of audio) {
        if (!this.open) return;
        const bytes = encode(samples);
        // One byte would be a control frame.
        if (bytes.length > 1) this.send(bytes);
      }
      this.send(END);
      this.await((error) => this.fail(error));
    } catch (error) {
      this.messages.fail(error);
    }
  }

  close(): void {
    this.open = false;
    clearTimeout(this.timer);
    clearInterval(this.keepalive);
    this.socket.close();
  }

  private send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.open && this.socket.readyState === WebSocket.OPEN) this.socket.send(bytes);
  }

  private read(body: Body): void {
    if (body.type === "error") {
      const error = fromGateway(body.code ?? "", body.message ?? "the gateway did not say what went wrong");
      error.partialText = body.partial_text;
      this.fail(error);
      return;
    }
    const words = (body.words ?? []).map((word) => ({
      text: word.word,
      startSecs: word.start,
      endSecs: word.end,
      confidence: word.confidence,
    }));
    if (body.words_from !== undefined && body.words_from !== null) {
      this.words = [...this.words.slice(0, body.words_from), ...words];
    }
    this.messages.put({
      type: body.type,
      text: body.text,
      tokens: body.tokens,
      confidence: body.confidence,
      stableText: body.stable_text ?? "",
      audioSecs: body.audio_secs ?? 0,
      words: this.words,
      segments: (body.segments ?? []).map((segment) => ({
        text: segment.text,
        startSecs: segment.start,
        endSecs: segment.end,
        rule: segment.rule,
      })),
      alternatives: body.alternatives ?? [],
    });
  }

  private fail(error: unknown): void {
    clearTimeout(this.timer);
    clearInterval(this.keepalive);
    this.messages.fail(error);
  }

  private await(late: (error: AmiraError) => void): void {
    clearTimeout(this.timer);
    const text = `${this.address} did not answer within ${this.timeoutMs / 1000} s; raise timeoutMs, or look at the load`;
    this.timer = setTimeout(() => late(new DeadlineExceeded(text)), this.timeoutMs);
  }
}

function base64url(text: string): string {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Return samples as bytes of 16-bit little-endian integers. */
export function encode(samples: Samples): Uint8Array<ArrayBuffer> {
  if (samples instanceof Uint8Array) return Uint8Array.from(samples);
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  const isFloat = samples instanceof Float32Array;
  samples.forEach((sample, index) => {
    const value = isFloat ? Math.max(-INT16_SCALE, Math.min(INT16_MAX, Math.round(sample * INT16_SCALE))) : sample;
    view.setInt16(2 * index, value, true);
  });
  return new Uint8Array(view.buffer);
}
