/** The server's public HTTP interface: OpenAI Realtime (GA), with WHIP's PATCH and DELETE on calls (RFC 9725). */

import { CallFailure, httpFailure } from "./failure.js";
import { TROUBLES } from "./strings.js";
import { list, number, object, text } from "./wire.js";

/** @typedef {import("./types").OpenedCall} OpenedCall */
/** @typedef {import("./types").Readiness} Readiness */

const CALLS = "/v1/realtime/calls";
const QUEUE = "/v1/realtime/queue";
const QUEUE_POLL_S = 3;
const REQUEST_DEADLINE_MS = 10_000;
/** A small server that is busy may take long to make room for a call; that is no reason to give up. */
const OPEN_DEADLINE_MS = 25_000;

/**
 * STUN and TURN servers, none where the server does not know the path, and whether it can be reached over a WebSocket
 * only; fetched before the offer, because its candidates depend on them.
 * @param {AbortSignal} signal
 * @param {string} [key] where this page needs one
 * @returns {Promise<{ iceServers: RTCIceServer[], websocketOnly: boolean }>}
 */
export async function iceServers(signal, key) {
  const response = await request("/v1/realtime/ice-servers", { headers: bearer(key), signal });
  if (response.status === 404) return { iceServers: [], websocketOnly: false };
  const body = object(await json(await succeeded(response)));
  const iceServers = list(body.ice_servers).map(
    (server) => /** @type {RTCIceServer} */ (/** @type {unknown} */ (object(server))),
  );
  return { iceServers, websocketOnly: body.mode === "websocket" };
}

/**
 * A short-lived key for one call.
 * @param {AbortSignal} signal
 * @param {Record<string, unknown> | null} session what the call is to begin with, where it cannot be said otherwise
 * @param {{ token?: string | null, embedder?: string }} [host] the page around this one: its own client secret, which
 *   is exchanged for one that this page can use, and its origin
 * @returns {Promise<string>} `ek_…`
 */
export async function clientSecret(signal, session, { token, embedder } = {}) {
  const response = await request("/v1/realtime/client_secrets", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...bearer(token) },
    body: JSON.stringify({ ...(session && { session }), ...(embedder && { kame: { embedder } }) }),
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
 * @param {string} offer.ticket of the queue; `new` to get one where the server is full
 * @param {Record<string, unknown> | null} offer.session sent beside the offer where there is something to say
 * @param {AbortSignal} signal
 * @returns {Promise<OpenedCall>}
 * @throws {CallFailure} `server_full` with a place in the queue where there is one
 */
export async function openCall({ sdp, secret, echo, ticket, session }, signal) {
  /** @type {Record<string, string>} */
  const headers = { Authorization: `Bearer ${secret}`, Prefer: "respond-async" }; // waiting is no failure (RFC 7240)
  /** @type {BodyInit} */
  let body = sdp;
  if (session) {
    body = new FormData();
    body.append("sdp", new Blob([sdp], { type: "application/sdp" }), "offer.sdp");
    body.append("session", new Blob([JSON.stringify(session)], { type: "application/json" }), "session.json");
  } else {
    headers["Content-Type"] = "application/sdp";
  }
  const url = `${CALLS}?${new URLSearchParams({ ticket, ...(echo && { transport: "echo" }) })}`;
  const response = await succeeded(await request(url, { method: "POST", headers, body, signal }, OPEN_DEADLINE_MS));
  if (response.status === 202) throw new CallFailure(TROUBLES.server_full, readPlace(await json(response)));
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
 * Ends a call; resolved when the server has released it. Reaches the server even while the page is being left.
 * @param {string} location
 * @param {string} secret
 */
export async function hangUp(location, secret) {
  try {
    await fetch(location, {
      method: "DELETE",
      keepalive: true,
      headers: { Authorization: `Bearer ${secret}` },
      signal: AbortSignal.timeout(REQUEST_DEADLINE_MS),
    });
  } catch {
    // The server notices by itself within seconds.
  }
}

/**
 * A WebSocket for a call; its key goes where browsers can put one.
 * @param {string} secret
 * @param {boolean} echo sound check
 * @param {string} ticket of the queue; `new` to get one where the server is full
 */
export function openSocket(secret, echo, ticket) {
  const query = new URLSearchParams({ ticket, ...(echo && { transport: "echo" }) });
  const url = new URL(`/v1/realtime?${query}`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocket(url, ["realtime", `openai-insecure-api-key.${secret}`]);
}

/**
 * The URL of a call by its id.
 * @param {string} id
 */
export function callLocation(id) {
  return new URL(`${CALLS}/${encodeURIComponent(id)}`, document.baseURI).href;
}

/**
 * How a ticket stands in the queue of a full server.
 * @param {string} ticket
 * @param {AbortSignal} signal
 * @returns {Promise<import("./types").Place | null>} null: the server has forgotten it
 */
export async function queuePlace(ticket, signal) {
  const response = await request(`${QUEUE}/${encodeURIComponent(ticket)}`, { signal, cache: "no-store" });
  return response.status === 404 ? null : readPlace(await json(await succeeded(response)));
}

/**
 * Gives a place in the queue up.
 * @param {string} ticket
 */
export function leaveQueue(ticket) {
  fetch(`${QUEUE}/${encodeURIComponent(ticket)}`, { method: "DELETE", keepalive: true }).catch(() => {
    // The server forgets it by itself.
  });
}

/**
 * @param {unknown} value
 * @returns {import("./types").Place | null} null where it is none
 */
export function readPlace(value) {
  const place = object(value);
  const ticket = text(place.ticket);
  const { position, poll_s } = place;
  return ticket
    ? { ticket, position: number(position) ?? 0, ready: place.ready === true, poll_s: number(poll_s) ?? QUEUE_POLL_S }
    : null;
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
 * What may be chosen on this server; complete once its engines are loaded.
 * @returns {Promise<import("./types").Offer | null>} null when it does not answer
 */
export async function offer() {
  try {
    const response = await fetch("/offer", { cache: "no-store", signal: AbortSignal.timeout(REQUEST_DEADLINE_MS) });
    if (!response.ok) return null;
    const body = object(await response.json());
    return {
      voices: list(body.voices).map(text),
      languages: list(body.languages).map(text),
      language: text(body.language),
      presets: list(body.presets).map((one) => {
        const preset = object(one);
        return { id: text(preset.id), name: text(preset.name), note: text(preset.note) };
      }),
    };
  } catch {
    return null;
  }
}

/**
 * @param {string | null | undefined} key
 * @returns {Record<string, string>}
 */
function bearer(key) {
  return typeof key === "string" ? { Authorization: `Bearer ${key}` } : {};
}

/**
 * @param {string} url
 * @param {RequestInit & { signal: AbortSignal }} options
 * @param {number} [deadline_ms]
 */
async function request(url, options, deadline_ms = REQUEST_DEADLINE_MS) {
  try {
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(deadline_ms)]);
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
    readPlace(error.kame),
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
