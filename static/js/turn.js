/**
 * The turn that is being lived, in the conversation's time: when the person spoke, when the voice came, when it knew.
 * A pure model; the caller's clock is passed in. Its time line in numbers (`kame.turn.timing`) comes when it is over.
 */

import { number, object, text } from "./wire.js";

/** @typedef {import("./types").WireEvent} WireEvent */
/** @typedef {import("./types").LivedTurn} LivedTurn */

/** A turn in which nothing happens for so long grows no further. */
const LIVE_MAX_MS = 15_000;

export class Turn {
  /** @type {LivedTurn | null} */
  #current = null;
  /** The person has begun something that may become the next turn. @type {LivedTurn | null} */
  #next = null;
  /** The conversation's time of the latest event that told it, and when that was by the caller's clock. */
  #told = { at_ms: 0, now_ms: 0 };
  /** Nothing but openers has been said in this turn. */
  #openerOnly = false;
  /** The item of the speech that began last. */
  #item = "";

  /** The last turn that anything came of; null: there was none. */
  get last() {
    return this.#current;
  }

  /**
   * Its picture still grows.
   * @param {number} now_ms
   */
  isLive(now_ms) {
    const turn = this.#current;
    return turn !== null && !turn.over && turn.knowing_ms === null && now_ms - this.#told.now_ms < LIVE_MAX_MS;
  }

  /**
   * The conversation's time.
   * @param {number} now_ms
   */
  now(now_ms) {
    return this.#told.at_ms + (now_ms - this.#told.now_ms);
  }

  clear() {
    this.#current = this.#next = null;
    this.#told = { at_ms: 0, now_ms: 0 };
  }

  /** The call is over, or its connection broke: nothing grows any more. */
  close() {
    this.#next = null;
    if (this.#current) this.#current.over = true;
  }

  /**
   * @param {WireEvent} event
   * @param {number} now_ms
   * @returns {boolean} whether something shown has changed
   */
  handle(event, now_ms) {
    const at_ms = number(event.at_ms);
    if (at_ms !== null && at_ms >= this.#told.at_ms) this.#told = { at_ms, now_ms };
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        return this.#speaks(text(event.item_id), number(event.audio_start_ms));
      case "input_audio_buffer.speech_stopped":
        return this.#stopped(this.#next ?? this.#current, number(event.audio_end_ms));
      case "kame.turn.dropped":
        this.#next = null;
        return false;
      case "conversation.item.added":
        if (isTyped(object(event.item))) this.#next = { ...blank(), typed: true, to_ms: this.now(now_ms) };
        return false;
      case "kame.candidate.started":
        this.#begin();
        this.#beganBefore(at_ms);
        return true;
      case "kame.spoken":
        return this.#spoken(event, at_ms);
      case "response.done":
        return this.#done(object(event.response));
      default:
        return false;
    }
  }

  /**
   * @param {string} item
   * @param {number | null} from_ms
   */
  #speaks(item, from_ms) {
    const turn = this.#current;
    const again = item !== "" && item === this.#item;
    this.#item = item;
    if (turn?.by_voice && turn.sound_ms === null && !turn.over) turn.to_ms = null; // the same turn goes on
    else if (again && this.#next?.by_voice) this.#next.to_ms = null; // ... of which nothing has come yet
    else this.#next = { ...blank(), by_voice: true, from_ms };
    return true;
  }

  /**
   * @param {LivedTurn | null} turn
   * @param {number | null} to_ms
   */
  #stopped(turn, to_ms) {
    if (!turn?.by_voice) return false;
    turn.to_ms = to_ms;
    // An opener into a pause after which the person went on was no answer.
    if (this.#openerOnly && (turn.sound_ms ?? 0) < (to_ms ?? 0)) Object.assign(turn, { response: "", sound_ms: null });
    return true;
  }

  /** Something comes of what the person said, or of nothing. */
  #begin() {
    if (this.#next || !this.#current || this.#current.over) this.#current = this.#next ?? blank();
    this.#next = null;
  }

  /**
   * @param {WireEvent} event
   * @param {number | null} at_ms
   */
  #spoken(event, at_ms) {
    const response = text(event.response_id);
    const another = response !== this.#current?.response;
    if (another && (this.#next?.to_ms != null || !this.#current)) this.#begin();
    const turn = this.#current;
    if (!turn || at_ms === null || (turn.over && !another)) return false;
    if (another) Object.assign(turn, { response, over: turn.knowing_ms !== null }); // an answer may be several responses
    this.#beganBefore(at_ms);
    if (turn.sound_ms === null) this.#openerOnly = true;
    if (event.origin !== "opener") this.#openerOnly = false;
    turn.sound_ms ??= at_ms;
    if (event.origin === "oracle") turn.knowing_ms ??= at_ms;
    return true;
  }

  /**
   * Without speech the beginning is known by the page's clock at best, which lags behind what the server tells.
   * @param {number | null} at_ms of something that came of the turn
   */
  #beganBefore(at_ms) {
    const turn = this.#current;
    if (turn && !turn.by_voice && at_ms !== null) turn.to_ms = Math.min(turn.to_ms ?? at_ms, at_ms);
  }

  /** @param {Record<string, unknown>} response */
  #done(response) {
    const turn = this.#current;
    if (!turn || turn.response !== text(response.id)) return false;
    if (response.status === "cancelled" && this.#openerOnly) Object.assign(turn, { response: "", sound_ms: null });
    else turn.over = true;
    return true;
  }
}

/** @returns {LivedTurn} */
function blank() {
  const times = { from_ms: null, to_ms: null, sound_ms: null, knowing_ms: null };
  return { response: "", by_voice: false, typed: false, ...times, over: false };
}

/** @param {Record<string, unknown>} item */
function isTyped(item) {
  const content = Array.isArray(item.content) ? item.content : [];
  return item.role === "user" && content.some((one) => object(one).type === "input_text");
}
