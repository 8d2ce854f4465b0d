/** What can go wrong, as classes whose text says what to do about it. The same as in the Python client. */

import type { Transcript } from "./events.js";

export class AmiraError extends Error {
  /** Whether the same call may succeed later. */
  readonly retryable: boolean = false;
  /** What had been recognised before the error. */
  partial: Transcript | undefined;
  /** Its text. */
  partialText: string | undefined;

  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** No server answers at the endpoint, or it went away. */
export class ServerUnavailable extends AmiraError {
  override readonly retryable = true;
}

/** The server did not answer in time. */
export class DeadlineExceeded extends AmiraError {
  override readonly retryable = true;
}

/** The server serves as many streams as it admits. */
export class ServerFull extends AmiraError {
  override readonly retryable = true;
}

/** The server does not know the stream any more: it was idle for too long, or the server was restarted. */
export class SequenceLost extends AmiraError {
  override readonly retryable = true;
}

/** The audio is not what the model takes. */
export class InvalidAudio extends AmiraError {}

/** Anything else that the server reports. */
export class ServerError extends AmiraError {}

/** An option that the server does not take, or not with that value; the text names what is allowed. */
export class InvalidRequest extends ServerError {}

type Kind = new (message: string) => AmiraError;

/** By what the texts say, first match first. */
const BY_TEXT: readonly (readonly [RegExp, Kind])[] = [
  [/deadline exceeded|did not answer/i, DeadlineExceeded],
  [/server full|server overloaded|rate limited|Exceeds maximum queue size/, ServerFull],
  [/server is stopping/i, ServerUnavailable],
  [/is not live here|failed earlier|must specify the START flag/, SequenceLost],
  [/failed to connect|No connection established|Connection dropped|ECONN|UNAVAILABLE|is not healthy/i, ServerUnavailable],
  [/\bAUDIO\b|\bsample_rate\b/, InvalidAudio],
  [/; allowed\b|^unknown parameter|^phrases\b|^lm_weight\b|comes too late/, InvalidRequest],
];

/** Turn what Triton or gRPC says into one of our errors. */
export function toError(text: string): AmiraError {
  // In an ensemble Triton puts the failing step in front; ours is the rest.
  const message = text.replace(/^in ensemble '[^']*', /, "");
  const kind = BY_TEXT.find(([pattern]) => pattern.test(message))?.[1] ?? ServerError;
  return new kind(message);
}

/** By the codes of the gateway's error messages. */
const BY_CODE: Readonly<Record<string, Kind>> = {
  server_full: ServerFull,
  rate_limited: ServerFull,
  deadline_exceeded: DeadlineExceeded,
  server_unavailable: ServerUnavailable,
  invalid_audio: InvalidAudio,
  invalid_option: InvalidRequest,
  invalid_field: InvalidRequest,
};

/** Turn an error message of the gateway into one of our errors. */
export function fromGateway(code: string, message: string): AmiraError {
  const kind = BY_CODE[code];
  return kind === undefined ? toError(message) : new kind(message);
}
