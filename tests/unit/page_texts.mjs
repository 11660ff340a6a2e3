// The page's texts as the server puts them into it, for modules that run without a browser. Import this first.

import { readFileSync } from "node:fs";

const textContent = readFileSync(new URL("../../static/i18n/en.json", import.meta.url), "utf8");
globalThis.document = { documentElement: { lang: "en" }, getElementById: () => ({ textContent }) };
