/** What a stream yields: transcripts with their tokens and words. */

export interface Token {
  /** Index in the model's vocabulary. */
  readonly id: number;
  /** Its SentencePiece piece; a leading "▁" starts a word. */
  readonly text: string;
  /** When it was heard, seconds from the start of the audio. */
  readonly timeSecs: number;
  /** 0 to 1. */
  readonly confidence: number;
}

export interface Word {
  readonly text: string;
  readonly startSecs: number;
  readonly endSecs: number;
  /** The lowest of its tokens'. */
  readonly confidence: number;
}

/** A finished part of a stream. */
export interface Segment {
  readonly text: string;
  readonly startSecs: number;
  readonly endSecs: number;
  /** Why it ended: "silence", "no_speech", "length", "finalize" or "end". */
  readonly rule: string;
}

/** Another way to read the latest segment. */
export interface Alternative {
  readonly text: string;
  /** Natural-log probability, per token unless the options say otherwise. */
  readonly score: number;
}

export interface Transcript {
  /** "final" for the last event of a stream, and for recordings. */
  readonly type: "partial" | "final";
  /** The whole text so far. */
  readonly text: string;
  readonly tokens: readonly Token[];
  readonly words: readonly Word[];
  /** Seconds of audio that the text covers. */
  readonly audioSecs: number;
  /** From sending the latest audio to receiving this. */
  readonly latencyMs: number;
  /** How many of the words will not change any more. */
  readonly stableWords: number;
  /** Those that ended with this event. */
  readonly segments: readonly Segment[];
  /** The best readings of the latest segment, best first, if more than one was asked for. */
  readonly alternatives: readonly Alternative[];
}

const WORD_START = "▁";

/** Group tokens to words at the pieces that begin with "▁". */
export function wordsOf(tokens: readonly Token[], frameSecs: number): Word[] {
  const groups: Token[][] = [];
  for (const token of tokens) {
    const current = groups.at(-1);
    if (current === undefined || token.text.startsWith(WORD_START)) groups.push([token]);
    else current.push(token);
  }
  return groups
    .map((group) => ({
      text: group.map((token) => token.text).join("").replaceAll(WORD_START, ""),
      startSecs: group[0]!.timeSecs,
      endSecs: group.at(-1)!.timeSecs + frameSecs,
      confidence: Math.min(...group.map((token) => token.confidence)),
    }))
    .filter((word) => word.text !== "");
}

/** How many words cannot change when the first `stable` tokens cannot: the last of them may still grow. */
export function stableWordsOf(tokens: readonly Token[], stable: number): number {
  const begun = tokens.filter((token, index) => index < stable && (index === 0 || token.text.startsWith(WORD_START)));
  return Math.max(0, begun.length - 1);
}

/** Put the finished segments of a stream before its current one. */
export function follow(finished: Transcript, current: Transcript): Transcript {
  return {
    ...current,
    text: [finished.text, current.text].filter((text) => text !== "").join(" "),
    tokens: [...finished.tokens, ...current.tokens],
    words: [...finished.words, ...current.words],
    stableWords: finished.words.length + current.stableWords,
  };
}
