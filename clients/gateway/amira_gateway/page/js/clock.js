// When which sample reached the page, to tell how far the text is behind.

export class Clock {
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.marks = []; // [samples until here, when], in order
    this.samples = 0;
  }

  /** Count samples that have just come. */
  push(count) {
    this.samples += count;
    this.marks.push([this.samples, performance.now()]);
  }

  get secs() {
    return this.samples / this.sampleRate;
  }

  /** When the sample at a time of the audio had come, as performance.now(); the latest for times beyond. */
  cameAt(secs) {
    const wanted = secs * this.sampleRate;
    let low = 0;
    let high = this.marks.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.marks[middle][0] >= wanted) high = middle;
      else low = middle + 1;
    }
    return this.marks[low]?.[1] ?? performance.now();
  }
}
