// The page: buttons, a source of audio, a connection, and what is shown.

import { Clock } from "./clock.js";
import { Connection } from "./connection.js";
import { Draft } from "./draft/draft.js";
import { Microphone, Recording } from "./sources.js";
import { webvtt } from "./subtitles.js";
import { Transcript } from "./transcript.js";
import { Waveform } from "./waveform.js";

const element = (id) => document.getElementById(id);
const waveform = new Waveform(element("waveform"));
const transcript = new Transcript({ text: element("transcript"), spoken: element("spoken"), timings: element("timings") });

const DRAFT_RATE = 16000;

let session = null;
let draft = null; // loaded when it is asked for, and kept

/** One stream from its first sample to its final transcript. */
class Session {
  constructor(source) {
    this.source = source;
    this.clock = new Clock(source.sampleRate);
    this.covered = 0; // seconds of audio that the server's text covers
    this.draft = element("draft").checked && source.sampleRate === DRAFT_RATE && !source.fast ? draft : null;
    this.connection = new Connection(
      {
        model: element("model").value || "default",
        sampleRate: source.sampleRate,
        endpointing: element("endpointing").checked,
        phrases: element("phrases").value,
        key: element("key").value,
      },
      { message: (message) => this.#message(message), ended: (error) => this.#ended(error) },
    );
  }

  start() {
    this.draft?.open(() => this.#drafted());
    this.source.start(
      (samples) => {
        this.draft?.push(samples);
        this.clock.push(samples.length);
        this.connection.send(samples);
        waveform.push(samples, this.source.sampleRate);
        element("elapsed").textContent = minutes(this.clock.secs);
      },
      () => this.connection.end(),
      () => this.connection.backlog,
    );
  }

  stop() {
    status("Finishing…", "working");
    this.source.stop();
  }

  #message(message) {
    transcript.update(message);
    this.covered = message.audio_secs;
    if (this.draft && message.type !== "final") transcript.show(this.draft.beyond(this.covered));
    waveform.show(transcript.words);
    element("behind").textContent = millis(performance.now() - this.clock.cameAt(message.audio_secs));
    element("chunk").textContent = millis(message.latency_ms);
    element("count").textContent = transcript.words.length;
    if (transcript.words.length) this.#first("first-word", transcript.words[0].start, transcript.text);
  }

  #drafted() {
    transcript.show(this.draft.beyond(this.covered));
    if (this.draft.firstSecs !== null) this.#first("first-draft", this.draft.firstSecs, this.draft.beyond(0));
  }

  /** Note how long after its first sound the first word was shown; for measurements also when, and what. */
  #first(id, secs, text) {
    if (element(id).textContent !== "–") return;
    element(id).textContent = millis(performance.now() - this.clock.cameAt(secs));
    Object.assign(element(id).dataset, { at: performance.now() - this.clock.cameAt(0), text });
  }

  #ended(error) {
    this.source.stop();
    this.draft?.close();
    session = null;
    running(false);
    status(error ? "Stopped" : "Done", "idle");
    if (error) alert(error);
  }
}

async function begin(open, label) {
  if (session) return;
  alert("");
  clear();
  status("Starting…", "working");
  running(true);
  try {
    session = new Session(await open());
    session.start();
    status(label, "live");
  } catch (error) {
    session = null;
    running(false);
    status("Ready", "idle");
    alert(error.message);
  }
}

function running(on) {
  const button = element("microphone");
  button.setAttribute("aria-pressed", String(on));
  button.lastElementChild.textContent = on ? "Stop" : "Start microphone";
  for (const id of ["choose", "model"]) element(id).disabled = on;
  for (const id of ["copy", "save", "clear"]) element(id).disabled = on || !transcript.words.length;
}

function clear() {
  transcript.clear();
  waveform.clear();
  for (const id of ["first-word", "first-draft", "behind", "chunk"]) element(id).textContent = "–";
  for (const id of ["first-word", "first-draft"]) for (const name of ["at", "text"]) delete element(id).dataset[name];
  element("elapsed").textContent = "0:00";
  element("count").textContent = "0";
  for (const id of ["copy", "save", "clear"]) element(id).disabled = true;
}

function status(text, state) {
  element("status").textContent = text;
  element("status").dataset.state = state;
}

function alert(text) {
  element("alert").textContent = text;
  element("alert").hidden = !text;
}

function millis(value) {
  return `${Math.round(value)} ms`;
}

function minutes(secs) {
  return `${Math.floor(secs / 60)}:${String(Math.floor(secs % 60)).padStart(2, "0")}`;
}

function save(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

async function showModels() {
  const key = element("key").value;
  try {
    const answer = await fetch("v1/models", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error.message);
    element("model").replaceChildren(...body.data.map(({ id }) => new Option(id, id)));
    alert("");
  } catch (error) {
    alert(error.message);
  }
}

async function offerDraft() {
  if (!(await Draft.offered())) return;
  element("draft-field").hidden = false;
  element("draft").addEventListener("change", async ({ target }) => {
    localStorage.setItem("draft", target.checked);
    for (const id of ["draft-legend", "draft-readout"]) element(id).hidden = !target.checked;
    if (!target.checked || draft) return;
    target.disabled = true;
    element("draft-state").textContent = "(loading…)";
    try {
      const loading = new Draft();
      await loading.ready;
      draft = loading;
      element("draft-state").textContent = "(ready)";
    } catch (error) {
      target.checked = false;
      alert(`No draft: ${error.message}`);
    }
    target.disabled = false;
  });
  if (localStorage.getItem("draft") === "true") element("draft").click();
}

element("microphone").addEventListener("click", () => {
  if (session) session.stop();
  else begin(() => Microphone.open(), "Listening");
});
element("choose").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) begin(() => Recording.open(file, { fast: element("fast").checked }), `Playing ${file.name}`);
});
element("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(transcript.text);
  status("Copied", "idle");
});
element("save").addEventListener("click", () => save("transcript.vtt", "text/vtt", webvtt(transcript.words)));
element("clear").addEventListener("click", clear);
element("key").addEventListener("change", ({ target }) => {
  sessionStorage.setItem("key", target.value);
  showModels();
});
element("key").value = sessionStorage.getItem("key") ?? "";
showModels();
offerDraft();
