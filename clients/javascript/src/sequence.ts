/** One sequence on the server, over a gRPC stream of its own, so that proxies keep it on one server. */

import { randomUUID } from "node:crypto";
import type { ClientDuplexStream, Metadata } from "@grpc/grpc-js";
import { type AmiraError, DeadlineExceeded, ServerUnavailable, toError } from "./errors.js";
import { type Transcript, follow } from "./events.js";
import { Mailbox } from "./mailbox.js";
import type { Parameters } from "./options.js";
import { type InferRequest, type ModelFormat, type StreamResponse, type Stub, inferRequest, readTranscript } from "./triton.js";

// Hides the way to the server and back, without piling up work there.
const AHEAD = 8;
const GOODBYE_MS = 1000;

/** Chunks in, one event for each of them out, in order. */
export class ServerSequence {
  private readonly id = randomUUID(); // never a counter: two clients would collide
  private readonly call: ClientDuplexStream<InferRequest, StreamResponse>;
  private readonly events = new Mailbox<Transcript>();
  private readonly sentAt: number[] = []; // of the chunks without a response, milliseconds
  private timer: NodeJS.Timeout | undefined;
  private finished: Transcript | undefined; // segments that have ended
  private begun = false;
  private ended = false;
  private confirmed = false;
  private broken = false;
  private room: (() => void) | undefined;

  constructor(
    stub: Stub,
    metadata: Metadata,
    private readonly format: ModelFormat,
    private readonly parameters: Parameters,
    private readonly timeoutMs: number,
    private readonly endpoint: string,
  ) {
    this.call = stub.ModelStreamInfer(metadata);
    this.call.on("data", (response: StreamResponse) => this.onResponse(response));
    this.call.on("error", (error: Error & { details?: string }) => this.break(toError(error.details ?? error.message)));
    this.call.on("end", () => this.break(new ServerUnavailable(`${this.endpoint} closed the stream`)));
  }

  /** Send a chunk, the last one with `end`. Resolves when another may be sent. */
  async send(samples: Float32Array, end: boolean): Promise<void> {
    if (this.broken || this.ended) return;
    const controls = { sequence_id: this.id, sequence_start: !this.begun, sequence_end: end };
    this.call.write(inferRequest(this.format.name, samples, { ...(this.begun ? {} : this.parameters), ...controls }));
    this.begun = true;
    this.ended = end;
    this.sentAt.push(performance.now());
    this.watch();
    // Only one until the server has accepted the sequence, then a few ahead.
    if (this.sentAt.length >= (this.confirmed ? AHEAD : 1)) await new Promise<void>((go) => (this.room = go));
  }

  /** Wait for the next event. Rejects with an AmiraError. */
  async receive(): Promise<Transcript> {
    return this.events.take();
  }

  /** Let `receive` reject: the audio could not be read. */
  fail(error: unknown): void {
    this.events.fail(error);
    this.room?.();
  }

  /** Give the place on the server back, if the sequence still holds one, and hang up. */
  async close(): Promise<void> {
    clearTimeout(this.timer);
    this.room?.();
    if (this.broken) return;
    if (this.begun && !this.ended) void this.send(new Float32Array(0), true);
    // The server ends the call: Triton 2.51 may crash when one is cancelled while it frees a request.
    const over = new Promise<void>((done) => this.call.once("close", done).once("end", done).once("error", () => done()));
    this.call.end();
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([over, new Promise<void>((done) => (timer = setTimeout(done, GOODBYE_MS)))]);
    clearTimeout(timer);
    clearTimeout(this.timer);
    this.call.cancel();
  }

  private onResponse(response: StreamResponse): void {
    const sent = this.sentAt.shift() ?? performance.now();
    this.watch();
    if (response.error_message !== "" || response.infer_response === null) {
      this.events.fail(toError(response.error_message));
    } else {
      this.confirmed = true;
      let event = readTranscript(response.infer_response, this.format.frameSecs, performance.now() - sent);
      if (this.finished !== undefined) event = follow(this.finished, event);
      if (event.segments.length > 0) this.finished = event;
      this.events.put(event);
    }
    this.room?.();
  }

  /** Start, move or stop the deadline of the oldest chunk without a response. */
  private watch(): void {
    clearTimeout(this.timer);
    const oldest = this.sentAt[0];
    if (oldest === undefined) return;
    const seconds = this.timeoutMs / 1000;
    const late = new DeadlineExceeded(
      `${this.endpoint} did not answer within ${seconds} s; raise timeoutMs, or look at the load of the server`,
    );
    this.timer = setTimeout(() => this.fail(late), oldest + this.timeoutMs - performance.now());
  }

  private break(error: AmiraError): void {
    this.broken = true;
    clearTimeout(this.timer);
    this.fail(error);
  }
}
