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
 * Follows a job or campaign together with its events: `show` gets each new state until a final one, `showEvent` each event
 * once, in order. One request is open at a time for news: a stream of events where the server has one to spare, else a
 * request that waits for the next state. Browsers open only few connections to one server, whatever tabs there are.
 */
export async function followWithEvents(path, { signal, isOver, show, showEvent }) {
  let tag = null;
  let isDone = false;
  let after = 0;
  let streams = true;

  async function look(query = "") {
    const answer = await get(path + query, { signal, tag });
    tag = answer.tag ?? tag;
    if (!answer.body) return;
    isDone = isOver(answer.body);
    show(answer.body);
  }
  function take(event) {
    if (typeof event.seq !== "number" || event.seq <= after) return;
    after = event.seq;
    showEvent(event);
  }
  async function catchUp() {
    while (!signal.aborted) {
      const { body } = await get(`${path}/events?after=${after}&limit=200`, { signal });
      body.items.forEach(take);
      if (body.items.length < 200) return;
    }
  }
  // Whatever the stream says, the state is looked at once more, a few times a second at most.
  let isLooking = false;
  let isStale = false;
  async function news() {
    isStale = true;
    if (isLooking) return;
    isLooking = true;
    try {
      while (isStale && !signal.aborted) {
        isStale = false;
        await look();
        await pause(0.3, signal);
      }
    } catch {
      // The stream's end brings it up again.
    } finally {
      isLooking = false;
    }
  }

  await repeat(signal, 0.2, async () => {
    await look();
    await catchUp();
    if (isDone) return true;
    if (streams) {
      try {
        streams = await stream(`${path}/events`, {
          signal, after, onEvent: ({ id, data }) => {
            // Only stored events have an id; the others say that the state is another.
            if (id !== null) take(JSON.parse(data));
            news();
          },
        });
      } catch (error) {
        // No stream is left for this key; waiting does as well.
        if (error.status !== 429) throw error;
        streams = false;
      }
      if (streams) return false;
    }
    await look("?wait=25");
    return false;
  });
}
