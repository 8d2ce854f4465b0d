// Streaming log-mel features, those of backends/log_mel: frames centred on multiples of the hop, power spectrum, mel
// filterbank, logarithm.

/** In-place complex FFT of a power of two (Cooley-Tukey), for real input. */
class Fft {
  constructor(size) {
    this.size = size;
    this.real = new Float64Array(size);
    this.imag = new Float64Array(size);
    this.cos = Float64Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sin = Float64Array.from({ length: size / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / size));
    this.reversed = new Uint32Array(size);
    const bits = Math.log2(size);
    for (let i = 0; i < size; i++) {
      for (let bit = 0; bit < bits; bit++) if (i & (1 << bit)) this.reversed[i] |= 1 << (bits - 1 - bit);
    }
  }

  /** Transform `read(i)` for i < size; the result is in `real` and `imag`. */
  transform(read) {
    const { size, real, imag, cos, sin, reversed } = this;
    for (let i = 0; i < size; i++) real[reversed[i]] = read(i);
    imag.fill(0);
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const even = start + k;
          const odd = even + half;
          const c = cos[k * step];
          const s = sin[k * step];
          const r = real[odd] * c + imag[odd] * s;
          const i = imag[odd] * c - real[odd] * s;
          real[odd] = real[even] - r;
          imag[odd] = imag[even] - i;
          real[even] += r;
          imag[even] += i;
        }
      }
    }
  }
}

export class StreamingLogMel {
  /**
   * @param {{n_mels: number, n_fft: number, hop_samples: number, preemphasis: number, log_guard: number}} mel
   * @param {Float32Array} filterbank [n_mels, n_fft / 2 + 1]
   * @param {Float32Array} window [window_samples]
   */
  constructor(mel, filterbank, window) {
    Object.assign(this, { mel, filterbank, window });
    this.fft = new Fft(mel.n_fft);
    this.power = new Float32Array(mel.n_fft / 2 + 1);
    this.tail = new Float32Array(window.length / 2);
    this.previous = 0;
  }

  /** Take samples in [-1, 1]; return the frames that they complete, Float32Array of n_mels each. */
  push(samples) {
    const { hop_samples: hop, preemphasis } = this.mel;
    const buffer = new Float32Array(this.tail.length + samples.length);
    buffer.set(this.tail);
    for (let i = 0; i < samples.length; i++) {
      buffer[this.tail.length + i] = samples[i] - preemphasis * (i ? samples[i - 1] : this.previous);
    }
    if (samples.length) this.previous = samples[samples.length - 1];
    const frames = [];
    let start = 0;
    for (; start + this.window.length <= buffer.length; start += hop) frames.push(this.#frame(buffer, start));
    this.tail = buffer.slice(start);
    return frames;
  }

  #frame(buffer, start) {
    const { window, power, filterbank, fft } = this;
    fft.transform((i) => (i < window.length ? buffer[start + i] * window[i] : 0));
    for (let i = 0; i < power.length; i++) power[i] = fft.real[i] ** 2 + fft.imag[i] ** 2;
    const frame = new Float32Array(this.mel.n_mels);
    for (let band = 0; band < frame.length; band++) {
      let sum = 0;
      const row = band * power.length;
      for (let i = 0; i < power.length; i++) sum += filterbank[row + i] * power[i];
      frame[band] = Math.log(sum + this.mel.log_guard);
    }
    return frame;
  }
}
