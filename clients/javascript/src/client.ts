/** The client for Node, over gRPC straight to Triton. */

import * as grpc from "@grpc/grpc-js";
import { type Audio, type AudioBuffer16k, Chunker, collect } from "./audio.js";
import { AmiraError, InvalidAudio, InvalidRequest, ServerError, toError } from "./errors.js";
import type { Transcript } from "./events.js";
import { type DecodingOptions, parametersOf } from "./options.js";
import { ServerSequence } from "./sequence.js";
import { type ModelFormat, type Stub, connect, inferRequest, readFormat, readTranscript } from "./triton.js";

export interface ClientOptions {
  /** host:port of Triton's gRPC service. */
  readonly endpoint?: string;
  /** Longest wait for one response. */
  readonly timeoutMs?: number;
  readonly streamingModel?: string;
  readonly batchModel?: string;
  /** For TLS: `credentials.createSsl()` of @grpc/grpc-js. */
  readonly credentials?: grpc.ChannelCredentials;
  /** gRPC headers of every request, such as x-amira-client. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface AudioOptions extends DecodingOptions {
  /** Of the audio, Hz. The client does not resample: anything but the model's rate is refused. */
  readonly sampleRate?: number;
}

/** Recognises streams and recordings. One connection for all of them; safe to share. */
export class AsrClient {
  readonly endpoint: string;
  private readonly stub: Stub;
  private readonly timeoutMs: number;
  private readonly streamingModel: string;
  private readonly batchModel: string;
  private readonly metadata = new grpc.Metadata();

  constructor(options: ClientOptions = {}) {
    this.endpoint = options.endpoint ?? "localhost:8001";
    this.timeoutMs = options.timeoutMs ?? 10_000;
    this.streamingModel = options.streamingModel ?? "asr_streaming";
    this.batchModel = options.batchModel ?? "asr_batch";
    this.stub = connect(this.endpoint, options.credentials ?? grpc.credentials.createInsecure());
    for (const [name, value] of Object.entries(options.headers ?? {})) this.metadata.set(name, value);
  }

  /** Whether the server is there and every model ready. */
  async isReady(): Promise<boolean> {
    try {
      const answer = await unary<{ ready: boolean }>((done) => this.stub.ServerReady({}, this.deadline(), done));
      return answer.ready;
    } catch {
      return false;
    }
  }

  /**
   * Recognise audio while it comes: one event for each chunk of the model, the last of them final. Buffers may have any
   * length; leaving the loop early ends the stream on the server.
   *
   * @throws AmiraError, whose `partial` is what had been recognised.
   */
  async *stream(audio: Audio, options: AudioOptions = {}): AsyncGenerator<Transcript, void, undefined> {
    const { sampleRate, ...decoding } = options;
    const format = await this.format(this.streamingModel, sampleRate);
    const parameters = parametersOf(decoding);
    const sequence = new ServerSequence(this.stub, this.metadata, format, parameters, this.timeoutMs, this.endpoint);
    const state = { open: true };
    const feeding = feed(audio, format, sequence, state);
    let latest: Transcript | undefined;
    try {
      while (latest?.type !== "final") {
        latest = await sequence.receive();
        yield latest;
      }
    } catch (error) {
      if (error instanceof AmiraError) {
        error.partial = latest;
        error.partialText = latest?.text;
      }
      throw error;
    } finally {
      state.open = false;
      await sequence.close();
      // A source that waits for more audio is left alone: it ends when it gives its next buffer.
      feeding.catch(() => undefined);
    }
  }

  /** Recognise a whole recording, at most as long as the server allows. Rejects with an AmiraError. */
  async transcribe(audio: Audio | AudioBuffer16k, options: AudioOptions = {}): Promise<Transcript> {
    const { sampleRate, ...decoding } = options;
    const format = await this.format(this.batchModel, sampleRate);
    const samples = await collect(isBuffer(audio) ? [audio] : audio);
    const seconds = samples.length / format.sampleRate;
    if (format.maxAudioSecs !== undefined && seconds > format.maxAudioSecs) {
      throw new InvalidAudio(
        `the recording has ${seconds.toFixed(1)} s; allowed: up to ${format.maxAudioSecs} s: use stream, or split it`,
      );
    }
    const began = performance.now();
    const request = inferRequest(format.name, samples, parametersOf(decoding));
    const answer = await unary<Parameters<typeof readTranscript>[0]>((done) =>
      this.stub.ModelInfer(request, this.metadata, this.deadline(), done),
    );
    return readTranscript(answer, format.frameSecs, performance.now() - began);
  }

  /** Hang up. Streams that run are lost. */
  close(): void {
    this.stub.close();
  }

  private async format(model: string, sampleRate: number | undefined): Promise<ModelFormat> {
    const answer = await unary<Parameters<typeof readFormat>[0]>((done) =>
      this.stub.ModelConfig({ name: model }, this.deadline(), done),
    );
    const format = readFormat(answer);
    if (format === undefined) throw new InvalidRequest(`model ${model} is not a recogniser`);
    if (sampleRate !== undefined && sampleRate !== format.sampleRate) {
      throw new InvalidAudio(
        `sampleRate is ${sampleRate}; this model takes ${format.sampleRate} Hz: resample, as with ffmpeg -ar ${format.sampleRate}`,
      );
    }
    // While the server changes to another version of its models, new streams begin there.
    return format.successor === undefined ? format : { ...format, name: format.successor };
  }

  private deadline(): grpc.CallOptions {
    return { deadline: Date.now() + this.timeoutMs };
  }
}

function isBuffer(audio: Audio | AudioBuffer16k): audio is AudioBuffer16k {
  return ArrayBuffer.isView(audio);
}

async function feed(
  audio: Audio,
  format: ModelFormat,
  sequence: ServerSequence,
  state: { readonly open: boolean },
): Promise<void> {
  try {
    const chunker = new Chunker(format.chunkSamples);
    for await (const buffer of audio) {
      for (const chunk of chunker.push(buffer)) if (state.open) await sequence.send(chunk, false);
      if (!state.open) return;
    }
    await sequence.send(chunker.finish(), true);
  } catch (error) {
    sequence.fail(error);
  }
}

function unary<T>(call: (done: (error: grpc.ServiceError | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, value) => {
      if (error !== null) reject(toError(`${error.details || error.message}${suffix(error)}`));
      else if (value === undefined) reject(new ServerError("the server sent an empty answer"));
      else resolve(value);
    });
  });
}

function suffix(error: grpc.ServiceError): string {
  return error.code === grpc.status.UNAVAILABLE && !/UNAVAILABLE/.test(error.details) ? " (UNAVAILABLE)" : "";
}
