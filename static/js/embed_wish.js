/**
 * What the page around the frame may ask for, by the frame's address or by message; read without trusting it. A pure
 * model, except that the browser is asked what is a CSS value.
 */

import { checked, DEFAULTS } from "./preferences.js";
import { readableOn } from "./widget/contrast.js";
import { object, text } from "./wire.js";

/** @typedef {import("../widget").CallConfig} CallConfig */
/** @typedef {import("../widget").Appearance} Appearance */
/** @typedef {import("../widget").Look} Look */

const MODES = ["tandem", "direct", "cascaded"];
const THEMES = ["auto", "light", "dark"];
const NAME_MAX = 100;
const INSTRUCTIONS_MAX = 2_000;
const CONTEXT_MAX = 4_000;
const HEADING_MAX = 80;
const VALUE_MAX = 200;

/** Which custom property of ours each part of a look is, and the CSS property whose values it takes. */
const LOOK = /** @type {const} */ ({
  accent: ["--accent", "color"],
  "on-accent": ["--on-accent", "color"],
  ground: ["--ground", "color"],
  card: ["--card", "color"],
  ink: ["--ink", "color"],
  soft: ["--soft", "color"],
  line: ["--line", "color"],
  font: ["--sans", "font-family"],
});

/**
 * @param {unknown} asked
 * @returns {CallConfig} only what has the right kind
 */
export function configOf(asked) {
  const { agent, language, mode, voice, instructions, context, muted } = object(asked);
  /** @type {Record<string, unknown>} */
  const config = {};
  for (const [name, value, most] of /** @type {const} */ ([
    ["agent", agent, NAME_MAX],
    ["language", language, NAME_MAX],
    ["voice", voice, NAME_MAX],
    ["instructions", instructions, INSTRUCTIONS_MAX],
    ["context", context, CONTEXT_MAX],
  ])) {
    if (text(value)) config[name] = text(value).slice(0, most);
  }
  if (MODES.includes(text(mode))) config.mode = mode;
  if (typeof muted === "boolean") config.muted = muted;
  return config;
}

/**
 * @param {unknown} asked
 * @returns {Appearance} only what has the right kind
 */
export function appearanceOf(asked) {
  const { theme, transcript, heading, look } = object(asked);
  /** @type {Appearance} */
  const appearance = {};
  if (THEMES.includes(text(theme))) appearance.theme = /** @type {Appearance["theme"]} */ (theme);
  if (typeof transcript === "boolean") appearance.transcript = transcript;
  if (typeof heading === "string") appearance.heading = heading.slice(0, HEADING_MAX);
  if (look !== undefined) appearance.look = lookOf(object(look));
  return appearance;
}

/**
 * What a frame's own address says, for pages that use no script of ours.
 * @param {URLSearchParams} address
 * @returns {{ config: CallConfig, appearance: Appearance }}
 */
export function ofAddress(address) {
  const given = Object.fromEntries(address);
  return {
    config: configOf({ ...given, muted: isOn(address.get("muted")) }),
    appearance: appearanceOf({ ...given, transcript: address.get("transcript") !== "off", look: given }),
  };
}

/**
 * Puts a look on an element; what is left out is ours again.
 * @param {HTMLElement} element
 * @param {Look} look
 */
export function dress(element, look) {
  const { accent } = look;
  const words = look["on-accent"] ?? (accent && readableOn(accent));
  const whole = { ...look, "on-accent": words };
  for (const [name, [property]] of Object.entries(LOOK)) {
    element.style.setProperty(property, whole[/** @type {keyof Look} */ (name)] ?? null);
  }
  element.style.setProperty("--accent-hi", accent ? `color-mix(in srgb, ${accent} 88%, ${words})` : null);
}

/**
 * @param {CallConfig} config
 * @returns {import("./types").Preferences} nothing of what the person chose on our own page counts here
 */
export function preferencesOf({ agent, language, mode, voice, instructions }) {
  return checked({ ...DEFAULTS, preset: agent ?? "", persona: instructions ?? "", language: language ?? "", mode, voice: voice ?? "" });
}

/**
 * @param {Record<string, unknown>} given
 * @returns {Look}
 */
function lookOf(given) {
  /** @type {Record<string, string>} */
  const look = {};
  for (const [name, [, property]] of Object.entries(LOOK)) {
    const value = text(given[name]).trim();
    if (value && value.length <= VALUE_MAX && !/url\(|[;{}]/i.test(value) && CSS.supports(property, value)) look[name] = value;
  }
  return look;
}

/** @param {string | null} value of a parameter that may stand without one */
function isOn(value) {
  return value !== null && !["0", "false", "off"].includes(value);
}
