/** Push to talk: the talk button held by finger or mouse, or the space bar held anywhere outside a text field. */

/**
 * @param {HTMLButtonElement} button
 * @param {() => boolean} active push to talk is on and the call runs
 * @param {(down: boolean) => void} hold
 */
export function holdToTalk(button, active, hold) {
  button.addEventListener("pointerdown", (event) => {
    if (!active() || event.button !== 0) return;
    button.setPointerCapture(event.pointerId); // letting go elsewhere lets go, too
    hold(true);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    button.addEventListener(end, () => hold(false));
  }
  button.addEventListener("contextmenu", (event) => active() && event.preventDefault()); // a long press on phones

  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.repeat || !active() || usesSpace(event.target, button)) return;
    event.preventDefault();
    hold(true);
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " " || !active()) return;
    if (event.target === button) event.preventDefault(); // no click
    hold(false);
  });
  window.addEventListener("blur", () => hold(false)); // the key goes up where we do not see it
}

/**
 * @param {EventTarget | null} target
 * @param {HTMLElement} button
 */
function usesSpace(target, button) {
  if (target === button || !(target instanceof Element)) return false;
  return target.closest("input, textarea, select, button, summary, a") !== null;
}
