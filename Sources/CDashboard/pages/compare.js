// Up to five jobs on one chart, by step: the address names them, so a comparison can be kept as a bookmark.
import { get } from "./api.js";
import { Chart, chartTools } from "./chart.js";
import { Curve, wasRewound } from "./curves.js";
import { h, heading, panel, problem, table } from "./dom.js";
import { between, count, duration, measure, optimizer, percent, seriesTitle, state } from "./format.js";
import { finalStates } from "./job.js";
import { comparedMax } from "./jobs.js";
import { repeat } from "./live.js";

export default async function compare({ main, signal, query, announce }) {
  const ids = [...new Set((query.get("jobs") ?? "").split(",").filter((id) => /^job_[a-z0-9]+$/.test(id)))].slice(0, comparedMax);
  const known = new Map();
  const go = (list) => { location.hash = list.length ? `#/compare?jobs=${list.join()}` : "#/compare"; };

  const choice = h("select", { id: "add" });
  const add = h("button", {
    type: "button", disabled: true, on: { click: () => choice.value && go([...ids, choice.value]) },
  }, "Add to the comparison");
  const measureChoice = h("select", { id: "measure", on: { change: () => { showSeries(); } } },
    h("option", { value: "train_loss" }, seriesTitle("train_loss")));
  const chart = new Chart({ label: "Comparison of jobs", onZoom: (range) => look(range) });
  const tools = chartTools({ smoothing: 0.8, changed: () => draw() });
  tools.element.append(h("label", {}, "Measure ", measureChoice));
  signal.addEventListener("abort", () => chart.close());

  const list = table({
    caption: "Jobs compared", captionHidden: true, columns: [
      {
        title: "Job", kind: "text main", cell: ({ job, number }) => h("span", {},
          h("span", { class: `swatch series-${number}`, "aria-hidden": "true" }), " ",
          h("a", { href: `#/jobs/${job.id}` }, job.name ?? job.id)),
      },
      { title: "State", cell: ({ job }) => state(job.state) },
      { title: "Optimizer", cell: ({ job }) => optimizer(job.optimizer) },
      { title: "Step", kind: "number", cell: ({ job }) => `${count(job.step)} / ${count(job.steps)}` },
      { title: "Loss", kind: "number", cell: ({ job }) => measure(job.result?.train_loss ?? job.loss) },
      { title: "Held-out loss", kind: "number", cell: ({ job }) => measure(job.result?.held_out_loss) },
      { title: "Held-out accuracy", kind: "number", cell: ({ job }) => percent(job.result?.held_out_accuracy, 2) },
      { title: "Time", kind: "number", cell: ({ job }) => duration(between(job.started_at, job.finished_at)) },
      {
        title: "Leave out", cell: ({ job }) => h("button", {
          type: "button", class: "quiet", "aria-label": `Leave out ${job.name ?? job.id}`,
          on: { click: () => go(ids.filter((id) => id !== job.id)) },
        }, "✕"),
      },
    ],
  });
  const picker = h("div", { class: "tools" }, h("label", {}, "Job ", choice), add);
  main.append(heading("Compare jobs", null, picker));
  if (ids.length) {
    main.append(panel("Curves", tools.element, chart.element), h("div", { class: "panel flush" }, list.element));
  } else {
    main.append(h("p", { class: "notice" }, "Choose up to five jobs, here or by their boxes in the list of jobs."));
  }

  async function offer() {
    const { body } = await get("/v1/jobs?limit=50", { signal });
    const others = body.items.filter(({ id }) => !ids.includes(id));
    choice.replaceChildren(...others.map(({ id, name, optimizer: by }) =>
      h("option", { value: id }, `${name ?? id} (${optimizer(by)})`)));
    add.disabled = others.length === 0 || ids.length >= comparedMax;
    if (ids.length >= comparedMax) announce(`${comparedMax} jobs are compared, which is the most.`);
  }

  function shown() {
    return ids.filter((id) => known.has(id)).map((id) => ({ id, number: ids.indexOf(id) + 1, ...known.get(id) }));
  }
  function draw() {
    const series = measureChoice.value;
    chart.show(shown().filter(({ curves }) => curves.has(series)).map(({ id, number, job, curves }) => ({
      id: `${id}/${series}`, title: job.name ?? id, points: curves.get(series).points, colour: number,
      smooth: series === "train_loss", dots: series !== "train_loss",
    })), tools.values());
    tools.allowLog(chart.allowsLog);
  }
  async function look(range) {
    const curves = shown().map(({ curves: own }) => own.get(measureChoice.value)).filter(Boolean);
    if (!range) curves.forEach((curve) => { curve.detail = null; });
    else await Promise.all(curves.map((curve) => curve.look(range[0], range[1], signal))).catch(() => {});
    draw();
  }

  async function refresh(id) {
    const entry = known.get(id);
    if (entry && finalStates.has(entry.job.state) && entry.isWhole) return true;
    const { body: job } = await get(`/v1/jobs/${id}`, { signal });
    const curves = entry && !wasRewound(entry.job, job) ? entry.curves : new Map();
    known.set(id, { job, curves, isWhole: false });
    const { body } = await get(`/v1/jobs/${id}/curves`, { signal });
    for (const { series } of body.items) {
      if (!curves.has(series)) curves.set(series, null);
      if (![...measureChoice.options].some((option) => option.value === series)) {
        measureChoice.append(h("option", { value: series }, seriesTitle(series)));
      }
    }
    await fetchSeries(id, measureChoice.value);
    known.get(id).isWhole = finalStates.has(job.state);
    return known.get(id).isWhole;
  }
  async function fetchSeries(id, series) {
    const { curves } = known.get(id);
    if (!curves.has(series)) return;
    if (!curves.get(series)) curves.set(series, new Curve(`/v1/jobs/${id}/curves/${series}`));
    await curves.get(series).refresh(signal);
  }
  async function showSeries() {
    try {
      await Promise.all([...known.keys()].map((id) => fetchSeries(id, measureChoice.value)));
      drop();
      draw();
    } catch (error) {
      if (!signal.aborted) main.append(problem(error));
    }
  }
  // Series that a job has but nobody looked at yet have no points to draw.
  function drop() {
    for (const { curves } of known.values()) {
      for (const [series, curve] of curves) if (!curve && series === measureChoice.value) curves.delete(series);
    }
  }

  await offer();
  if (!ids.length) return;
  await repeat(signal, 1.5, async () => {
    const over = await Promise.all(ids.map((id) => refresh(id)));
    list.show(shown());
    draw();
    return over.every(Boolean);
  });
}
