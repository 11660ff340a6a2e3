/** Waiting for a place on a full server, in its queue; on a server without one, by asking again and again. */

import { leaveQueue, queuePlace } from "./api.js";
import { CallFailure } from "./failure.js";

/** @typedef {import("./types").Place} Place */

/** A full server without a queue is asked again after this. */
const ASK_EVERY_S = 5;
const WAIT_MAX_S = 600;
const TELL_EVERY_MS = 1000;

/**
 * @param {(ticket: string) => Promise<void>} open opens the call; throws `server_full` where there is no place
 * @param {(waited_ms: number, position: number) => void} waiting told every second while there is none; position 0:
 *   not known
 * @param {AbortSignal} signal
 * @throws what `open` throws, or the abort's reason
 */
export async function queued(open, waiting, signal) {
  const began_ms = performance.now();
  const waited_ms = () => performance.now() - began_ms;
  /** @type {Place | null} */
  let place = null;

  /** @param {number} s */
  const pause = async (s) => {
    const until_ms = waited_ms() + s * 1000;
    while (waited_ms() < until_ms) {
      waiting(waited_ms(), place?.position ?? 0);
      await new Promise((resolve) => setTimeout(resolve, Math.min(TELL_EVERY_MS, until_ms - waited_ms())));
      signal.throwIfAborted();
    }
  };

  try {
    for (;;) {
      try {
        await open(place?.ticket ?? "new");
        place = null; // it has been used
        return;
      } catch (error) {
        const full = error instanceof CallFailure && error.trouble.code === "server_full";
        if (!full || signal.aborted || waited_ms() > WAIT_MAX_S * 1000) throw error;
        place = error.place ?? place;
        await pause(place?.poll_s ?? ASK_EVERY_S);
      }
      while (place && !place.ready && waited_ms() < WAIT_MAX_S * 1000) {
        place = await queuePlace(place.ticket, signal);
        if (place && !place.ready) await pause(place.poll_s);
      }
    }
  } finally {
    if (place) leaveQueue(place.ticket);
  }
}
