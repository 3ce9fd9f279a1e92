// What keeps pages up to date: work repeated while a page is open and seen, states waited for, events streamed.
import { Problem, get, stream } from "./api.js";

let say = () => {};

/** Where trouble with the connection is told; called with a text, or an empty one when it is over. */
export function tellTrouble(listener) {
  say = listener;
}

/** Waits; ends early when the page is left, and on a hidden page lasts until it is seen again. */
export function pause(seconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      document.removeEventListener("visibilitychange", seen);
      resolve();
    };
    const seen = () => { if (!document.hidden) end(); };
    const timer = setTimeout(() => { if (!document.hidden) end(); }, 1000 * seconds);
    signal.addEventListener("abort", end);
    document.addEventListener("visibilitychange", seen);
    if (signal.aborted) end();
  });
}

/**
 * Does work again and again until it returns true or the page is left. Trouble that may pass is told and tried again, less
 * and less often; a refusal ends it as an error.
 */
export async function repeat(signal, seconds, work) {
  let wait = 1;
  while (!signal.aborted) {
    try {
      if (await work()) return;
      if (wait > 1) say("");
      wait = 1;
      await pause(seconds, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error.retryable !== true) throw error;
      say(error instanceof Problem ? `${error.title}: ${error.message}. Trying again.` : "No connection to the server. Trying again.");
      wait = Math.min(15, wait * 2);
      await pause(wait, signal);
    }
  }
}

/**
 * Follows one resource: `show` gets each new state until a final one. Every request waits on the server for news, so an
 * idle page costs next to nothing.
 */
export async function follow(path, { signal, isOver, show }) {
  let tag = null;
  await repeat(signal, 0.3, async () => {
    const answer = await get(tag ? `${path}?wait=25` : path, { signal, tag });
    tag = answer.tag ?? tag;
    if (!answer.body) return false;
    show(answer.body);
    return isOver(answer.body);
  });
}

/**
 * Follows the events of a job or campaign: `show` gets each once, in order. By a stream where the server has one; else by
 * asking when `news` resolves, which it does when the resource changed.
 */
export async function followEvents(path, { signal, isOver, show, news }) {
  let after = 0;
  const take = (event) => {
    if (typeof event.seq !== "number" || event.seq <= after) return;
    after = event.seq;
    show(event);
  };
  const page = async () => {
    while (!signal.aborted) {
      const { body } = await get(`${path}?after=${after}&limit=200`, { signal });
      body.items.forEach(take);
      if (body.items.length < 200) return;
    }
  };
  let streams = true;
  await repeat(signal, 0.2, async () => {
    await page();
    if (isOver()) return true;
    if (streams) {
      streams = await stream(path, {
        signal, after, onEvent: (event) => {
          try {
            take(JSON.parse(event.data));
          } catch {
            // A heartbeat or a kind of message of a later version.
          }
        },
      });
      if (streams) return isOver();
    }
    await news();
    return false;
  });
}
