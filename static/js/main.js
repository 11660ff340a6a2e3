/** The page: puts the talk, the views and the keyboard together. */

import { CaptionsView } from "./captions_view.js";
import { part, write } from "./dom.js";
import { EnginesView } from "./engines_view.js";
import { OracleView } from "./oracle_view.js";
import { loadPreferences, savePreferences } from "./preferences.js";
import { ReadinessWatch } from "./readiness.js";
import { Stage } from "./stage.js";
import { ANNOUNCE_MUTED, ANNOUNCE_UNMUTED, ANNOUNCED, MODES } from "./strings.js";
import { Talk } from "./talk.js";
import { TimingView } from "./timing_view.js";

/** @typedef {import("./types").Readiness} Readiness */
/** @typedef {import("./types").Preferences} Preferences */

const page = document.documentElement;
const form = part("typed", HTMLFormElement);
const message = part("message", HTMLInputElement);
const settings = part("settings", HTMLFormElement);
const modeNote = part("mode-note");

const talk = new Talk(part("voice", HTMLAudioElement), (side, level) => {
  page.style.setProperty(`--${side}`, level.toFixed(3));
});
const stage = new Stage((action) => {
  if (action === "retry") begin();
  else if (action === "type") void talk.start({ withoutMicrophone: true });
  else if (action === "open_tab") window.open(location.href, "_blank", "noopener");
});
const captionsView = new CaptionsView(page.dataset.agent ?? "");
const oracleView = new OracleView();
const timingView = new TimingView();
const enginesView = new EnginesView();

/** @type {Readiness | null} */
let readiness = { ready: false, parts: [] };
const watch = new ReadinessWatch((now) => {
  readiness = now;
  render();
});

function render() {
  stage.render(talk, readiness);
  captionsView.render(talk.captions.all);
  oracleView.render(talk.oracle.all);
  timingView.render(talk.facts.timing, talk.roundTrip_ms);
  enginesView.render(readiness?.parts ?? [], talk.facts.engines);
  renderSettings();
}

function renderSettings() {
  const mode = talk.preferences.mode ?? (talk.facts.mode || "tandem");
  for (const input of settings.querySelectorAll("input")) {
    if (input.type === "radio") input.checked = input.value === mode;
    else {
      input.checked = talk.preferences.opener ?? true;
      input.disabled = mode === "cascaded";
    }
  }
  write(modeNote, MODES[mode] ?? "");
}

/** Many facts may arrive at once; they are drawn together. */
let drawing = false;
function renderSoon() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    render();
  });
}

// --- the talk ---

/** @type {WakeLockSentinel | null} */
let wakeLock = null;

function begin() {
  void talk.start({ check: talk.check && talk.phase === "error" });
}

function pressTalk() {
  switch (talk.phase) {
    case "asking":
    case "connecting":
      talk.end();
      break;
    case "thinking":
    case "speaking":
      talk.interrupt();
      break;
    case "listening":
      break;
    default:
      begin();
  }
}

/** A phone that goes to sleep would end the talk. */
async function keepAwake() {
  if (!talk.connected || wakeLock || document.visibilityState !== "visible") return;
  try {
    const lock = await navigator.wakeLock?.request("screen");
    if (!lock) return;
    wakeLock = lock;
    lock.addEventListener("release", () => (wakeLock = null));
    if (!talk.connected) await lock.release();
  } catch {
    // Low battery, or not allowed in this frame.
  }
}

talk.addEventListener("change", renderSoon);
talk.addEventListener("muted", () => stage.announce(talk.muted ? ANNOUNCE_MUTED : ANNOUNCE_UNMUTED));
talk.addEventListener("phase", () => {
  const { phase, trouble } = talk;
  stage.announce(trouble ? `${trouble.title}. ${trouble.text}` : (ANNOUNCED[phase] ?? ""));
  if (talk.connected) void keepAwake();
  else void wakeLock?.release();
  if (phase === "ended" || phase === "error") void watch.check();
  if (phase !== "idle") queueMicrotask(() => stage.keepFocus(talk.withoutMicrophone && talk.connected)); // after it is drawn
});

// --- pointer ---

/**
 * @param {string} name
 * @param {() => void} action
 */
const onClick = (name, action) => part(name).addEventListener("click", action);
onClick("talk", pressTalk);
onClick("end", () => talk.end());
onClick("mute", () => talk.setMuted(!talk.muted));
onClick("check", () => void talk.start({ check: true }));
onClick("sound-allow", () => talk.allowSound());
onClick("notice-dismiss", () => talk.dismissNotice());

for (const example of document.querySelectorAll("[data-example]")) {
  example.addEventListener("click", () => {
    const say = example.textContent?.trim() ?? "";
    if (talk.connected && !talk.check) talk.sendText(say);
    else if (!talk.busy && readiness?.ready) void talk.start({ say });
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  talk.sendText(message.value);
  message.value = "";
});

settings.addEventListener("change", () => {
  const chosen = new FormData(settings);
  const mode = /** @type {Preferences["mode"]} */ (chosen.get("mode"));
  const opener = part("opener", HTMLInputElement).checked;
  talk.setPreferences({ mode, ...(mode !== "cascaded" && { opener }) });
  savePreferences(talk.preferences);
});

// --- keyboard: the button itself takes Space and Enter ---

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
  const typing = event.target instanceof HTMLInputElement && event.target.type === "text";
  if (typing) return;
  if (event.key === "Escape") talk.end();
  else if (event.key.toLowerCase() === "m") talk.setMuted(!talk.muted);
});

// --- coming and going ---

// Also on the way into the back/forward cache: a frozen page can hold no call.
window.addEventListener("pagehide", () => talk.leave());
window.addEventListener("pageshow", (event) => event.persisted && void watch.check());
window.addEventListener("online", () => void watch.check());
document.addEventListener("visibilitychange", () => void keepAwake());

/** For tests and the curious: what the page knows, as plain data. */
Object.defineProperty(window, "kameState", {
  value: () =>
    structuredClone({
      state: talk.phase,
      callId: talk.callId,
      captions: talk.captions.all.map(({ who, text, final, unheard, interrupted, kind }) => ({
        who,
        text,
        final,
        unheard,
        interrupted,
        kind,
      })),
      candidates: talk.oracle.all,
      timing: talk.facts.timing,
      roundTripMs: talk.roundTrip_ms,
      engines: talk.facts.engines,
      mode: talk.facts.mode,
      muted: talk.muted,
      notice: talk.notice,
      checked: talk.check ? talk.checked : null,
      ready: readiness?.ready === true,
      error: talk.trouble && { code: talk.trouble.code, title: talk.trouble.title, text: talk.trouble.text },
    }),
});

talk.preferences = loadPreferences();
render();
void watch.check();
