/** What the server's events mean for all that is known of a conversation: its models, kept together. Pure. */

import { Captions } from "./captions.js";
import { Facts } from "./facts.js";
import { Floor } from "./floor.js";
import { Measured } from "./measured.js";
import { Oracle } from "./oracle.js";
import { Turn } from "./turn.js";
import { list, object, text } from "./wire.js";

/** @typedef {import("./types").WireEvent} WireEvent */

export class Conversation {
  captions = new Captions();
  oracle = new Oracle();
  floor = new Floor();
  facts = new Facts();
  turn = new Turn();
  /** How fast the modes answered; kept from call to call. */
  measured = new Measured();

  #answering = false;

  /** The server is making an answer, which can be cancelled. */
  get answering() {
    return this.#answering;
  }

  /** Another one begins. */
  clear() {
    this.captions.clear();
    this.oracle.clear();
    this.turn.clear();
    this.facts = new Facts();
    this.pause();
  }

  /** Its connection broke: nobody speaks, but what was said stays. */
  pause() {
    this.floor = new Floor();
    this.turn.close();
    this.#answering = false;
  }

  /** It is over: nothing grows any more. */
  close() {
    this.#answering = false;
    this.captions.close();
    this.oracle.close();
    this.turn.close();
  }

  /**
   * @param {WireEvent} event
   * @param {number} now_ms
   * @returns {boolean} whether something shown has changed
   */
  handle(event, now_ms) {
    const changed = [
      this.captions.handle(event),
      this.oracle.handle(event),
      this.facts.handle(event),
      this.turn.handle(event, now_ms),
      this.floor.handle(event, now_ms),
    ].includes(true);
    switch (event.type) {
      case "kame.turn.timing":
        if (this.facts.timing) this.measured.add(this.facts.timing);
        break;
      case "response.created":
        this.#answering = true;
        break;
      case "response.done":
        this.#answering = false;
        this.#goOn(object(event.response));
        break;
      default:
    }
    return changed;
  }

  /**
   * An answer that was cut off is shown with what it would have gone on with.
   * @param {Record<string, unknown>} response
   */
  #goOn(response) {
    this.captions.goesOn(text(object(list(response.output)[0]).id), this.oracle.unread(text(response.id)));
  }
}
