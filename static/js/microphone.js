/** Getting a microphone, or the precise reason why there is none. */

import { inTime } from "./deadline.js";
import { CallFailure } from "./failure.js";
import { frameForbids } from "./framed.js";
import { TROUBLES } from "./strings.js";

const ANSWER_DEADLINE_MS = 60_000;

/**
 * Asks for the microphone.
 * @param {AbortSignal} signal
 * @param {import("./types").MicrophoneWishes} wishes a device that is gone is replaced by the system's choice
 * @returns {Promise<MediaStream>}
 */
export async function openMicrophone(signal, wishes) {
  if (!navigator.mediaDevices?.getUserMedia) throw new CallFailure(TROUBLES.insecure_origin);
  if (frameForbids("microphone")) throw new CallFailure(TROUBLES.frame_blocked); // most common where we are embedded
  const asked = navigator.mediaDevices.getUserMedia({
    audio: {
      echoCancellation: wishes.echoCancellation,
      noiseSuppression: wishes.noiseSuppression,
      autoGainControl: wishes.autoGainControl,
      channelCount: 1,
      ...(wishes.microphone && { deviceId: { ideal: wishes.microphone } }),
    },
    video: false,
  });
  try {
    return await inTime(asked, ANSWER_DEADLINE_MS, signal, () => new CallFailure(TROUBLES.microphone_unanswered));
  } catch (error) {
    asked.then(stopAll, () => undefined); // allowed after all, but too late: release it
    throw signal.aborted ? error : microphoneFailure(error);
  }
}

/** @param {MediaStream} stream */
export function stopAll(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/**
 * @param {unknown} error
 * @returns {CallFailure}
 */
function microphoneFailure(error) {
  if (error instanceof CallFailure) return error;
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      // Firefox and Safari have no featurePolicy: a denial inside a foreign frame is most likely the frame's.
      return new CallFailure(
        window.self !== window.top && !("featurePolicy" in document)
          ? TROUBLES.frame_blocked
          : TROUBLES.microphone_denied,
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return new CallFailure(TROUBLES.microphone_missing);
    case "NotReadableError":
    case "AbortError":
      return new CallFailure(TROUBLES.microphone_busy);
    default:
      return new CallFailure(TROUBLES.microphone_denied);
  }
}
