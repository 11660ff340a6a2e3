/** The page in a frame: a talk like the page's own, small, and at the command of the page around it. */

import { clientSecret } from "./api.js";
import { Awake } from "./awake.js";
import { CaptionsView } from "./captions_view.js";
import { part, write } from "./dom.js";
import { Host } from "./embed_host.js";
import { Report } from "./embed_report.js";
import { appearanceOf, configOf, dress, ofAddress, preferencesOf } from "./embed_wish.js";
import { Picture } from "./picture.js";
import { ReadinessWatch } from "./readiness.js";
import { Stage } from "./stage.js";
import { language, texts, TROUBLES } from "./strings.js";
import { Talk } from "./talk.js";
import { wordsIn } from "./widget/words.js";
import { text } from "./wire.js";

/** @typedef {import("./types").Readiness} Readiness */
/** @typedef {import("./talk.js").StartOptions} StartOptions */

const SETTLED_MS = 80;

const page = document.documentElement;
const form = part("typed", HTMLFormElement);
const message = part("message", HTMLInputElement);
const captionsBox = part("captions");
const heading = /** @type {HTMLElement} */ (document.getElementById("heading"));
const stageBox = /** @type {HTMLElement} */ (document.querySelector(".stage"));

const address = new URLSearchParams(location.search);
const wish = ofAddress(address);
const host = new Host(address);
const picture = new Picture(part("picture", HTMLCanvasElement));
const talk = new Talk(
  part("voice", HTMLAudioElement),
  (side, level) => {
    page.style.setProperty(`--${side}`, level.toFixed(3));
    picture.show(side, level);
    report.level(side, level);
  },
  async (signal, session) => clientSecret(signal, session, { token: await host.token(), embedder: host.embedder }),
);
const report = new Report(talk, host);
const awake = new Awake(() => talk.connected);
const stage = new Stage((action) => {
  if (action === "open_tab") window.open(location.href, "_blank", "noopener");
  else if (action !== "none") void begin({ withoutMicrophone: action === "type" });
});
const captionsView = new CaptionsView(page.dataset.agent ?? "");

/** @type {Readiness | null} */
let readiness = { ready: false, parts: [] };
/** Asked for before the server was ready. @type {StartOptions | null} */
let early = null;
/** The page around is being asked for a call: for which; 0: for none. */
let asking = 0;
let asked = 0;
/** Written while the call was being made; the latest counts. */
let unsent = "";
const watch = new ReadinessWatch((now) => {
  readiness = now;
  render();
  if (now?.ready && early) void begin(early);
});

let drawing = false;
function render() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    stage.render(talk, readiness);
    captionsView.render(talk.captions.all);
  });
}

/** @param {import("../widget").Appearance} wanted */
function show(wanted) {
  Object.assign(wish.appearance, wanted);
  const { theme, transcript, heading: words, look } = wish.appearance;
  page.dataset.theme = theme ?? "auto";
  page.dataset.transcript = String(transcript !== false);
  dress(page, look ?? {});
  heading.classList.toggle("visually-hidden", !words);
  write(heading, words || wordsIn(language).frame);
}

/**
 * Begins a call, if the page around agrees.
 * @param {StartOptions} [options]
 */
async function begin(options = {}) {
  if (talk.busy || asking) return;
  early = readiness?.ready ? null : options;
  if (early) return;
  const mine = (asking = asked += 1);
  const granted = await host.grant(wish.config);
  if (asking !== mine) return; // it was given up meanwhile
  asking = 0;
  if (!granted) {
    unsent = "";
    return;
  }
  const config = { ...wish.config, ...configOf(granted) };
  talk.setPreferences(preferencesOf(config));
  talk.setContext(config.context ?? "");
  await talk.start({ muted: config.muted === true, ...options });
}

/** Ends the call, or whatever of one there is yet. */
function giveUp() {
  early = null;
  asking = 0;
  unsent = "";
  report.hangUp();
}

/** @param {string} say */
function send(say) {
  if (talk.connected) talk.sendText(say);
  else if (!say.trim()) return;
  else if (talk.busy || asking) unsent = say; // the call is on its way
  else void begin({ say, withoutMicrophone: true });
}

/** What was to be said before the call was there. */
function sendUnsent() {
  if (talk.connected && unsent) talk.sendText(unsent);
  if (talk.connected || !talk.busy) unsent = "";
}

function pressTalk() {
  if (!talk.busy) void begin();
  else if (!talk.connected) giveUp();
  else if (talk.phase !== "listening") talk.interrupt();
}

talk.addEventListener("change", render);
talk.addEventListener("muted", () => stage.announce(talk.muted ? texts.announced.muted : texts.announced.unmuted));
talk.addEventListener("phase", () => {
  // Keys are nothing that visitors could mend; the page's own people are told by the event.
  if (talk.trouble?.title === TROUBLES.server_refused.title) {
    talk.trouble = { ...talk.trouble, ...texts.embedded, language: "", actions: ["retry"] };
  }
  const { phase } = talk;
  stage.announcePhase(talk);
  void awake.check();
  sendUnsent();
  if (talk.connected) host.spendToken();
  if (phase === "connecting" && !talk.resuming) picture.clear();
  if (phase === "ended" || phase === "error") void watch.check();
  // Only where the focus is in this frame already: it must not be taken from the page around.
  if (phase !== "idle" && document.hasFocus()) queueMicrotask(() => stage.keepFocus(talk.withoutMicrophone && talk.connected));
});

// --- the person ---

// A double click begins a call, and does not end it.
part("talk").addEventListener("click", (event) => event.detail < 2 && pressTalk());
part("end").addEventListener("click", giveUp);
part("mute").addEventListener("click", () => talk.setMuted(!talk.muted));
part("sound-allow").addEventListener("click", () => talk.allowSound());
part("notice-dismiss").addEventListener("click", () => talk.notice.dismiss());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(message.value);
  message.value = "";
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  if (talk.busy || asking || early) giveUp();
  else host.tell("close", {});
});

// --- the page around ---

host.on("configure", (payload) => {
  Object.assign(wish.config, configOf(payload.config));
  show(appearanceOf(payload));
});
host.on("start", () => void begin());
host.on("stop", giveUp);
host.on("mute", ({ on }) => {
  wish.config.muted = on === true;
  talk.setMuted(on === true);
});
host.on("send-text", (payload) => send(text(payload.text)));
host.on("context", (payload) => {
  wish.config.context = configOf({ context: payload.text }).context ?? "";
  talk.setContext(wish.config.context);
});

/** Asked for once things have settled: heights change in small steps. */
let height = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let settling;
const resized = new ResizeObserver(() => {
  clearTimeout(settling);
  settling = setTimeout(tellHeight, SETTLED_MS);
});
function tellHeight() {
  const padding = Number.parseFloat(getComputedStyle(document.body).getPropertyValue("--around"));
  const shown = [heading, captionsBox, stageBox].filter((box) => box.checkVisibility() && !box.matches(".visually-hidden"));
  const now = Math.ceil(shown.reduce((sum, box) => sum + box.offsetHeight + padding, padding));
  if (now === height) return;
  height = now;
  host.tell("resize", { height });
}
for (const box of [heading, captionsBox, stageBox]) resized.observe(box);

window.addEventListener("pagehide", () => talk.end());
window.addEventListener("pageshow", (event) => event.persisted && void watch.check());
window.addEventListener("online", () => void watch.check());

show({});
render();
void watch.check();
host.tell("ready", { version: document.querySelector("main")?.dataset.version ?? "" });
