/** Words on a colour that somebody else chose. */

/**
 * White or near-black, whichever reads better on a colour: the relative luminance of WCAG 2.2 is CIE Y, and 0.179 has the
 * same contrast with both.
 * @param {string} colour any CSS colour
 * @returns {string} a CSS colour that the browser computes from it (relative colour, CSS Color 5)
 */
export function readableOn(colour) {
  const [x, y, z] = [[0.0053, 0.9505], [0.0056, 1], [0.0061, 1.089]].map(
    ([dark, light]) => `clamp(${dark}, (0.179 - y) * 1000000, ${light})`,
  );
  return `color(from ${colour} xyz-d65 ${x} ${y} ${z})`;
}
