/** The page: puts the talk, the views and the keyboard together. */

import { offer } from "./api.js";
import { Awake } from "./awake.js";
import { CaptionsView } from "./captions_view.js";
import { part } from "./dom.js";
import { EnginesView } from "./engines_view.js";
import { holdToTalk } from "./hold.js";
import { ModeView } from "./mode_view.js";
import { OracleView } from "./oracle_view.js";
import { Picture } from "./picture.js";
import { loadPreferences, savePreferences } from "./preferences.js";
import { ReadinessWatch } from "./readiness.js";
import { SaveView } from "./save_view.js";
import { ScoreView } from "./score_view.js";
import { SettingsView } from "./settings_view.js";
import { Stage } from "./stage.js";
import { texts } from "./strings.js";
import { Talk } from "./talk.js";

/** @typedef {import("./types").Readiness} Readiness */
/** @typedef {import("./types").Preferences} Preferences */

const page = document.documentElement;
const form = part("typed", HTMLFormElement);
const message = part("message", HTMLInputElement);
const lane = part("oracle", HTMLDetailsElement);
const agentName = page.dataset.agent ?? "";

const picture = new Picture(part("picture", HTMLCanvasElement));
const talk = new Talk(part("voice", HTMLAudioElement), (side, level) => {
  page.style.setProperty(`--${side}`, level.toFixed(3));
  picture.show(side, level);
});
const stage = new Stage((action) => {
  if (action === "retry") begin();
  else if (action === "type") void talk.start({ withoutMicrophone: true });
  else if (action === "open_tab") window.open(location.href, "_blank", "noopener");
});
const captionsView = new CaptionsView(agentName);
const oracleView = new OracleView();
const scoreView = new ScoreView(agentName);
const enginesView = new EnginesView();
const modeView = new ModeView((mode) => choose({ mode }));
const settingsView = new SettingsView(() => talk.preferences, choose);
const saveView = new SaveView(talk, agentName);

/** So often the picture of a turn that is being lived grows; between, it glides. */
const GROW_EVERY_MS = 120;

/** @type {Readiness | null} */
let readiness = { ready: false, parts: [] };
let offered = false;
const watch = new ReadinessWatch((now) => {
  readiness = now;
  if (now?.ready && !offered) void askOffer();
  render();
});

/** What may be chosen is known once the engines are there. */
async function askOffer() {
  offered = true;
  const answer = await offer();
  if (answer) settingsView.offer(answer);
  else offered = false;
}

function render() {
  const mode = talk.preferences.mode ?? (talk.facts.mode || "tandem");
  stage.render(talk, readiness);
  captionsView.render(talk.captions.all);
  renderTurn();
  enginesView.render(readiness?.parts ?? [], talk.facts.engines);
  modeView.render(mode, talk.measured);
  settingsView.render(talk.preferences, mode);
  saveView.render();
}

/** The lane and the score of the last turn; while it is lived they grow by themselves. */
function renderTurn() {
  const { oracle, turn } = talk;
  const now_ms = performance.now();
  const [lived, live] = [turn.last, turn.isLive(now_ms)];
  const timing = talk.facts.timing?.response === lived?.response ? talk.facts.timing : null;
  const knowing_ms = lived?.knowing_ms != null && lived.to_ms !== null ? lived.knowing_ms - lived.to_ms : null;
  const known_ms = timing?.first_oracle_audio_ms ?? knowing_ms;
  oracleView.render(oracle.ofLastTurn, oracle.firstWord, known_ms, lived?.typed === true);
  scoreView.render(lived, timing, oracle.ofLastTurn, live ? turn.now(now_ms) : null, talk.roundTrip_ms);
  if (live && !growing) growing = setTimeout(() => [(growing = undefined), renderTurn()], GROW_EVERY_MS);
}
/** @type {ReturnType<typeof setTimeout> | undefined} */
let growing;

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

/** @param {Partial<Preferences>} wanted */
function choose(wanted) {
  talk.setPreferences(wanted);
  savePreferences(talk.preferences);
  page.dataset.theme = talk.preferences.theme;
}

/** The oracle lane is open where the person left it so, else where it leaves room for the captions. */
function unfolded() {
  return talk.preferences.oracle ?? matchMedia("(min-width: 40rem) and (min-height: 40rem)").matches;
}

// --- the talk ---

const awake = new Awake(() => talk.connected);

function begin() {
  void talk.start({ check: talk.check && talk.phase === "error" });
}

