/** Trickle ICE: candidates found after the offer was sent, as SDP fragments (RFC 8840, RFC 9725 section 4.3). */

/** Candidates found within this time of each other travel together. */
const GATHER_MS = 50;

export class Trickler {
  /** @type {RTCIceCandidate[]} */
  #waiting = [];
  #complete = false;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #timer = null;
  /** @type {((fragment: string) => Promise<void>) | null} */
  #send = null;
  #description = "";
  #sent = Promise.resolve();

  /**
   * A candidate was found; null: there are no more.
   * @param {RTCIceCandidate | null} candidate
   */
  found(candidate) {
    if (candidate && candidate.candidate !== "") this.#waiting.push(candidate);
    else this.#complete = true;
    this.#schedule();
  }

  /**
   * The server knows the call now. Candidates that stand in the offer already are not sent again.
   * @param {string} offer
   * @param {(fragment: string) => Promise<void>} send
   */
  open(offer, send) {
    this.#description = offer;
    this.#waiting = this.#waiting.filter((candidate) => !offer.includes(candidate.candidate));
    if (offer.includes("a=end-of-candidates")) this.#complete = false;
    this.#send = send;
    this.#schedule();
  }

  close() {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#send = null;
    this.#waiting = [];
  }

  #schedule() {
    if (this.#timer !== null || !this.#send || (this.#waiting.length === 0 && !this.#complete)) return;
    this.#timer = setTimeout(() => this.#flush(), GATHER_MS);
  }

  #flush() {
    this.#timer = null;
    const send = this.#send;
    if (!send) return;
    const fragment = sdpFragment(this.#description, this.#waiting, this.#complete);
    this.#waiting = [];
    this.#complete = false;
    this.#sent = this.#sent.then(() => send(fragment)); // in order: the end must not overtake candidates
  }
}

/**
 * @param {string} offer the local description, for user fragment, password and media lines
 * @param {readonly Pick<RTCIceCandidate, "candidate" | "sdpMid">[]} candidates
 * @param {boolean} complete no more will come
 * @returns {string}
 */
export function sdpFragment(offer, candidates, complete) {
  /** @param {string} name */
  const attribute = (name) => new RegExp(`^a=${name}:.*$`, "m").exec(offer)?.[0]?.trim();
  const media = /^m=.*$/m.exec(offer)?.[0]?.trim();
  const mid = attribute("mid") ?? "a=mid:0";
  const lines = [attribute("ice-ufrag"), attribute("ice-pwd"), media, mid];
  // Everything is bundled on the first media line, so its section holds all candidates.
  for (const { candidate } of candidates) lines.push(`a=${candidate.replace(/^a=/, "")}`);
  if (complete) lines.push("a=end-of-candidates");
  return lines.filter((line) => line !== undefined).map((line) => `${line}\r\n`).join("");
}
