/**
 * What both sides said, from wire events. A pure model: no document, no clock.
 *
 * The agent's words come as `kame.spoken` (with their origin) or, from other servers, as
 * `response.output_audio_transcript.delta`; only one of the two is shown.
 */

import { list, number, object, text } from "./wire.js";

/** @typedef {import("./types").Caption} Caption */
/** @typedef {import("./types").Origin} Origin */
/** @typedef {import("./types").WireEvent} WireEvent */

/** Older turns are forgotten; a talk of hours stays light. */
const CAPTIONS_MAX = 300;

export class Captions {
  /** @type {Caption[]} */
  #captions = [];
  /** The server tells words with their origin. */
  #withOrigin = false;
  /** The conversation's time of the latest event that told it, in ms. */
  #now_ms = 0;

  /** @returns {readonly Caption[]} */
  get all() {
    return this.#captions;
  }

  clear() {
    this.#captions = [];
    this.#withOrigin = false;
    this.#now_ms = 0;
  }

  /**
   * A typed message, shown before the server confirms it under the same id.
   * @param {string} id
   * @param {string} words
   */
  typed(id, words) {
    this.#add({ ...this.#blank(id, "you"), kind: "typed", text: words, final: true });
  }

  /**
   * What an answer that was cut off would have gone on with.
   * @param {string} id
   * @param {string} words with the space before them
   */
  goesOn(id, words) {
    const caption = this.#find(id);
    if (caption?.interrupted) caption.unheard += words;
  }

  /** The call is over: nothing grows any more. */
  close() {
    this.#captions = this.#captions.filter((caption) => caption.text !== "");
    for (const caption of this.#captions) caption.final = true;
  }

  /**
   * @param {WireEvent} event
   * @returns {boolean} whether something shown has changed
   */
  handle(event) {
    const id = text(event.item_id);
    this.#now_ms = Math.max(this.#now_ms, number(event.at_ms) ?? number(event.audio_start_ms) ?? 0);
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        if (!this.#find(id)) this.#add(this.#blank(id, "you"));
        return true;
      case "kame.partial_transcript":
        return this.#hear(id, text(event.text), false);
      case "conversation.item.input_audio_transcription.completed":
        return this.#hear(id, text(event.transcript), true);
      case "conversation.item.input_audio_transcription.failed":
        return this.#notUnderstood(id);
      case "kame.turn.dropped":
        return this.#dropped(id, text(event.kind), text(event.text));
      case "conversation.item.added":
        return this.#itemAdded(object(event.item));
      case "session.created":
        this.#withOrigin = "kame" in object(event.session);
        return false;
      case "kame.spoken":
        return this.#say(id, text(event.delta), origin(event.origin));
      case "response.output_audio_transcript.delta":
        if (this.#withOrigin) return false;
        return this.#say(id, text(event.delta), "own");
      case "response.done":
        return this.#responseDone(object(event.response));
      default:
        return false;
    }
  }

  /**
   * @param {string} id
   * @param {string} words
   * @param {boolean} final
   */
  #hear(id, words, final) {
    if (final && words.trim() === "") return this.#remove(id);
    const caption = this.#find(id) ?? this.#add(this.#blank(id, "you"));
    if (caption.final && !final) return false; // a partial that was overtaken by the final
    caption.text = words.trim();
    caption.final = final;
    caption.to_ms = this.#now_ms;
    return true;
  }

  /** @param {string} id */
  #notUnderstood(id) {
    const caption = this.#find(id);
    if (!caption) return false;
    caption.kind = "unintelligible";
    caption.final = true;
    return true;
  }

  /**
   * @param {string} id
   * @param {string} kind
   * @param {string} words
   */
  #dropped(id, kind, words) {
    const caption = this.#find(id);
    if (kind !== "backchannel" || words.trim() === "") return this.#remove(id);
    const shown = caption ?? this.#add(this.#blank(id, "you"));
    shown.kind = "backchannel";
    shown.text = words.trim();
    shown.final = true;
    return true;
  }

  /** @param {Record<string, unknown>} item */
  #itemAdded(item) {
    const id = text(item.id);
    if (item.role !== "user" || this.#find(id)) return false;
    const words = list(item.content)
      .map((content) => object(content))
      .filter((content) => content.type === "input_text")
      .map((content) => text(content.text))
      .join(" ");
    if (words === "") return false;
    this.typed(id, words);
    return true;
  }

  /**
   * @param {string} id
   * @param {string} delta
   * @param {Origin} from
   */
  #say(id, delta, from) {
    if (delta === "") return false;
    const caption = this.#find(id) ?? this.#add(this.#blank(id, "agent"));
    const last = caption.parts.at(-1);
    if (last && last.origin === from) last.text += delta;
    else caption.parts.push({ text: caption.parts.length ? delta : delta.trimStart(), origin: from });
    caption.text = caption.parts.map((part) => part.text).join("");
    caption.to_ms = this.#now_ms;
    return true;
  }

  /** @param {Record<string, unknown>} response */
  #responseDone(response) {
    const whole = response.status === "completed";
    let changed = false;
    for (const output of list(response.output)) {
      const item = object(output);
      const caption = this.#find(text(item.id));
      if (!caption) continue;
      caption.final = true;
      caption.interrupted = !whole;
      const heard = object(list(item.content)[0]).transcript;
      if (typeof heard === "string" && !caption.text.startsWith(heard.trim())) mend(caption, heard.trim());
      if (!whole && typeof heard === "string") {
        caption.unheard = unheardEnd(caption.text, heard);
        caption.heard = heard.trim();
      }
      changed = true;
    }
    return changed;
  }

  /**
   * @param {string} id
   * @param {import("./types").Who} who
   * @returns {Caption}
   */
  #blank(id, who) {
    const now = this.#now_ms;
    return {
      id,
      who,
      kind: "speech",
      text: "",
      parts: [],
      final: false,
      interrupted: false,
      heard: null,
      unheard: "",
      from_ms: now,
      to_ms: now,
    };
  }

  /** @param {string} id */
  #find(id) {
    return this.#captions.findLast((caption) => caption.id === id);
  }

  /**
   * @param {Caption} caption
   * @returns {Caption}
   */
  #add(caption) {
    this.#captions.push(caption);
    if (this.#captions.length > CAPTIONS_MAX) this.#captions.shift();
    return caption;
  }

  /** @param {string} id */
  #remove(id) {
    const before = this.#captions.length;
    this.#captions = this.#captions.filter((caption) => caption.id !== id || caption.who !== "you");
    return this.#captions.length !== before;
  }
}

/**
 * The end of what was shown that the person did not hear.
 * @param {string} shown
 * @param {string} heard
 */
export function unheardEnd(shown, heard) {
  const prefix = heard.trim();
  return shown.startsWith(prefix) ? shown.slice(prefix.length) : "";
}

/**
 * Words that were left out on a congested channel come back with the whole; its beginning keeps its origin.
 * @param {Caption} caption
 * @param {string} whole
 */
function mend(caption, whole) {
  const [first, last] = [caption.parts[0], caption.parts.at(-1)];
  const kept = first && first !== last && whole.startsWith(first.text.trimEnd()) ? [first] : [];
  const rest = whole.slice(kept[0]?.text.length ?? 0);
  caption.parts = [...kept, { text: rest, origin: last?.origin ?? "own" }];
  caption.text = whole;
}

/**
 * @param {unknown} value
 * @returns {Origin}
 */
function origin(value) {
  return value === "opener" || value === "oracle" ? value : "own";
}
