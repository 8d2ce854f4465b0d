// The page's side of the draft recogniser: what it hears beyond what the server has answered.

const WORD_START = "▁";

export class Draft {
  /** Whether this gateway offers drafts. */
  static async offered() {
    return (await (await fetch("page.json")).json()).draft;
  }

  constructor() {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.tokens = [];
    this.stream = 0;
    this.handler = null;
    this.ready = new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => {
        if (data.ready) {
          this.frameSecs = data.frameSecs;
          resolve();
        } else if (data.failed) {
          reject(new Error(data.failed));
        } else if (data.stream === this.stream) {
          this.tokens = data.tokens;
          this.handler?.(data);
        }
      };
    });
    this.worker.postMessage({ load: new URL("draft/", document.baseURI).href });
  }

  /** Begin a stream; `handler` is called whenever there may be new tokens. */
  open(handler) {
    this.tokens = [];
    this.handler = handler;
    this.worker.postMessage({ stream: ++this.stream });
  }

  push(samples) {
    this.worker.postMessage({ stream: this.stream, samples });
  }

  close() {
    this.handler = null;
    this.tokens = [];
    this.worker.postMessage({ stream: ++this.stream });
  }

  /** The text that follows the server's, which covers the audio up to a time. */
  beyond(secs) {
    const covered = Math.round(secs / this.frameSecs);
    const pieces = this.tokens.filter(({ frame }) => frame >= covered).map(({ piece }) => piece);
    return pieces.join("").replaceAll(WORD_START, " ");
  }

  /** When the first word of the stream was heard, seconds; null before there is one. */
  get firstSecs() {
    return this.tokens.length ? this.tokens[0].frame * this.frameSecs : null;
  }
}
