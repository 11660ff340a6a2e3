/** Whether the person is heard: not while muted; with push to talk, only while the button is held. */

/** People let go while the last sound is still on its way. */
const HOLD_TAIL_MS = 180;

/**
 * @typedef {object} GateEvents
 * @property {(open: boolean) => void} set opens or shuts the microphone
 * @property {() => void} said the button was let go: what was said is one turn
 */

export class Gate {
  #pushToTalk;
  #events;
  #muted = false;
  #held = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #tail;

  /**
   * @param {() => boolean} pushToTalk it is on
   * @param {GateEvents} events
   */
  constructor(pushToTalk, events) {
    this.#pushToTalk = pushToTalk;
    this.#events = events;
  }

  get muted() {
    return this.#muted;
  }

  /** The button is held down. */
  get held() {
    return this.#held;
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.#muted = muted;
    this.apply();
  }

  /**
   * The button goes down, or up.
   * @param {boolean} down
   */
  hold(down) {
    if (this.#held === down) return;
    this.#held = down;
    clearTimeout(this.#tail);
    if (down) this.mute(false);
    else {
      this.#tail = setTimeout(() => {
        this.apply();
        this.#events.said();
      }, HOLD_TAIL_MS);
    }
  }

  /** Push to talk was switched on or off: nothing is held yet. */
  switched() {
    this.#held = false;
    this.apply();
  }

  apply() {
    this.#events.set(this.#pushToTalk() ? this.#held : !this.#muted);
  }

  /** The call is over. */
  close() {
    clearTimeout(this.#tail);
    this.#held = false;
  }
}
