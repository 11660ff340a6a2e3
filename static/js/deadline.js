/** Waiting that ends. */

/**
 * Waits for a promise, but not for ever. What it stands for goes on by itself.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} deadline_ms from now on
 * @param {AbortSignal} signal
 * @param {() => Error} late what is thrown after the deadline
 * @returns {Promise<T>}
 * @throws what the promise does, `late`, or the abort's reason
 */
export function inTime(promise, deadline_ms, signal, late) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), deadline_ms);
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    });
  });
}
