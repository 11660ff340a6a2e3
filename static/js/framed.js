/** What the page around this one keeps back from it. */

/**
 * Whether this page stands in a frame that was not given something; browsers without this answer say no.
 * @param {string} feature of the Permissions Policy, such as `microphone`
 */
export function frameForbids(feature) {
  const policy = /** @type {{ featurePolicy?: { allowsFeature(name: string): boolean } }} */ (document).featurePolicy;
  return window.self !== window.top && policy !== undefined && !policy.allowsFeature(feature);
}
