/** The menu that saves a talk: transcript as text, JSON or subtitles, and the recording of both sides. */

import { make, part, write } from "./dom.js";
import { Recorder } from "./recorder.js";
import { texts } from "./strings.js";
import { asJson, asSrt, asText } from "./transcript.js";

/** @typedef {import("./talk.js").Talk} Talk */

/** How long a browser may need to take over what it saves. */
const REVOKE_AFTER_MS = 60_000;

export class SaveView {
  #menu = part("save");
  #open = part("save-open", HTMLButtonElement);
  #record = part("record", HTMLButtonElement);
  #audio = part("save-audio", HTMLButtonElement);
  #empty = part("save-empty");
  #dot = part("recording");
  #names;
  /** @type {HTMLButtonElement[]} */
  #files;
  /** @type {Talk} */
  #talk;

  /**
   * @param {Talk} talk
   * @param {string} agentName
   */
  constructor(talk, agentName) {
    this.#talk = talk;
    this.#names = { you: texts.captions.you, agent: agentName };
    this.#files = [...this.#menu.querySelectorAll("button")].filter((button) => button.dataset.save);
    for (const button of this.#files) button.addEventListener("click", () => this.#save(button.dataset.save ?? ""));
    this.#record.addEventListener("click", () => talk.toggleRecording());
    this.#record.hidden = !Recorder.possible;
    this.#menu.addEventListener("toggle", (event) => {
      const open = /** @type {ToggleEvent} */ (event).newState === "open";
      this.#open.setAttribute("aria-expanded", String(open));
    });
  }

  render() {
    const { captions, isRecording, recording, connected, check } = this.#talk;
    const some = captions.all.some((caption) => caption.text !== "");
    for (const button of this.#files) button.disabled = !some;
    this.#audio.disabled = recording === null;
    this.#audio.hidden = recording === null;
    this.#empty.hidden = some || recording !== null;
    this.#record.disabled = !connected || check;
    this.#record.setAttribute("aria-pressed", String(isRecording));
    this.#dot.hidden = !isRecording;
    write(this.#dot, isRecording ? texts.announced.recording : "");
  }

  /** @param {string} kind */
  #save(kind) {
    const { captions, oracle, facts, recording } = this.#talk;
    const at = new Date();
    const name = `kame-${at.toISOString().slice(0, 19).replace(/[T:]/g, "-")}`;
    switch (kind) {
      case "txt":
        return download(new Blob([asText(captions.all, this.#names, texts.captions.unheard)], TEXT), `${name}.txt`);
      case "json": {
        const json = asJson(captions.all, oracle.all, { mode: facts.mode, engines: facts.engines, at });
        return download(new Blob([json], { type: "application/json" }), `${name}.json`);
      }
      case "srt":
        return download(new Blob([asSrt(captions.all, this.#names)], TEXT), `${name}.srt`);
      case "audio":
        if (recording) download(recording, `${name}.${extension(recording.type)}`);
        return undefined;
      default:
        return undefined;
    }
  }
}

const TEXT = { type: "text/plain;charset=utf-8" };

/** @param {string} type MIME type */
function extension(type) {
  return type.startsWith("audio/mp4") ? "m4a" : type.startsWith("audio/ogg") ? "ogg" : "webm";
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
function download(blob, name) {
  const link = make("a", "");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKE_AFTER_MS);
}
