// The last seconds of audio as bars, with the words where they were heard.

const SHOWN_SECS = 12;
const BARS_PER_SEC = 25;

export class Waveform {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  clear() {
    this.peaks = [];
    this.secs = 0;
    this.partial = { peak: 0, samples: 0 };
    this.words = [];
    this.draw();
  }

  push(samples, sampleRate) {
    const perBar = sampleRate / BARS_PER_SEC;
    for (const sample of samples) {
      this.partial.peak = Math.max(this.partial.peak, Math.abs(sample));
      if (++this.partial.samples >= perBar) {
        this.peaks.push(this.partial.peak);
        this.partial = { peak: 0, samples: 0 };
      }
    }
    this.secs += samples.length / sampleRate;
    const most = SHOWN_SECS * BARS_PER_SEC;
    if (this.peaks.length > 2 * most) this.peaks.splice(0, this.peaks.length - most);
    this.draw();
  }

  show(words) {
    this.words = words;
    this.draw();
  }

  draw() {
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      this.#paint();
    });
  }

  #paint() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const middle = (height - 20) / 2;
    const step = width / (SHOWN_SECS * BARS_PER_SEC);
    context.fillStyle = style.color;
    const shown = this.peaks.slice(-SHOWN_SECS * BARS_PER_SEC);
    shown.forEach((peak, index) => {
      const size = Math.max(1, Math.sqrt(peak) * middle);
      context.fillRect(width - (shown.length - index) * step, middle - size, Math.max(1, step * 0.6), 2 * size);
    });
    context.fillStyle = getComputedStyle(document.body).color;
    context.font = `12px ${style.fontFamily}`;
    let free = 0;
    for (const { word, start } of this.words.slice(-60)) {
      const x = width - ((this.secs - start) / SHOWN_SECS) * width;
      if (x < free || x < 0) continue;
      context.fillText(word, x, height - 5);
      free = x + context.measureText(`${word} `).width;
    }
  }
}
