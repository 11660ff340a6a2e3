/** What an AudioWorklet's own scope has (W3C Web Audio). Read by the type check only. */

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

declare const sampleRate: number;
