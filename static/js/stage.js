/** The big button, the words beside it, the controls, and what went wrong. */

import { icon, make, part, write } from "./dom.js";
import { duration, fill, texts } from "./strings.js";

/** @typedef {import("./types").Phase} Phase */
/** @typedef {import("./types").TroubleAction} TroubleAction */
/** @typedef {import("./talk.js").Talk} Talk */
/** @typedef {import("./types").Readiness} Readiness */

/** @type {Record<Phase, string>} */
const ICONS = {
  idle: "mic",
  asking: "mic",
  queued: "dots",
  connecting: "dots",
  listening: "ear",
  thinking: "dots",
  speaking: "wave",
  ended: "mic",
  error: "again",
};

/** @type {Record<string, { label: string }>} */
const labels = texts.engines;

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
      aloud: String(talk.connected && talk.floor.aloud),
      held: String(talk.held),
      hold: String(talk.connected && talk.pushToTalk),
      typing: String(talk.withoutMicrophone && talk.busy),
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
    this.#mute.hidden = talk.withoutMicrophone || talk.pushToTalk;
    this.#mute.setAttribute("aria-pressed", String(talk.muted));
    write(this.#muteLabel, talk.muted ? texts.unmute : texts.mute);
    this.#checkButton.disabled = talk.busy || !canEcho(readiness);
    this.#form.hidden = (talk.busy && !talk.connected) || (talk.busy && talk.check) || server !== "ready";
    this.#notice.hidden = talk.notice.words === "";
    this.#noticeText.lang = talk.notice.language;
    write(this.#noticeText, talk.notice.words);
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
   * ... how far the talk is.
   * @param {Talk} talk
   */
  announcePhase({ phase, trouble, endedByServer }) {
    /** @type {Record<string, string>} */
    const said = texts.announced;
    const plain = endedByServer ? texts.states.ended_by_server.title : (said[phase] ?? "");
    this.announce(trouble ? `${trouble.title}. ${trouble.text}` : plain);
  }

  /**
   * @param {Talk} talk
   * @param {boolean} blocked
   */
  #button({ phase, check, muted, held, pushToTalk, connected }, blocked) {
    const hold = connected && pushToTalk;
    const idleInCall = phase === "listening" && !hold;
    this.#talk.disabled = blocked;
    // While it only listens there is nothing to press; it stays focusable, so that the focus is not lost.
    this.#talk.setAttribute("aria-disabled", String(idleInCall));
    const { buttons } = texts;
    const inCall = check ? texts.check.title : muted ? buttons.muted : buttons.listening;
    write(this.#talkLabel, hold ? (held ? buttons.held : buttons.hold) : idleInCall ? inCall : buttons[phase]);
    const name = blocked ? "dots" : hold ? (held ? "ear" : "mic") : muted && idleInCall ? "mic-off" : ICONS[phase];
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
      const row = make("li", done ? "step step--done" : "step", icon(done ? "check" : "dots"), texts.check[step]);
      if (!done) row.append(make("span", "visually-hidden", ` ${texts.check.waiting}`));
      row.dataset.testid = `check-${step}`;
      row.dataset.done = String(done);
      return row;
    });
    this.#checklist.replaceChildren(...rows);
    if (steps.every((step) => talk.checked[step])) this.#checklist.append(make("li", "step step--all", texts.check.done));
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
        const button = make("button", index ? "button" : "button button--primary", texts.actions[action]);
        button.type = "button";
        button.dataset.testid = `trouble-${action}`;
        button.addEventListener("click", () => this.#act(action));
        return button;
      });
    const text = make("p", "trouble__text", trouble.text);
    text.dataset.testid = "trouble-text";
    if (trouble.language) text.lang = trouble.language;
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
  const { phases, states } = texts;
  const base = phases[phase];
  if (!talk.busy && phase !== "error") {
    if (readiness === null) return states.server_silent;
    if (!readiness.ready) return describeLoading(readiness);
  }
  if (phase === "error") return { title: talk.trouble?.title ?? base.title, hint: "" };
  if (phase === "queued") {
    const waited_ms = Math.max(1, Math.round(talk.waited_ms / 1000)) * 1000;
    const values = { time: duration(waited_ms), n: talk.position };
    return { title: base.title, hint: `${base.hint} ${fill(talk.position ? states.place : states.waiting, values)}` };
  }
  if (talk.resuming) return states.resuming;
  if (talk.endedByServer) return states.ended_by_server;
  if (!talk.connected) return talk.check && phase === "ended" ? states.check_ended : base;
  if (talk.muted && !talk.pushToTalk) return phase === "listening" ? states.muted : { title: base.title, hint: states.muted.hint };
  if (talk.check) return texts.check;
  if (talk.floor.ducked) return { title: base.title, hint: states.ducked };
  if (talk.floor.aloud) return texts.aloud;
  if (talk.withoutMicrophone) return phase === "listening" ? states.typing : base;
  if (talk.pushToTalk && phase === "listening") return talk.held ? states.held : states.hold_to_talk;
  return phase === "listening" && talk.floor.userSpeaks ? states.hearing_you : base;
}

/**
 * @param {Readiness} readiness
 * @returns {{ title: string, hint: string }}
 */
function describeLoading({ parts }) {
  const broken = parts.find(isBroken);
  if (broken) return { title: texts.states.not_working, hint: `${broken.title || broken.name}: ${broken.note}` };
  const names = parts
    .filter((one) => one.state === "loading")
    .map(({ name, title, progress }) => {
      const percent = progress === null ? "" : ` (${fill(texts.units.percent, { n: Math.round(progress * 100) })})`;
      return (labels[name]?.label ?? (title || name)) + percent;
    });
  const { title, hint } = texts.states.engines_loading;
  return { title, hint: names.length ? fill(texts.states.loading_parts, { parts: names.join(", ") }) : hint };
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
