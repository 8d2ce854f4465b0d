// Frames to the encoder's windows, as backends/log_mel/streaming.py makes them; without END, whose words the server has.

export class Windows {
  /** @param {object} geometry `streaming` of description.json @param {number} nMels */
  constructor(geometry, nMels) {
    this.geometry = geometry;
    this.nMels = nMels;
    this.context = null;
    this.pending = [];
  }

  /** Take frames; return the windows that they complete, Float32Array [n_mels, window_frames] each. */
  push(frames) {
    const { first_chunk_frames, chunk_frames, left_pad_frames, pre_encode_cache_frames } = this.geometry;
    this.pending.push(...frames);
    const windows = [];
    for (;;) {
      const due = this.context ? chunk_frames : first_chunk_frames;
      if (this.pending.length < due) return windows;
      const left = this.context ?? Array.from({ length: left_pad_frames }, () => new Float32Array(this.nMels));
      const window = [...left, ...this.pending.splice(0, due)];
      this.context = window.slice(-pre_encode_cache_frames);
      windows.push(this.#transposed(window));
    }
  }

  #transposed(frames) {
    const data = new Float32Array(this.nMels * frames.length);
    frames.forEach((frame, time) => frame.forEach((value, band) => (data[band * frames.length + time] = value)));
    return data;
  }
}
