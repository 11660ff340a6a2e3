/** Records both sides of a call in the browser: you on the left channel, the agent on the right. */

/** @typedef {import("./types").Who} Who */

/** Opus at this rate is clear speech; an hour is about 29 MB. */
const BITS_PER_S = 64_000;
/** Pieces this long, so that a browser that runs out of memory keeps what it has. */
const PIECE_MS = 5_000;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
/** @type {Record<Who, number>} */
const CHANNELS = { you: 0, agent: 1 };

export class Recorder {
  #context;
  #merger;
  #recorder;
  /** @type {Map<Who, MediaStreamAudioSourceNode>} */
  #sources = new Map();
  /** @type {Blob[]} */
  #pieces = [];

  /** @param {AudioContext} context running */
  constructor(context) {
    this.#context = context;
    this.#merger = context.createChannelMerger(2);
    const sink = context.createMediaStreamDestination();
    sink.channelCount = 2;
    this.#merger.connect(sink);
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type)) ?? "";
    this.#recorder = new MediaRecorder(sink.stream, { mimeType, audioBitsPerSecond: BITS_PER_S });
    this.#recorder.addEventListener("dataavailable", (event) => event.data.size && this.#pieces.push(event.data));
    this.#recorder.start(PIECE_MS);
  }

  /** Whether this browser can record. */
  static get possible() {
    return "MediaRecorder" in window && TYPES.some((type) => MediaRecorder.isTypeSupported(type));
  }

  /**
   * One side's sound, in place of the stream before.
   * @param {Who} who
   * @param {MediaStream} stream
   */
  hear(who, stream) {
    this.#sources.get(who)?.disconnect();
    if (stream.getAudioTracks().length === 0) return;
    const source = this.#context.createMediaStreamSource(stream);
    source.connect(this.#merger, 0, CHANNELS[who]);
    this.#sources.set(who, source);
  }

  /** @returns {Promise<Blob>} the whole recording; empty when it was too short to hold anything */
  async stop() {
    const recorder = this.#recorder;
    if (recorder.state !== "inactive") {
      const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve, { once: true }));
      recorder.stop();
      await stopped;
    }
    for (const source of this.#sources.values()) source.disconnect();
    this.#merger.disconnect();
    return new Blob(this.#pieces, { type: recorder.mimeType });
  }
}
