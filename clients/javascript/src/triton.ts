/** The only file that knows Triton: its gRPC calls, tensors in and out, model parameters. */

import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { InvalidRequest } from "./errors.js";
import { type Alternative, type Segment, type Token, type Transcript, stableWordsOf, wordsOf } from "./events.js";
import type { Parameters } from "./options.js";

/** What a recogniser says about itself. */
export interface ModelFormat {
  /** Model to send requests to; another than asked for while the server changes to a new version. */
  readonly name: string;
  /** Hz. */
  readonly sampleRate: number;
  readonly chunkSamples: number;
  /** Seconds of an encoder frame. */
  readonly frameSecs: number;
  /** Longest whole recording; undefined for a streaming model. */
  readonly maxAudioSecs: number | undefined;
}

interface InferParameter {
  bool_param?: boolean;
  int64_param?: number;
  double_param?: number;
  string_param?: string;
}

export interface InferRequest {
  model_name: string;
  parameters: Record<string, InferParameter>;
  inputs: { name: string; datatype: string; shape: number[] }[];
  outputs: { name: string }[];
  raw_input_contents: Uint8Array[];
}

export interface InferResponse {
  outputs: { name: string; datatype: string; shape: number[] }[];
  raw_output_contents: Uint8Array[];
}

export interface StreamResponse {
  error_message: string;
  infer_response: InferResponse | null;
}

interface ConfigResponse {
  config: { name: string; parameters: Record<string, { string_value: string }> } | null;
}

type Callback<T> = (error: grpc.ServiceError | null, value?: T) => void;

export interface Stub extends grpc.Client {
  ServerReady(request: object, options: grpc.CallOptions, callback: Callback<{ ready: boolean }>): void;
  ModelConfig(request: { name: string }, options: grpc.CallOptions, callback: Callback<ConfigResponse>): void;
  ModelInfer(
    request: InferRequest,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
    callback: Callback<InferResponse>,
  ): void;
  ModelStreamInfer(metadata: grpc.Metadata): grpc.ClientDuplexStream<InferRequest, StreamResponse>;
}

// Beside the sources in a checkout, inside the package where it is installed.
const PROTO_FOLDERS = ["../../proto", "../../../proto"].map((path) => fileURLToPath(new URL(path, import.meta.url)));

/** Connect; nothing is sent yet. */
export function connect(endpoint: string, credentials: grpc.ChannelCredentials): Stub {
  const definition = loadSync("triton.proto", {
    includeDirs: PROTO_FOLDERS,
    keepCase: true,
    longs: Number,
    defaults: true,
    oneofs: true,
  });
  const service = grpc.loadPackageDefinition(definition) as unknown as {
    inference: { GRPCInferenceService: new (...of: ConstructorParameters<typeof grpc.Client>) => Stub };
  };
  return new service.inference.GRPCInferenceService(endpoint, credentials, {
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
  });
}

/** Read a model's configuration; undefined when the model is not a recogniser. */
export function readFormat(response: ConfigResponse): (ModelFormat & { successor: string | undefined }) | undefined {
  const text = (name: string) => response.config?.parameters[name]?.string_value;
  const number = (name: string) => (text(name) === undefined ? undefined : Number(text(name)));
  const [sampleRate, chunkSamples, frameSecs] = [number("sample_rate"), number("chunk_samples"), number("frame_secs")];
  if (sampleRate === undefined || chunkSamples === undefined || frameSecs === undefined) return undefined;
  const [maxAudioSecs, successor] = [number("max_audio_secs"), text("successor")];
  return { name: response.config!.name, sampleRate, chunkSamples, frameSecs, maxAudioSecs, successor };
}

const OUTPUTS = [
  "IS_FINAL",
  "TOKENS",
  "TOKEN_TEXTS",
  "TOKEN_TIMES",
  "TOKEN_CONFIDENCES",
  "STABLE_TOKENS",
  "SEGMENT_ENDS",
  "ENDPOINTS",
  "N_BEST",
  "N_BEST_SCORES",
  "AUDIO_PROCESSED",
] as const;

