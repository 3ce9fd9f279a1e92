// The processes that train: where they run, what they can do, and when they were last heard of.
import { get } from "./api.js";
import { h, heading, table } from "./dom.js";
import { between, count, duration, measure, moment } from "./format.js";
import { repeat } from "./live.js";

const quietSeconds = 30;

export default async function workers({ main, signal }) {
  const total = h("p", { class: "small", "aria-live": "polite" });
  const rate = (value, unit) => value ? `${measure(value / 1e9)} ${unit}` : "–";
  const list = table({
    caption: "Workers", captionHidden: true, empty: "No worker runs. Start one with “trainyard worker”, or give “trainyard serve” some.",
    columns: [
      { title: "Worker", kind: "text main", cell: ({ id, host }) => h("span", {}, host, h("span", { class: "id" }, id)) },
      {
        title: "Last seen", cell: ({ seen_at: seen }) => h("span", { class: between(seen) > quietSeconds ? "late" : null }, moment(seen)),
      },
      { title: "Running for", kind: "number", cell: (worker) => duration(between(worker.started_at)) },
      { title: "Process", kind: "number", cell: (worker) => String(worker.process_id) },
      { title: "Slots", kind: "number", cell: (worker) => count(worker.slots) },
      { title: "CPU level", cell: (worker) => worker.cpu_level },
      { title: "Products", kind: "number", cell: ({ speed }) => rate(speed?.product_flops_per_s, "GFLOP/s") },
      { title: "Functions", kind: "number", cell: ({ speed }) => rate(speed?.functions_per_s, "G/s") },
      { title: "Memory", kind: "number", cell: ({ speed }) => rate(speed?.bytes_per_s, "GB/s") },
    ],
  });
  main.append(heading("Workers"), total, h("div", { class: "panel flush" }, list.element));
  await repeat(signal, 2, async () => {
    const { body } = await get("/v1/workers", { signal });
    list.show(body.items);
    const slots = body.items.reduce((sum, worker) => sum + worker.slots, 0);
    total.textContent = `${count(body.items.length)} ${body.items.length === 1 ? "worker" : "workers"}, ${count(slots)} ${slots === 1 ? "slot" : "slots"}`;
    return false;
  });
}
