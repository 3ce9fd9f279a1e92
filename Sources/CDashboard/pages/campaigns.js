// The list of campaigns, which meta-train optimizers.
import { get } from "./api.js";
import { h, heading, table } from "./dom.js";
import { count, measure, moment, progress, state } from "./format.js";
import { repeat } from "./live.js";

export default async function campaigns({ main, signal }) {
  const list = table({
    caption: "Campaigns, newest first", captionHidden: true,
    empty: "No campaigns yet. “trainyard campaign create -f FILE” makes one.",
    columns: [
      {
        title: "Name", kind: "text main", cell: ({ id, name }) =>
          h("a", { href: `#/campaigns/${id}` }, name ?? "unnamed", h("span", { class: "id" }, id)),
      },
      { title: "State", cell: (campaign) => state(campaign.state) },
      { title: "Optimizer", cell: (campaign) => campaign.optimizer },
      { title: "Mode", cell: (campaign) => campaign.mode },
      {
        title: "Outer steps", cell: (campaign) =>
          progress(campaign.version, campaign.outer_steps, `Progress of ${campaign.name ?? campaign.id}`),
      },
      { title: "Inner steps", kind: "number", cell: (campaign) => count(campaign.inner_steps) },
      { title: "Meta-loss", kind: "number", cell: (campaign) => measure(campaign.loss) },
      { title: "Made", cell: (campaign) => moment(campaign.created_at) },
    ],
  });
  let cursor = null;
  let next = null;
  const more = h("button", {
    type: "button", hidden: true, on: {
      click: () => {
        cursor = next;
        refresh().catch(() => {});
      },
    },
  }, "Older");
  const first = h("button", {
    type: "button", hidden: true, on: {
      click: () => {
        cursor = null;
        refresh().catch(() => {});
      },
    },
  }, "Newest");
  main.append(heading("Campaigns"), h("div", { class: "panel flush" }, list.element),
    h("div", { class: "pages", role: "group", "aria-label": "Pages" }, first, more));

  async function refresh() {
    const { body } = await get(`/v1/campaigns?limit=25${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`, { signal });
    list.show(body.items);
    next = body.next_cursor;
    more.hidden = next === null;
    first.hidden = cursor === null;
  }
  await repeat(signal, 2, async () => {
    await refresh();
    return false;
  });
}
