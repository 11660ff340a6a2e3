/** The server's public HTTP interface: OpenAI Realtime (GA) over WebRTC, with WHIP's PATCH and DELETE (RFC 9725). */

import { CallFailure, httpFailure } from "./failure.js";
import { TROUBLES } from "./strings.js";
import { list, number, object, text } from "./wire.js";

/** @typedef {import("./types").OpenedCall} OpenedCall */
/** @typedef {import("./types").Readiness} Readiness */

const CALLS = "/v1/realtime/calls";
const REQUEST_DEADLINE_MS = 10_000;

/**
 * STUN and TURN servers; fetched before the offer, because its candidates depend on them.
 * @param {AbortSignal} signal
 * @returns {Promise<RTCIceServer[]>} empty where the server offers none or does not know the path
 */
export async function iceServers(signal) {
  const response = await request("/v1/realtime/ice-servers", { signal });
  if (response.status === 404) return [];
  const body = object(await json(await succeeded(response)));
  return list(body.ice_servers).map((server) => /** @type {RTCIceServer} */ (/** @type {unknown} */ (object(server))));
}

/**
 * A short-lived key for one call.
 * @param {AbortSignal} signal
 * @returns {Promise<string>} `ek_…`
 */
export async function clientSecret(signal) {
  const response = await request("/v1/realtime/client_secrets", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: "{}",
    signal,
  });
  return text(object(await json(await succeeded(response))).value);
}

/**
 * Opens a call.
 * @param {object} offer
 * @param {string} offer.sdp
 * @param {string} offer.secret
 * @param {boolean} offer.echo sound check: the server says back what it hears
 * @param {Record<string, unknown> | null} offer.session sent beside the offer where there is something to say
 * @param {AbortSignal} signal
 * @returns {Promise<OpenedCall>}
 */
export async function openCall({ sdp, secret, echo, session }, signal) {
  /** @type {Record<string, string>} */
  const headers = { Authorization: `Bearer ${secret}` };
  /** @type {BodyInit} */
  let body = sdp;
  if (session) {
    body = new FormData();
    body.append("sdp", new Blob([sdp], { type: "application/sdp" }), "offer.sdp");
    body.append("session", new Blob([JSON.stringify(session)], { type: "application/json" }), "session.json");
  } else {
    headers["Content-Type"] = "application/sdp";
  }
  const url = echo ? `${CALLS}?transport=echo` : CALLS;
  const response = await succeeded(await request(url, { method: "POST", headers, body, signal }));
  const location = response.headers.get("Location");
  return {
    answer: await response.text(),
    location: location ? new URL(location, new URL(CALLS, document.baseURI)).href : null,
  };
}

/**
 * Sends candidates found after the offer (trickle ICE, RFC 8840). Losing some is no failure: others may do.
 * @param {string} location
 * @param {string} secret
 * @param {string} fragment
 */
export async function trickle(location, secret, fragment) {
  try {
    await fetch(location, {
      method: "PATCH",
      headers: { Authorization: `Bearer ${secret}`, "Content-Type": "application/trickle-ice-sdpfrag" },
      body: fragment,
      signal: AbortSignal.timeout(REQUEST_DEADLINE_MS),
    });
  } catch {
    // The connection attempt goes on with what the server has, and has its own deadline.
  }
}

/**
 * Ends a call. Reaches the server even while the page is being left.
 * @param {string} location
 * @param {string} secret
 */
export function hangUp(location, secret) {
  fetch(location, { method: "DELETE", keepalive: true, headers: { Authorization: `Bearer ${secret}` } }).catch(() => {
    // The server notices by itself within seconds.
  });
}

/**
 * How far the server has loaded its engines.
 * @returns {Promise<Readiness | null>} null when it does not answer
 */
export async function readiness() {
  try {
    const response = await fetch("/status", { cache: "no-store", signal: AbortSignal.timeout(REQUEST_DEADLINE_MS) });
    if (!response.ok) return null;
    const body = object(await response.json());
    return {
      ready: body.ready === true,
      parts: list(body.parts).map((one) => {
        const part = object(one);
        const state = part.state === "ready" || part.state === "failed" ? part.state : "loading";
        return {
          name: text(part.name),
          title: text(part.title),
          choice: text(part.choice),
          state,
          progress: number(part.progress),
          note: text(part.note),
        };
      }),
    };
  } catch {
    return null;
  }
}

/**
 * @param {string} url
 * @param {RequestInit & { signal: AbortSignal }} options
 */
async function request(url, options) {
  try {
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(REQUEST_DEADLINE_MS)]);
    return await fetch(url, { ...options, signal });
  } catch (error) {
    if (options.signal.aborted) throw error; // the person cancelled
    throw new CallFailure(TROUBLES.server_unreachable);
  }
}

/** @param {Response} response */
async function succeeded(response) {
  if (response.ok) return response;
  const error = object(object(await json(response)).error);
  const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  throw httpFailure(
    response.status,
    { code: text(error.code), message: text(error.message) },
    Number.isFinite(wait) ? wait : null,
  );
}

/** @param {Response} response */
async function json(response) {
  try {
    return /** @type {unknown} */ (await response.json());
  } catch {
    return {};
  }
}
