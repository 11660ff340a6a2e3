/**
 * The live picture of both voices: what each said in the last seconds, flowing outwards from the talk button, yours to
 * the left, the agent's to the right. With reduced motion it stands still and only its height follows the voices.
 */

/** @typedef {import("./types").Who} Who */

const STEP_MS = 45;
const BAR_PX = 3;
const GAP_PX = 3;
/** Levels kept of each side; more than the widest picture shows. */
const KEPT = 160;
const REST_PX = 3;
/** Standing still, the picture is drawn anew this often at most. */
const CALM_MS = 400;

export class Picture {
  #canvas;
  #context;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  /** Newest first. @type {Record<Who, number[]>} */
  #levels = { you: [], agent: [] };
  /** @type {Record<Who, number>} */
  #now = { you: 0, agent: 0 };
  #last_ms = 0;
  #drawing = 0;

  /** @param {HTMLCanvasElement} canvas its `color` draws you, its `accent-color` the agent */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.#draw()).observe(canvas);
  }

  /**
   * @param {Who} who
   * @param {number} level 0..1
   */
  show(who, level) {
    this.#now[who] = level;
    this.#drawing ||= requestAnimationFrame((now_ms) => this.#tick(now_ms));
  }

  clear() {
    this.#levels = { you: [], agent: [] };
    this.#draw();
  }

  /** @param {number} now_ms */
  #tick(now_ms) {
    this.#drawing = 0;
    if (this.#calm.matches) {
      if (now_ms - this.#last_ms < CALM_MS) return;
      this.#last_ms = now_ms;
      for (const side of SIDES) this.#levels[side] = Array(KEPT).fill(this.#now[side]);
    } else {
      const steps = Math.min(KEPT, Math.floor((now_ms - this.#last_ms) / STEP_MS));
      if (steps < 1) return;
      this.#last_ms = steps === KEPT ? now_ms : this.#last_ms + steps * STEP_MS;
      for (const side of SIDES) {
        const levels = this.#levels[side];
        for (let n = 0; n < steps; n += 1) levels.unshift(this.#now[side]);
        levels.length = Math.min(levels.length, KEPT);
      }
    }
    this.#draw();
  }

  #draw() {
    const [canvas, context] = [this.#canvas, this.#context];
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!context || width === 0) return;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const { color, accentColor } = getComputedStyle(canvas);
    const inner = Number.parseFloat(getComputedStyle(canvas).getPropertyValue("--inner")) || 0;
    const count = Math.floor((width / 2 - inner) / (BAR_PX + GAP_PX));
    for (const side of SIDES) {
      context.fillStyle = side === "you" ? color : accentColor;
      for (let n = 0; n < count; n += 1) {
        const level = this.#levels[side][n] ?? 0;
        const tall = REST_PX + (height - REST_PX) * level ** 1.4;
        const away = inner + n * (BAR_PX + GAP_PX);
        const x = side === "you" ? width / 2 - away - BAR_PX : width / 2 + away;
        context.globalAlpha = (1 - n / count) ** 1.2 * (level > 0.02 ? 1 : 0.35);
        context.beginPath();
        context.roundRect(x, (height - tall) / 2, BAR_PX, tall, BAR_PX / 2);
        context.fill();
      }
    }
    context.globalAlpha = 1;
  }
}

const SIDES = /** @type {const} */ (["you", "agent"]);
