/** Reading fields of wire events without trusting them. */

/**
 * @param {unknown} value
 * @returns {string} the value, or "" when it is no string
 */
export function text(value) {
  return typeof value === "string" ? value : "";
}

/**
 * @param {unknown} value
 * @returns {number | null} the value, or null when it is no finite number
 */
export function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/**
 * @param {unknown} value
 * @returns {Record<string, unknown>} the value, or {} when it is no object
 */
export function object(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value)
    ? /** @type {Record<string, unknown>} */ (value)
    : {};
}

/**
 * @param {unknown} value
 * @returns {unknown[]} the value, or [] when it is no array
 */
export function list(value) {
  return Array.isArray(value) ? value : [];
}

/**
 * A message of the data channel.
 * @param {unknown} data
 * @returns {import("./types").WireEvent | null} null when it is no JSON object with a string `type`
 */
export function parseEvent(data) {
  if (typeof data !== "string") return null;
  try {
    const event = object(JSON.parse(data));
    return typeof event.type === "string" ? /** @type {import("./types").WireEvent} */ (event) : null;
  } catch {
    return null;
  }
}
