// The words: certain ones dark, those that may change light, a draft of what the server has not heard yet in italics.

export class Transcript {
  /** @param {{text: HTMLElement, spoken: HTMLElement, timings: HTMLElement}} elements */
  constructor(elements) {
    this.elements = elements;
    this.clear();
  }

  clear() {
    this.words = [];
    this.stable = 0;
    this.said = 0;
    this.draft = "";
    for (const element of Object.values(this.elements)) element.replaceChildren();
    this.certain = this.elements.text.appendChild(document.createElement("span"));
    this.unstable = this.elements.text.appendChild(document.createElement("span"));
    this.unstable.className = "unstable";
    this.drafted = this.elements.text.appendChild(document.createElement("span"));
    this.drafted.className = "draft";
  }

  get text() {
    return this.words.map(({ word }) => word).join(" ");
  }

  /** Take a message of the gateway. */
  update(message) {
    this.words.splice(message.words_from, Infinity, ...message.words);
    const stable = message.stable_text ? message.stable_text.split(" ").length : 0;
    this.#timings(message.words_from);
    this.stable = message.type === "final" ? this.words.length : stable;
    if (message.type === "final") this.draft = "";
    this.#show();
    this.#speak();
  }

  /** Show a draft of what follows the server's words; one that goes on in the last word begins without a space. */
  show(draft) {
    this.draft = draft;
    this.#show();
  }

  #show() {
    const { text } = this.elements;
    const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    const join = (words) => words.map(({ word }) => word).join(" ");
    this.certain.textContent = join(this.words.slice(0, this.stable));
    const rest = join(this.words.slice(this.stable));
    this.unstable.textContent = rest && this.stable ? ` ${rest}` : rest;
    this.drafted.textContent = this.words.length ? this.draft : this.draft.trimStart();
    if (atEnd) text.scrollTop = text.scrollHeight;
  }

  /** Screen readers hear each word once, when it is certain. */
  #speak() {
    const fresh = this.words.slice(this.said, this.stable);
    if (!fresh.length) return;
    this.said = this.stable;
    const line = document.createElement("span");
    line.textContent = `${fresh.map(({ word }) => word).join(" ")} `;
    this.elements.spoken.append(line);
  }

  #timings(from) {
    const body = this.elements.timings;
    while (body.rows.length > from) body.deleteRow(-1);
    for (const { word, start, end, confidence } of this.words.slice(from)) {
      const row = body.insertRow();
      for (const value of [word, `${start.toFixed(2)} s`, `${end.toFixed(2)} s`, `${(confidence * 100).toFixed(1)} %`]) {
        row.insertCell().textContent = value;
      }
    }
  }
}
