/** The big button, the words beside it, the controls, and what went wrong. */

import { icon, make, part, write } from "./dom.js";
import * as words from "./strings.js";

/** @typedef {import("./types").Phase} Phase */
/** @typedef {import("./types").TroubleAction} TroubleAction */
/** @typedef {import("./talk.js").Talk} Talk */
/** @typedef {import("./types").Readiness} Readiness */

/** @type {Record<Phase, string>} */
const ICONS = {
  idle: "mic",
  asking: "mic",
  connecting: "dots",
  listening: "ear",
  thinking: "dots",
  speaking: "wave",
  ended: "mic",
  error: "again",
};

export class Stage {
  #page = document.documentElement;
  #talk = part("talk", HTMLButtonElement);
  #talkIcon = part("talk-icon");
  #talkLabel = part("talk-label");
  #state = part("state");
  #loading = part("loading", HTMLProgressElement);
  #offline = part("offline");
  #hint = part("hint");
  #controls = part("controls");
  #mute = part("mute", HTMLButtonElement);
  #muteLabel = part("mute-label");
  #checkButton = part("check", HTMLButtonElement);
  #form = part("typed", HTMLFormElement);
  #notice = part("notice");
  #noticeText = part("notice-text");
  #sound = part("sound-blocked");
  #trouble = part("trouble");
  #checklist = part("checklist");
  #announcer = part("announcer");
  #act;
  /** @type {unknown} */
  #troubleShown = null;

  /** @param {(action: TroubleAction) => void} act a trouble's button was pressed */
  constructor(act) {
    this.#act = act;
  }

