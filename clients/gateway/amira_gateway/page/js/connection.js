// The WebSocket to the gateway: docs/gateway.md has the protocol.

const END = Uint8Array.of(0);

/** Base64url of a text, as the gateway wants API keys in a subprotocol. */
function base64url(text) {
  const binary = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Why a WebSocket was refused: browsers do not tell, so ask the health route. */
async function reasonOfRefusal(key) {
  try {
    const health = await (await fetch("health/detailed")).json();
    if (health.status === "draining") return "The gateway is stopping. Try again in a moment.";
    if (!health.triton.ready) return `Triton at ${health.triton.endpoint} is not ready. Start it, then try again.`;
    if (health.streams.active >= health.streams.limit) return "All places for streams are taken. Try again in a moment.";
    const answer = await fetch("v1/models", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
    if (!answer.ok) return (await answer.json()).error.message;
    return "The gateway refused the stream.";
  } catch {
    return "The gateway does not answer.";
  }
}

/** One stream: samples in, transcripts out. */
export class Connection {
  /**
   * @param {{model: string, sampleRate: number, endpointing: boolean, phrases: string, key: string}} options
   * @param {{message: (message: object) => void, ended: (error: string | null) => void}} handlers
   */
  constructor(options, handlers) {
    const url = new URL(`v2/decode/stream/${encodeURIComponent(options.model)}`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const query = { words: true, sample_rate: options.sampleRate };
    if (options.endpointing) query.endpointing = true;
    if (options.phrases.trim()) query.phrases = options.phrases;
    url.search = new URLSearchParams(query);
    const protocols = options.key ? ["amira", `amira-key.${base64url(options.key)}`] : ["amira"];
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    this.waiting = [];
    let opened = false;
    let failure = null;
    let final = false;
    this.socket.onopen = () => {
      opened = true;
      for (const data of this.waiting.splice(0)) this.socket.send(data);
    };
    this.socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "error") failure = message.message;
      else handlers.message(message);
      final ||= message.type === "final";
    };
    this.socket.onclose = async () => {
      if (!opened) failure = await reasonOfRefusal(options.key);
      else if (!final && failure === null) failure = "The connection broke. What was recognised is below.";
      handlers.ended(failure);
    };
  }

  /** Send samples, Float32Array in [-1, 1], as 16-bit integers. */
  send(samples) {
    const integers = new Int16Array(samples.length);
    for (let i = 0; i < samples.length; i++) integers[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
    this.#send(integers.buffer);
  }

  /** How many bytes wait to be sent. */
  get backlog() {
    return this.socket.bufferedAmount;
  }

  /** No more audio will come; the final transcript still does. */
  end() {
    this.#send(END);
  }

  close() {
    this.socket.close();
  }

  #send(data) {
    if (this.socket.readyState === WebSocket.CONNECTING) this.waiting.push(data);
    else if (this.socket.readyState === WebSocket.OPEN) this.socket.send(data);
  }
}
