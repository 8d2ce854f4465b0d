// Runs on the audio thread: collects the microphone's blocks of 128 samples to buffers of 20 ms or more.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new Float32Array(Math.ceil((sampleRate * 0.02) / 128) * 128);
    this.filled = 0;
    this.running = true;
    this.port.onmessage = () => (this.running = false);
  }

  process([[channel]]) {
    if (channel) {
      this.buffer.set(channel, this.filled);
      this.filled += channel.length;
      if (this.filled >= this.buffer.length) {
        this.port.postMessage(this.buffer.slice());
        this.filled = 0;
      }
    }
    return this.running;
  }
}

registerProcessor("capture", Capture);
