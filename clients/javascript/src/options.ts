/** What a stream or a recording asks of the decoder; docs/decoding.md says what each does. The server checks them. */
export interface DecodingOptions {
  /** Hypotheses kept; 1 is greedy search. */
  readonly beamSize?: number;
  /** Alternatives to report, at most `beamSize`. */
  readonly nBest?: number;
  readonly lengthNormalization?: boolean;
  /** Texts to listen for; with a weight of their own in a record. */
  readonly phrases?: readonly string[] | Readonly<Record<string, number>>;
  readonly phraseWeight?: number;
  readonly lmWeight?: number;
  /** Whether silence ends a segment. */
  readonly endpointing?: boolean;
  readonly endpointSilenceMs?: number;
  readonly endpointNoSpeechMs?: number;
  readonly endpointLengthMs?: number;
  /** Whether what is no speech is silenced before it is recognised; streams only. */
  readonly vadGate?: boolean;
}

/** Request parameters by name. */
export type Parameters = Readonly<Record<string, string | number | boolean>>;

/** Return the options under the names of the server, without those that are not given. */
export function parametersOf(options: DecodingOptions): Parameters {
  const parameters: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const serverName = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    parameters[serverName] = typeof value === "object" ? JSON.stringify(phrases(value)) : value;
  }
  return parameters;
}

function phrases(given: readonly string[] | Readonly<Record<string, number>>): unknown[] {
  return Array.isArray(given) ? given : Object.entries(given).map(([text, weight]) => ({ text, weight }));
}
