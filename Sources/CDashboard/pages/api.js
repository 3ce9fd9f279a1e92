// The public API with the key of whoever is signed in. The key lives in this module's memory and nowhere else: a reload
// forgets it. Problems (RFC 9457) become errors that dom.js can show.

let key = null;
const listeners = new Set();

/** What the server refused, with its own words. */
export class Problem extends Error {
  constructor(status, body, requestID) {
    super(body?.detail ?? `the server answered with status ${status}`);
    this.status = status;
    this.title = body?.title ?? `Status ${status}`;
    this.faults = body?.errors ?? [];
    this.retryable = body?.retryable ?? status >= 500;
    this.requestID = requestID;
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("the server does not answer");
    this.title = "No connection";
    this.retryable = true;
  }
}

/** Uses a key from now on; null signs out. */
export function useKey(secret) {
  key = secret;
}

/** Calls a listener when the server no longer takes the key. */
export function onRefused(listener) {
  listeners.add(listener);
}

async function send(path, { method = "GET", headers = {}, body, signal, secret } = {}) {
  const used = secret ?? key;
  const all = { Accept: "application/json", ...headers };
  if (used) all.Authorization = `Bearer ${used}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method, headers: all, signal, credentials: "omit", redirect: "error",
      // Entity tags are handled here; the browser's cache would keep data on disk.
      cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
  if (answer.ok || answer.status === 304) return answer;
  const text = await answer.text().catch(() => "");
  let problem = null;
  try {
    problem = JSON.parse(text);
  } catch {
    // Not from Trainyard, perhaps from a proxy.
  }
  if (answer.status === 401 && !secret) listeners.forEach((listener) => listener());
  throw new Problem(answer.status, problem, answer.headers.get("X-Request-Id"));
}

/** Asks for JSON. With `tag` the answer's body is null when nothing changed. `secret` tries another key. */
export async function get(path, { signal, tag, secret } = {}) {
  const answer = await send(path, { signal, secret, headers: tag ? { "If-None-Match": tag } : {} });
  return { body: answer.status === 304 ? null : await answer.json(), tag: answer.headers.get("ETag") };
}

/** Posts JSON, or nothing, and returns the answer's body. */
export async function post(path, body) {
  const answer = await send(path, { method: "POST", body });
  return await answer.json();
}

/** Fetches a file and hands it to the browser's downloads. */
export async function download(path, name) {
  const answer = await send(path, { headers: { Accept: "*/*" } });
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Heartbeats come every 15 s.
const silenceMilliseconds = 45_000;

/**
 * Follows server-sent events, which EventSource could not do: it sends no headers.
 *
 * Returns false at once when the answer is no stream, true when the stream ended.
 */
export async function stream(path, { signal, after, onEvent }) {
  const headers = { Accept: "text/event-stream" };
  if (after) headers["Last-Event-ID"] = String(after);
  const answer = await send(path, { signal, headers });
  if (!(answer.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
    await answer.body?.cancel();
    return false;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { type: "message", data: [], id: null };
  while (true) {
    // A connection that died without a word, as when a computer slept, would be waited for without end.
    let alarm;
    const silence = new Promise((_, reject) => {
      alarm = setTimeout(() => reject(new Unreachable()), silenceMilliseconds);
    });
    const { value, done } = await Promise.race([reader.read(), silence]).catch((error) => {
      if (signal?.aborted) throw error;
      reader.cancel().catch(() => {});
      throw new Unreachable();
    }).finally(() => clearTimeout(alarm));
    if (done) return true;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data.length) onEvent({ type: event.type, id: event.id, data: event.data.join("\n") });
        event = { type: "message", data: [], id: null };
        continue;
      }
      const colon = line.indexOf(":");
      const name = colon < 0 ? line : line.slice(0, colon);
      const field = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "event") event.type = field;
      else if (name === "data") event.data.push(field);
      else if (name === "id") event.id = field;
    }
  }
}
