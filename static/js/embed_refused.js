/** Tells the page around, whose origin the server does not know, why it gets nothing; and its people what is to be set. */

import { texts } from "./strings.js";

const origin = new URLSearchParams(location.search).get("origin") ?? "";
const { title, text } = texts.troubles.server_refused;
const payload = { code: "origin_not_allowed", message: `${title}. ${text}` };
const setting = document.getElementById("setting");
if (setting && origin) setting.textContent += `=${origin}`;
if (window.parent !== window && URL.canParse(origin)) {
  window.parent.postMessage({ source: "kame-voice", v: 1, type: "error", payload }, new URL(origin).origin);
}

export {};
