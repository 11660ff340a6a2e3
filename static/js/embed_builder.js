/** The page that writes the lines to copy: choices in, `<kame-voice>` and its plain frame out, and the real thing beside. */

import { offer } from "./api.js";
import { make } from "./dom.js";
import { language, texts } from "./strings.js";
import { wordsIn } from "./widget/words.js";

const COPIED_MS = 2_000;
/** The server's own choice where nothing is chosen. */
const STANDARD = { variant: "launcher", placement: "bottom-right" };

const form = /** @type {HTMLFormElement} */ (document.getElementById("builder"));
const snippet = /** @type {HTMLElement} */ (document.getElementById("snippet"));
const policy = /** @type {HTMLElement} */ (document.getElementById("policy"));
const plain = /** @type {HTMLElement} */ (document.getElementById("plain"));
const preview = /** @type {HTMLElement} */ (document.getElementById("preview"));
const copied = /** @type {HTMLElement} */ (document.getElementById("copied"));

/** @returns {Record<string, string>} the attributes that differ from what counts without them */
function chosen() {
  /** @type {Record<string, string>} */
  const attributes = {};
  const data = new FormData(form);
  const names = ["variant", "placement", "agent", "mode", "language", "heading", "label", "theme", "token-url"];
  for (const name of names) {
    const value = String(data.get(name) ?? "").trim();
    const standard = name in STANDARD ? STANDARD[/** @type {keyof typeof STANDARD} */ (name)] : "";
    if (value !== standard) attributes[name] = value;
  }
  if (attributes.variant === "inline") {
    delete attributes.placement;
    delete attributes.label;
  }
  if (!data.has("transcript")) attributes.transcript = "off";
  if (data.has("muted")) attributes.muted = "";
  if (data.has("accented")) attributes.accent = String(data.get("accent"));
  return attributes;
}

/** @param {string} value */
function quoted(value) {
  return `"${value.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;")}"`;
}

function render() {
  const attributes = chosen();
  const written = Object.entries(attributes).map(([name, value]) => (value ? ` ${name}=${quoted(value)}` : ` ${name}`));
  const script = `<script async src=${quoted(`${location.origin}/static/widget.js`)}></script>`;
  snippet.textContent = `${script}\n<kame-voice${written.join("")}></kame-voice>`;

  const token = attributes["token-url"] ? " connect-src 'self';" : "";
  policy.textContent = `script-src ${location.origin}; frame-src ${location.origin};${token}`;

  const url = new URL("/embed", location.origin);
  for (const name of ["agent", "mode", "language", "heading", "theme", "accent", "transcript"]) {
    const value = attributes[name];
    if (value) url.searchParams.set(name, value);
  }
  if ("muted" in attributes) url.searchParams.set("muted", "1");
  const title = quoted(attributes.heading ?? wordsIn(language).frame);
  plain.textContent = `<iframe src=${quoted(url.href)} title=${title} allow="microphone; autoplay" width="380" height="520"></iframe>`;

  const widget = document.createElement("kame-voice");
  for (const [name, value] of Object.entries(attributes)) {
    if (name !== "token-url") widget.setAttribute(name, value); // it is the other page's
  }
  if (preview.firstElementChild?.hasAttribute("open")) widget.setAttribute("open", "");
  preview.replaceChildren(widget);
}

/** @param {HTMLButtonElement} button */
async function copy(button) {
  const code = document.getElementById(button.dataset.copy ?? "")?.textContent ?? "";
  const label = texts.builder.copy_lines; // not the button's own words, which may say that it was copied
  try {
    await navigator.clipboard.writeText(code);
    copied.textContent = button.textContent = texts.builder.copied;
  } catch {
    copied.textContent = button.textContent = texts.builder.copy_by_hand;
  }
  setTimeout(() => (button.textContent = label), COPIED_MS);
}

form.addEventListener("change", render);
form.addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", () => void copy(/** @type {HTMLButtonElement} */ (button)));
}
render();

const roles = form.elements.namedItem("agent");
const offered = await offer();
for (const { id, name } of offered?.presets ?? []) {
  const option = make("option", "", name);
  option.value = id;
  if (roles instanceof HTMLSelectElement) roles.append(option);
}
