// Buttons that pause, resume and cancel a job or a campaign, as its state allows.
import { post } from "./api.js";
import { confirm, fill, h, problem } from "./dom.js";

const actions = {
  queued: ["pause", "cancel"], running: ["pause", "cancel"], pausing: ["cancel"], paused: ["resume", "cancel"],
};
// A job that is about to pause can still be told to run on; a campaign cannot.
const jobActions = { ...actions, pausing: ["resume", "cancel"] };
const titles = { pause: "Pause", resume: "Resume", cancel: "Cancel…" };

/** path: of the resource. what: its name in a question. changed: called with the resource after each action. */
export function controls({ path, what, changed, announce }) {
  const buttons = h("div", { class: "buttons", role: "group", "aria-label": `Control this ${what}` });
  const trouble = h("div", { "aria-live": "assertive" });
  let state = null;

  async function act(action) {
    if (action === "cancel" && !await confirm(`Cancel this ${what}? It cannot be taken up again.`, `Cancel the ${what}`)) return;
    fill(trouble);
    for (const button of buttons.children) button.disabled = true;
    try {
      const resource = await post(`${path}/${action}`);
      announce(`The ${what} is ${resource.state}.`);
      changed(resource);
    } catch (error) {
      fill(trouble, problem(error));
    } finally {
      for (const button of buttons.children) button.disabled = false;
    }
  }

  return {
    element: h("div", {}, buttons, trouble),
    show(resource) {
      if (resource.state === state) return;
      state = resource.state;
      buttons.replaceChildren(...((what === "job" ? jobActions : actions)[state] ?? []).map((action) =>
        h("button", {
          type: "button", class: action === "cancel" ? "danger" : null, data: { action }, on: { click: () => act(action) },
        }, titles[action])));
    },
  };
}
