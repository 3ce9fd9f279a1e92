// The registry of learned optimizers: states, sizes and where their weights come from.
import { get } from "./api.js";
import { h, heading, table } from "./dom.js";
import { bytes, count, moment, state } from "./format.js";
import { repeat } from "./live.js";

/** Provenance as a short list; what is long can be opened. */
function provenance(record) {
  if (record.problem) return h("span", { class: "late" }, record.problem);
  const entries = Object.entries(record.provenance ?? {});
  if (!entries.length) return "–";
  const said = (value) => typeof value === "object" ? JSON.stringify(value) : String(value);
  const campaign = record.provenance.campaign;
  return h("details", {},
    h("summary", {}, campaign ? "campaign" : entries.map(([key]) => key).slice(0, 3).join(", ")),
    h("dl", { class: "provenance" }, entries.map(([key, value]) => [
      h("dt", {}, key),
      h("dd", {}, key === "campaign" && /^cmp_[a-z0-9]+$/.test(value) ? h("a", { href: `#/campaigns/${value}` }, value) : said(value)),
    ])));
}

export default async function optimizers({ main, signal }) {
  const list = table({
    caption: "Learned optimizers, newest first", captionHidden: true, empty: "No learned optimizer is registered.",
    columns: [
      { title: "Optimizer", kind: "text main", cell: ({ id, name, version }) => h("span", {}, `${name} ${version}`, h("span", { class: "id" }, id)) },
      { title: "State", cell: (record) => state(record.state) },
      { title: "Weights", kind: "number", cell: (record) => count(record.parameters) },
      { title: "Size", kind: "number", cell: (record) => bytes(record.bytes) },
      { title: "Provenance", cell: provenance },
      { title: "SHA-256", cell: ({ sha256 }) => sha256 ? h("code", { title: sha256 }, sha256.slice(0, 12)) : "–" },
      { title: "Registered", cell: (record) => moment(record.created_at) },
    ],
  });
  main.append(heading("Optimizers"), h("p", { class: "small" },
    "Jobs that name no optimizer are trained by the newest release."), h("div", { class: "panel flush" }, list.element));
  await repeat(signal, 5, async () => {
    const { body } = await get("/v1/optimizers?limit=100", { signal });
    list.show(body.items);
    return false;
  });
}
