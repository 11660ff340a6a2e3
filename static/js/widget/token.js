/** Client secrets from the back end of the page around. */

const DEADLINE_MS = 10_000;

/**
 * Asks for one, with the page's cookies.
 * @param {string} url
 * @returns {Promise<string>} `ek_…`
 * @throws {Error} there is none, and why
 */
export async function fetchToken(url) {
  const response = await fetch(url, { method: "POST", cache: "no-store", signal: AbortSignal.timeout(DEADLINE_MS) });
  if (!response.ok) throw new Error(String(response.status));
  const text = (await response.text()).trim();
  const found = text.startsWith("{") ? JSON.parse(text) : text;
  const token = typeof found === "string" ? found : (found.value ?? found.token);
  if (typeof token !== "string" || !token) throw new Error("neither value nor token in it");
  return token;
}
