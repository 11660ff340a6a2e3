/**
 * How the widget looks on the page around it. Styles are constructed and nothing is inline, so that no `style-src` is
 * needed; nothing but the documented custom properties, `::part`s and the writing direction comes in from that page.
 */

import { readableOn } from "./contrast.js";

const LOOK = /** @type {const} */ (["accent", "on-accent", "ground", "card", "ink", "soft", "line", "font"]);
const TALK = "M4 10v4M8 7v10M12 4.5v15M16 7v10M20 10v4";
const CLOSE = "M6 6l12 12M18 6 6 18";
const SANS = `system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;

// Lengths are in em of the browser's own text size: pages change what a rem is.
const CSS = `
  :host { display: contents; }
  :host([hidden]) { display: none !important; }
  :host([variant="inline"]) { display: block; }
  * { box-sizing: border-box; }
  .box { all: initial; visibility: inherit; pointer-events: inherit; color-scheme: light dark; font: medium/1.4 var(--kame-font, ${SANS});
    --_radius: var(--kame-radius, 20px); --_gap: var(--kame-offset, 20px);
    --_ground: var(--kame-ground, light-dark(#f7f6f2, #101312)); --_ink: var(--kame-ink, light-dark(#191c1a, #eceeec));
    --_accent: var(--kame-accent, light-dark(#0b6b62, #62d9c7)); --_on: var(--kame-on-accent, ${readableOn("var(--_accent)")}); }
  :host([theme="light"]) .box { color-scheme: light; }
  :host([theme="dark"]) .box { color-scheme: dark; }
  iframe { display: block; width: 100%; height: 100%; border: 0; border-radius: inherit; color-scheme: inherit; }

  .panel { width: 100%; height: var(--kame-height, var(--_wanted, 15em)); max-height: var(--kame-max-height, 40em); overflow: clip;
    border-radius: var(--_radius); background: var(--_ground); color: var(--_ink); transition: height 0.25s ease-out; }
  .failed { display: flex; flex-direction: column; align-items: center; justify-content: center; gap: 1em; height: 100%; padding: 1.5em; text-align: center; text-wrap: pretty; overflow: auto; }
  .failed p { margin: 0; }
  button { font: inherit; font-weight: 600; border: 0; background: var(--_accent); color: var(--_on); cursor: pointer; -webkit-tap-highlight-color: transparent; }
  button:hover { filter: brightness(1.08); }
  button:focus-visible { outline: 2px solid var(--_accent); outline-offset: 3px; }
  .failed button { min-height: 2.75em; padding: 0 1.4em; border-radius: 2em; }
  .launcher { display: inline-flex; align-items: center; justify-content: center; gap: 0.6em; min-width: 3.5em; height: 3.5em; margin: 0; padding: 0 1.35em 0 1.1em; border-radius: 1.75em;
    line-height: 1.2; box-shadow: 0 1px 3px rgb(0 0 0 / 18%), 0 8px 24px rgb(0 0 0 / 20%); transition: transform 0.15s, filter 0.15s; }
  .launcher:active { transform: scale(0.97); }
  .launcher svg { width: 1.6em; height: 1.6em; flex: none; fill: none; stroke: currentcolor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
  .launcher .close { display: none; }

  :host([variant="inline"]) .box { display: block; }
  :host([variant="inline"]) .panel { min-height: 15em; border: 1px solid var(--kame-line, light-dark(#d9d8d0, #313937)); }
  :host([variant="inline"]) .launcher { display: none; }

  :host(:not([variant="inline"])) .box { position: fixed; z-index: var(--kame-z-index, 2147483000); right: var(--_gap); bottom: calc(var(--_gap) + env(safe-area-inset-bottom)); }
  :host(:not([variant="inline"])) .panel { position: absolute; right: 0; bottom: calc(100% + 12px); width: min(var(--kame-width, 24em), calc(100vw - 2 * var(--_gap)));
    height: clamp(15em, var(--kame-height, var(--_wanted, 15em)), min(var(--kame-max-height, 40em), calc(100dvh - 2 * var(--_gap) - 5em)));
    box-shadow: 0 0 0 1px light-dark(rgb(25 28 26 / 8%), rgb(255 255 255 / 12%)), 0 18px 50px rgb(0 0 0 / 28%);
    visibility: hidden; opacity: 0; transform: translateY(10px) scale(0.98); transform-origin: bottom right;
    transition: height 0.25s ease-out, opacity 0.18s, transform 0.18s, visibility 0s 0.18s; }
  :host([placement$="left"]:not([variant="inline"])) .box { right: auto; left: var(--_gap); }
  :host([placement$="left"]:not([variant="inline"])) .panel { right: auto; left: 0; transform-origin: bottom left; }
  :host([placement^="top"]:not([variant="inline"])) .box { bottom: auto; top: var(--_gap); }
  :host([placement^="top"]:not([variant="inline"])) .panel { bottom: auto; top: calc(100% + 12px); transform-origin: top; }
  :host([open]:not([variant="inline"])) .panel { visibility: inherit; opacity: 1; transform: none; transition: height 0.25s ease-out, opacity 0.18s, transform 0.18s, visibility 0s; }
  :host([open]) .launcher, .launcher:has(span:empty) { padding: 0; width: 3.5em; }
  .launcher span:empty, :host([open]) .launcher span, :host([open]) .launcher .talk { display: none; }
  :host([open]) .launcher .close { display: block; }

  .sounding .talk { animation: breathe 1.6s ease-in-out infinite; }
  .sounding .launcher { box-shadow: 0 0 0 5px color-mix(in srgb, var(--_accent) 28%, transparent), 0 8px 24px rgb(0 0 0 / 20%); }
  @keyframes breathe { 50% { transform: scaleY(0.62); } }
  @media (prefers-reduced-motion: reduce) { .box * { animation: none !important; transition: none !important; } }
  @media (forced-colors: active) { .panel, button { border: 1px solid ButtonText !important; } }
  @media print { :host(:not([variant="inline"])) { display: none; } }
`;

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * What the element consists of.
 * @param {ShadowRoot} root
 */
export function build(root) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS);
  root.adoptedStyleSheets = [sheet];
  const panel = element("div", { class: "panel", part: "panel", id: "panel", role: "region" });
  const label = element("span");
  const launcher = element("button", { class: "launcher", part: "launcher", type: "button", "aria-controls": "panel" });
  launcher.append(drawing("talk", TALK), drawing("close", CLOSE), label);
  const box = element("div", { class: "box" }, panel, launcher);
  root.append(box);
  return { box, panel, launcher, label };
}

/**
 * The custom properties in force at an element; they do not reach into a frame by themselves.
 * @param {Element} box
 */
export function lookOf(box) {
  const style = getComputedStyle(box);
  /** @type {import("../../widget").Look} */
  const look = {};
  for (const name of LOOK) {
    const value = style.getPropertyValue(`--kame-${name}`).trim();
    if (value) look[name] = value;
  }
  return look;
}

/**
 * @param {string} name
 * @param {string} path
 */
function drawing(name, path) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", name);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
