/**
 * A spoken conversation by the published `@openai/agents-realtime` over a WebSocket.
 * Arguments: URL, key, file with the question (PCM16, 24 kHz), file for the answer. Prints what it knows as JSON.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";

const [url, apiKey, question, answer] = process.argv.slice(2);
const PIECE_BYTES = 960;
const PIECE_MS = 20;

const agent = new RealtimeAgent({ name: "Test", instructions: "Be brief." });
const session = new RealtimeSession(agent, { transport: new OpenAIRealtimeWebSocket({ url }) });
const told = { connected_ms: 0, interruptions: 0, starts: 0, ends: 0, said: "", errors: [], history: [] };
const voice = [];
session.on("audio", (event) => voice.push(Buffer.from(event.data)));
session.on("audio_interrupted", () => (told.interruptions += 1));
session.on("error", (error) => told.errors.push(String(error?.error?.message ?? error)));
session.on("agent_start", () => (told.starts += 1));

const began = Date.now();
await session.connect({ apiKey });
told.connected_ms = Date.now() - began;
const ended = new Promise((resolve) => {
  session.on("agent_end", (_context, _agent, said) => {
    told.ends += 1;
    told.said = said;
    if (told.said) resolve(undefined);
  });
});

const speech = readFileSync(question);
let at = 0;
const microphone = setInterval(() => {
  const piece = Buffer.alloc(PIECE_BYTES);
  if (at < speech.length) speech.copy(piece, 0, at, at + PIECE_BYTES);
  at += PIECE_BYTES;
  session.sendAudio(piece.buffer.slice(piece.byteOffset, piece.byteOffset + PIECE_BYTES));
}, PIECE_MS);
let limit;
await Promise.race([ended, new Promise((resolve) => (limit = setTimeout(resolve, 25_000)))]);
clearTimeout(limit);
await new Promise((resolve) => setTimeout(resolve, 300)); // what the client asks for by itself after the answer
clearInterval(microphone);
told.history = session.history;
session.close();
writeFileSync(answer, Buffer.concat(voice));
console.log(JSON.stringify(told));
