// Words to WebVTT: a new cue at a pause, and before one grows too long to read.

const MOST_CHARACTERS = 84;
const MOST_SECS = 6;
const PAUSE_SECS = 1;

export function webvtt(words) {
  const cues = [];
  for (const word of words) {
    const cue = cues.at(-1);
    const fits =
      cue &&
      cue.reduce((length, item) => length + item.word.length + 1, word.word.length) <= MOST_CHARACTERS &&
      word.end - cue[0].start <= MOST_SECS &&
      word.start - cue.at(-1).end <= PAUSE_SECS;
    if (fits) cue.push(word);
    else cues.push([word]);
  }
  const lines = cues.map((cue) => `${time(cue[0].start)} --> ${time(cue.at(-1).end)}\n${cue.map((word) => word.word).join(" ")}\n`);
  return ["WEBVTT\n", ...lines].join("\n");
}

function time(secs) {
  return new Date(Math.round(secs * 1000)).toISOString().slice(11, 23);
}