type Values = Record<(typeof OUTPUTS)[number], (string | number | boolean)[]>;

/** Return one request with [samples] of audio. */
export function inferRequest(model: string, samples: Float32Array, parameters: Parameters): InferRequest {
  const bytes = Buffer.alloc(4 * samples.length);
  samples.forEach((sample, index) => bytes.writeFloatLE(sample, 4 * index));
  return {
    model_name: model,
    parameters: Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, parameter(name, value)])),
    inputs: [{ name: "AUDIO", datatype: "FP32", shape: [1, samples.length] }],
    outputs: OUTPUTS.map((name) => ({ name })),
    raw_input_contents: [bytes],
  };
}

function parameter(name: string, value: string | number | boolean): InferParameter {
  if (typeof value === "boolean") return { bool_param: value };
  if (typeof value === "string") return { string_param: value };
  if (Number.isNaN(value)) throw new InvalidRequest(`${name} is NaN; allowed: numbers`);
  // Fractions go as text: Triton's Python backends get no others.
  return Number.isSafeInteger(value) ? { int64_param: value } : { string_param: String(value) };
}

/** Turn a response into an event, about the segments that ended with it or the one that goes on. */
export function readTranscript(response: InferResponse, frameSecs: number, latencyMs: number): Transcript {
  const values = Object.fromEntries(
    response.outputs.map((output, index) => [
      output.name,
      elements(output.datatype, response.raw_output_contents[index]!),
    ]),
  ) as Values;
  const numbers = (name: keyof Values) => values[name] as number[];
  const texts = (name: keyof Values) => values[name] as string[];
  const tokens: Token[] = numbers("TOKENS").map((id, index) => ({
    id,
    text: texts("TOKEN_TEXTS")[index]!,
    timeSecs: numbers("TOKEN_TIMES")[index]!,
    confidence: numbers("TOKEN_CONFIDENCES")[index]!,
  }));
  const audioSecs = numbers("AUDIO_PROCESSED")[0]!;
  const ends = numbers("SEGMENT_ENDS");
  const parts = ends.map((end, index) => wordsOf(tokens.slice(ends[index - 1] ?? 0, end), frameSecs));
  const words = ends.length > 0 ? parts.flat() : wordsOf(tokens, frameSecs);
  const segments: Segment[] = parts.map((part, index) => ({
    text: part.map((word) => word.text).join(" "),
    startSecs: part[0]?.startSecs ?? audioSecs,
    endSecs: part.at(-1)?.endSecs ?? audioSecs,
    rule: texts("ENDPOINTS")[index]!,
  }));
  const alternatives: Alternative[] = texts("N_BEST").map((text, index) => ({
    text,
    score: numbers("N_BEST_SCORES")[index]!,
  }));
  return {
    type: values.IS_FINAL[0] === true ? "final" : "partial",
    text: words.map((word) => word.text).join(" "),
    tokens,
    words,
    audioSecs,
    latencyMs,
    stableWords: ends.length > 0 ? words.length : stableWordsOf(tokens, numbers("STABLE_TOKENS")[0]!),
    segments,
    alternatives: alternatives.length > 1 ? alternatives : [],
  };
}

function elements(datatype: string, bytes: Uint8Array): (string | number | boolean)[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (datatype) {
    case "BOOL":
      return [...view].map((value) => value !== 0);
    case "INT32":
      return Array.from({ length: view.length / 4 }, (_, index) => view.readInt32LE(4 * index));
    case "FP32":
      return Array.from({ length: view.length / 4 }, (_, index) => view.readFloatLE(4 * index));
    case "BYTES": {
      const texts: string[] = [];
      for (let at = 0; at < view.length; ) {
        const length = view.readUInt32LE(at);
        texts.push(view.toString("utf8", at + 4, at + 4 + length));
        at += 4 + length;
      }
      return texts;
    }
    default:
      throw new TypeError(`an output has the data type ${datatype}; known: BOOL, INT32, FP32, BYTES`);
  }
}
