// The list of jobs: a page of it, filtered by state, kept up to date, from which up to five can be compared.
import { get } from "./api.js";
import { h, heading, table } from "./dom.js";
import { measure, moment, optimizer, percent, progress, state } from "./format.js";
import { repeat } from "./live.js";

export const comparedMax = 5;
const states = ["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"];

export default async function jobs({ main, signal, query, announce }) {
  const chosen = new Set();
  const wanted = query.get("state") ?? "";
  const compareLink = h("a", { class: "button", role: "link", "aria-disabled": "true" }, "Compare");
  const filter = h("select", {
    id: "state", on: { change: () => { location.hash = filter.value ? `#/jobs?state=${filter.value}` : "#/jobs"; } },
  }, h("option", { value: "" }, "all"), states.map((name) => h("option", { value: name, selected: name === wanted }, name)));

  function choose(id, box) {
    if (box.checked && chosen.size >= comparedMax) {
      box.checked = false;
      announce(`At most ${comparedMax} jobs fit one comparison.`);
      return;
    }
    if (box.checked) chosen.add(id);
    else chosen.delete(id);
    compareLink.textContent = chosen.size ? `Compare ${chosen.size}` : "Compare";
    if (chosen.size) {
      compareLink.href = `#/compare?jobs=${[...chosen].join()}`;
      compareLink.removeAttribute("aria-disabled");
    } else {
      compareLink.removeAttribute("href");
      compareLink.setAttribute("aria-disabled", "true");
    }
  }

  const list = table({
    caption: "Jobs, newest first", captionHidden: true,
    empty: wanted ? `No jobs are ${wanted}.` : "No jobs yet. Submit one with the API or with “trainyard job submit”.",
    columns: [
      {
        title: "Compare", kind: "pick", cell: ({ id, name }) => h("input", {
          type: "checkbox", "aria-label": `Compare ${name ?? id}`, on: { change: ({ target }) => choose(id, target) },
        }),
      },
      {
        title: "Name", kind: "text main", cell: ({ id, name }) =>
          h("a", { href: `#/jobs/${id}` }, name ?? "unnamed", h("span", { class: "id" }, id)),
      },
      { title: "State", cell: (job) => state(job.state) },
      { title: "Optimizer", cell: (job) => optimizer(job.optimizer) },
      { title: "Steps", cell: (job) => progress(job.step, job.steps, `Progress of ${job.name ?? job.id}`) },
      { title: "Loss", kind: "number", cell: (job) => measure(job.result?.train_loss ?? job.loss) },
      {
        title: "Held out", kind: "number", cell: ({ result }) => typeof result?.held_out_accuracy === "number"
          ? percent(result.held_out_accuracy, 2) : measure(result?.held_out_loss),
      },
      { title: "Submitted", cell: (job) => moment(job.created_at) },
    ],
  });

  const cursors = [null];
  let page = 0;
  let next = null;
  const turn = (by) => {
    page += by;
    refresh().catch(() => {});
  };
  const newer = h("button", { type: "button", disabled: true, on: { click: () => turn(-1) } }, "Newer");
  const older = h("button", { type: "button", disabled: true, on: { click: () => turn(1) } }, "Older");
  const where = h("span", { class: "small" });
  main.append(
    heading("Jobs", null, h("div", { class: "tools" }, h("label", {}, "State ", filter), compareLink)),
    h("div", { class: "panel flush" }, list.element),
    h("div", { class: "pages", role: "group", "aria-label": "Pages" }, newer, where, older));

  async function refresh() {
    const parts = ["limit=25"];
    if (wanted) parts.push(`state=${encodeURIComponent(wanted)}`);
    if (cursors[page]) parts.push(`cursor=${encodeURIComponent(cursors[page])}`);
    const shown = page;
    const { body } = await get(`/v1/jobs?${parts.join("&")}`, { signal });
    if (shown !== page) return;
    list.show(body.items);
    next = body.next_cursor;
    cursors[page + 1] = next;
    newer.disabled = page === 0;
    older.disabled = next === null;
    where.textContent = page === 0 && next === null ? "" : `page ${page + 1}`;
  }
  await repeat(signal, 1.5, async () => {
    await refresh();
    return false;
  });
}
