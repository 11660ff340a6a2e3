/**
 * `<kame-voice>`: a voice to talk to, on any page. Documented in docs/widget.md, typed in widget.d.ts.
 *
 * This one script tag is all a page needs. The element's parts are modules in `js/widget/` beside this file; they are
 * asked for side by side, and need no more of the page's policy (CSP) than this script does.
 */

(() => {
  "use strict";

  const PARTS = ["element", "frame", "look", "contrast", "token", "words"];
  // There is no current script where the tag is a module.
  const tag = document.currentScript ?? document.querySelector('script[src$="/static/widget.js"]');
  const here = tag instanceof HTMLScriptElement ? tag.src : document.baseURI;

  Promise.all(PARTS.map((part) => import(new URL(`js/widget/${part}.js`, here).href))).catch((error) => {
    console.error(`<kame-voice> cannot be used: script-src of this page has to allow ${new URL(here).origin}.`, error);
  });
})();