  /**
   * @param {Talk} talk
   * @param {Readiness | null} readiness null: the server does not answer
   */
  render(talk, readiness) {
    const { phase } = talk;
    const server = readiness === null ? "silent" : readiness.ready ? "ready" : "loading";
    const blocked = server !== "ready" && !talk.busy;
    Object.assign(this.#page.dataset, {
      phase,
      // The page keeps its calm first face until there is a call, and what was said stays after it.
      view: (talk.connected && !talk.check) || talk.resuming || talk.captions.all.length > 0 ? "call" : "idle",
      empty: String(talk.captions.all.length === 0),
      busy: String(talk.busy),
      connected: String(talk.connected),
      check: String(talk.check),
      muted: String(talk.muted),
      user: String(talk.floor.userSpeaks && !talk.muted),
      server,
    });
    const { title, hint } = describe(talk, readiness);
    write(this.#state, title);
    write(this.#hint, hint);
    this.#loading.hidden = server !== "loading" || talk.busy || (readiness?.parts.some(isBroken) ?? false);
    this.#loading.value = readiness?.parts.length ? readiness.parts.reduce(addProgress, 0) / readiness.parts.length : 0;
    const brain = readiness?.parts.find((one) => one.name === "llm");
    this.#offline.hidden = !brain || talk.busy || !brain.choice.startsWith("offline") || brain.note === "";
    write(this.#offline, brain?.note ?? "");
    this.#button(talk, blocked);
    this.#controls.hidden = !talk.connected;
    this.#mute.hidden = talk.withoutMicrophone;
    this.#mute.setAttribute("aria-pressed", String(talk.muted));
    write(this.#muteLabel, talk.muted ? words.UNMUTE : words.MUTE);
    this.#checkButton.disabled = talk.busy || !canEcho(readiness);
    this.#form.hidden = !talk.connected || talk.check;
    this.#notice.hidden = talk.notice === "";
    write(this.#noticeText, talk.notice);
    this.#sound.hidden = !talk.soundBlocked;
    this.#renderChecklist(talk);
    this.#renderTrouble(talk);
  }

  /**
   * A button that had the focus may be gone now; the focus goes where the next step is.
   * @param {boolean} typing messages are typed in this call
   */
  keepFocus(typing) {
    const { activeElement } = document;
    const lost = !activeElement || activeElement === document.body || !activeElement.checkVisibility();
    if (!lost) return;
    const next = this.#trouble.querySelector("button") ?? (typing ? this.#form.querySelector("input") : null) ?? this.#talk;
    next.focus({ preventScroll: true });
  }

  /**
   * Tells screen readers.
   * @param {string} said
   */
  announce(said) {
    write(this.#announcer, said);
  }

  /**
   * @param {Talk} talk
   * @param {boolean} blocked
   */
  #button({ phase, check, muted }, blocked) {
    const idleInCall = phase === "listening";
    this.#talk.disabled = blocked;
    // While it only listens there is nothing to press; it stays focusable, so that the focus is not lost.
    this.#talk.setAttribute("aria-disabled", String(idleInCall));
    const label = check ? words.CHECK.title : muted ? words.MUTED.title : words.TALK_LABELS[phase];
    write(this.#talkLabel, idleInCall ? label : words.TALK_LABELS[phase]);
    const name = blocked ? "dots" : muted && idleInCall ? "mic-off" : ICONS[phase];
    if (this.#talkIcon.dataset.icon === name) return;
    this.#talkIcon.dataset.icon = name;
    this.#talkIcon.replaceChildren(icon(name));
  }

  /** @param {Talk} talk */
  #renderChecklist(talk) {
    const shown = talk.check && (talk.busy || talk.phase === "ended") && talk.phase !== "asking";
    this.#checklist.hidden = !shown;
    if (!shown) return;
    const steps = /** @type {const} */ (["connection", "microphone", "sound"]);
    const rows = steps.map((step) => {
      const done = talk.checked[step];
      const row = make("li", done ? "step step--done" : "step", icon(done ? "check" : "dots"), words.CHECK[step]);
      if (!done) row.append(make("span", "visually-hidden", ` ${words.CHECK.waiting}`));
      row.dataset.testid = `check-${step}`;
      row.dataset.done = String(done);
      return row;
    });
    this.#checklist.replaceChildren(...rows);
    if (steps.every((step) => talk.checked[step])) this.#checklist.append(make("li", "step step--all", words.CHECK.done));
  }

  /** @param {Talk} talk */
  #renderTrouble(talk) {
    const { trouble } = talk;
    this.#trouble.hidden = trouble === null;
    if (trouble === this.#troubleShown) return;
    this.#troubleShown = trouble;
    if (!trouble) {
      this.#trouble.replaceChildren();
      return;
    }
    const buttons = trouble.actions
      .filter((action) => action !== "none")
      .map((action, index) => {
        const button = make("button", index ? "button" : "button button--primary", words.ACTIONS[action]);
        button.type = "button";
        button.dataset.testid = `trouble-${action}`;
        button.addEventListener("click", () => this.#act(action));
        return button;
      });
    const text = make("p", "trouble__text", trouble.text);
    text.dataset.testid = "trouble-text";
    this.#trouble.replaceChildren(text, make("div", "trouble__actions", ...buttons));
    this.#trouble.dataset.code = trouble.code;
  }
}

/**
 * @param {Talk} talk
 * @param {Readiness | null} readiness
 * @returns {{ title: string, hint: string }}
 */
function describe(talk, readiness) {
  const { phase } = talk;
  const base = words.PHASES[phase];
  if (!talk.busy && phase !== "error") {
    if (readiness === null) return words.SERVER_SILENT;
    if (!readiness.ready) return describeLoading(readiness);
  }
  if (phase === "error") return { title: talk.trouble?.title ?? base.title, hint: "" };
  if (talk.resuming) return words.RESUMING;
  if (!talk.connected) return talk.check && phase === "ended" ? words.CHECK_ENDED : base;
  if (talk.muted) return phase === "listening" ? words.MUTED : { title: base.title, hint: words.MUTED.hint };
  if (talk.check) return words.CHECK;
  if (talk.floor.ducked) return { title: base.title, hint: words.DUCKED_HINT };
  if (talk.withoutMicrophone) return phase === "listening" ? words.TYPING : base;
  return phase === "listening" && talk.floor.userSpeaks ? words.HEARING_YOU : base;
}

/**
 * @param {Readiness} readiness
 * @returns {{ title: string, hint: string }}
 */
function describeLoading({ parts }) {
  const broken = parts.find(isBroken);
  if (broken) return { title: words.NOT_WORKING, hint: `${broken.title || broken.name}: ${broken.note}` };
  const names = parts
    .filter((one) => one.state === "loading")
    .map(({ name, title, progress }) => {
      const percent = progress === null ? "" : ` (${words.loaded(Math.round(progress * 100))})`;
      return (words.PART_NAMES[name] ?? (title || name)).toLowerCase() + percent;
    });
  return { title: words.GETTING_READY.title, hint: words.loading(names) };
}

/**
 * A sound check needs no engine, only the network part.
 * @param {Readiness | null} readiness
 */
function canEcho(readiness) {
  return readiness !== null && (readiness.ready || readiness.parts.some((one) => one.name === "ice" && one.state === "ready"));
}

/** @param {import("./types").ReadyPart} one */
function isBroken(one) {
  return one.state === "failed";
}

/**
 * @param {number} sum
 * @param {import("./types").ReadyPart} one
 */
function addProgress(sum, one) {
  return sum + (one.state === "ready" ? 1 : (one.progress ?? 0));
}
