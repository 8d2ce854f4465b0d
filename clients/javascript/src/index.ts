export type { Audio, AudioBuffer16k } from "./audio.js";
export { AsrClient, type AudioOptions, type ClientOptions } from "./client.js";
export * from "./errors.js";
export type { Alternative, Segment, Token, Transcript, Word } from "./events.js";
export type { DecodingOptions } from "./options.js";