function pressTalk() {
  if (talk.connected && talk.pushToTalk) return; // held, not pressed
  switch (talk.phase) {
    case "asking":
    case "queued":
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

/**
 * A message of the person's; outside a call it begins one, without a microphone.
 * @param {string} say
 */
function write(say) {
  if (talk.connected && !talk.check) talk.sendText(say);
  else if (!talk.busy && readiness?.ready && say.trim()) void talk.start({ say, withoutMicrophone: true });
}

talk.addEventListener("change", renderSoon);
talk.addEventListener("preferences", () => savePreferences(talk.preferences));
talk.addEventListener("muted", () => stage.announce(talk.muted ? texts.announced.muted : texts.announced.unmuted));
talk.addEventListener("phase", () => {
  const { phase } = talk;
  stage.announcePhase(talk);
  void awake.check();
  if (phase === "connecting" && !talk.resuming) picture.clear();
  if (phase === "ended" || phase === "error") void watch.check();
  // After it is drawn.
  if (phase !== "idle") queueMicrotask(() => stage.keepFocus(talk.withoutMicrophone && talk.connected));
});

// --- pointer ---

/**
 * @param {string} name
 * @param {() => void} action
 */
const onClick = (name, action) => part(name).addEventListener("click", action);
// A double click begins a call, and does not end it.
part("talk").addEventListener("click", (event) => event.detail < 2 && pressTalk());
onClick("end", () => talk.end());
onClick("mute", () => talk.setMuted(!talk.muted));
onClick("check", () => {
  settingsView.close();
  void talk.start({ check: true });
});
// The space bar is for talking then, not for the button that opened the settings.
part("sheet").addEventListener("close", () => talk.connected && talk.pushToTalk && part("talk").focus());
onClick("sound-allow", () => talk.allowSound());
onClick("notice-dismiss", () => talk.notice.dismiss());
holdToTalk(
  part("talk", HTMLButtonElement),
  () => talk.connected && talk.pushToTalk,
  (down) => talk.hold(down),
);

for (const example of document.querySelectorAll("[data-example]")) {
  example.addEventListener("click", () => {
    const say = example.textContent?.trim() ?? "";
    if (talk.connected && !talk.check) talk.sendText(say);
    else if (!talk.busy && readiness?.ready) {
      const withoutMicrophone = talk.trouble?.actions.includes("type") === true; // there was none a moment ago
      void talk.start({ say, withoutMicrophone });
    }
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  write(message.value);
  message.value = "";
});
lane.addEventListener("toggle", () => {
  if (lane.open !== unfolded()) choose({ oracle: lane.open });
});

// --- keyboard: the button itself takes Space and Enter ---

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
  if (settingsView.isOpen || document.querySelector("[popover]:popover-open")) return; // Escape closes those
  const { target } = event;
  if (event.key === "Escape") {
    if (target === message && message.value) message.value = "";
    else talk.end();
    return;
  }
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return;
  if (target instanceof HTMLInputElement && target.type === "text") return;
  if (event.key.toLowerCase() === "m") talk.setMuted(!talk.muted);
  else if (event.key === "/" && !form.hidden) {
    event.preventDefault();
    message.focus();
  }
});

// --- coming and going ---

// Also on the way into the back/forward cache: a frozen page can hold no call.
window.addEventListener("pagehide", () => talk.end());
window.addEventListener("pageshow", (event) => event.persisted && void watch.check());
window.addEventListener("online", () => void watch.check());

/** For tests and the curious: what the page knows, as plain data. */
Object.defineProperty(window, "kameState", {
  value: () =>
    structuredClone({
      state: talk.phase,
      callId: talk.callId,
      captions: talk.captions.all,
      candidates: talk.oracle.all,
      firstKnowingWord: talk.oracle.firstWord,
      timing: talk.facts.timing,
      measured: talk.measured.of(talk.facts.mode),
      roundTripMs: talk.roundTrip_ms,
      engines: talk.facts.engines,
      mode: talk.facts.mode,
      muted: talk.muted,
      recording: talk.isRecording,
      notice: talk.notice.words,
      checked: talk.check ? talk.checked : null,
      ready: readiness?.ready === true,
      error: talk.trouble && { code: talk.trouble.code, title: talk.trouble.title, text: talk.trouble.text },
    }),
});

talk.setPreferences(loadPreferences());
page.dataset.theme = talk.preferences.theme;
lane.open = unfolded();
render();
void watch.check();
