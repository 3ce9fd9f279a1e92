// The sign-in: an API key, tried at once, kept in memory only.
import { fill, h, problem } from "./dom.js";

export default function signIn(main, { reason, accept }) {
  const field = h("input", {
    id: "key", type: "password", autocomplete: "off", spellcheck: "false", autocapitalize: "none", required: true,
    "aria-describedby": "key-hint", placeholder: "ty_…",
  });
  const button = h("button", { class: "primary" }, "Sign in");
  const trouble = h("div", { class: "trouble", "aria-live": "assertive" }, reason ? h("p", { class: "problem" }, reason) : null);
  const form = h("form", {
    class: "panel stack", on: {
      submit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        fill(trouble);
        try {
          await accept(field.value.trim());
        } catch (error) {
          fill(trouble, problem(error));
          field.select();
          field.focus();
        } finally {
          button.disabled = false;
        }
      },
    },
  },
    h("label", { for: "key" }, "API key"), field,
    h("p", { class: "small", id: "key-hint" },
      "The first start of a server writes an admin key to ", h("code", {}, "admin.key"),
      " in its data folder; ", h("code", {}, "trainyard key create"), " makes others. The key stays in this tab's memory: reload, and it is asked for again."),
    button, trouble);
  main.append(h("div", { class: "sign-in" },
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("p", {}, "Watch models train, compare them, and look after campaigns and workers."), form));
  field.focus();
}
