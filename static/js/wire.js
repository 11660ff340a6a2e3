/** Reading fields of wire events without trusting them, and writing the one that is more than a word. */

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

/**
 * What a person typed, as an item of the dialogue.
 * @param {string} words
 * @returns {{ id: string, event: import("./types").WireEvent }} the item's id, and the message that adds it
 */
export function typedMessage(words) {
  const id = `item_${[...crypto.getRandomValues(new Uint32Array(3))].map((n) => n.toString(36)).join("")}`;
  const item = { id, type: "message", role: "user", content: [{ type: "input_text", text: words }] };
  return { id, event: { type: "conversation.item.create", item } };
}
