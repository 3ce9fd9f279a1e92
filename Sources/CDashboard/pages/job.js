// One job: what it is, how it does, its curves while they grow, its events and attempts, and its model at the end.
import { download, get } from "./api.js";
import { Chart, chartTools } from "./chart.js";
import { controls } from "./controls.js";
import { Curve, wasRewound } from "./curves.js";
import { facts, fill, h, heading, panel, problem, table } from "./dom.js";
import { between, clock, count, duration, measure, model, moment, optimizer, percent, progress, seriesTitle, state } from "./format.js";
import { followWithEvents, repeat } from "./live.js";

export const finalStates = new Set(["succeeded", "failed", "cancelled"]);

export default async function job({ main, signal, id, announce, title }) {
  const path = `/v1/jobs/${id}`;
  let current = null;
  const isOver = () => current !== null && finalStates.has(current.state);

  const head = heading("Job", { href: "#/jobs", title: "Jobs" });
  const name = head.querySelector("h1");
  const summary = h("div", { class: "summary" });
  const message = h("div", { "aria-live": "polite" });
  const control = controls({ path, what: "job", announce, changed: show });
  const about = panel("About");
  const details = h("div");
  about.append(details);
  const files = h("div", { class: "buttons" });
  const curves = curvePanels(path, signal);
  const events = table({
    caption: "Events, newest first", captionHidden: true, columns: [
      { title: "Number", kind: "number", cell: (event) => String(event.seq) },
      { title: "Time", cell: (event) => clock(event.at) },
      { title: "Type", cell: (event) => event.type },
      { title: "What", cell: (event) => event.message },
    ],
  });
  const attempts = table({
    caption: "Attempts", captionHidden: true, columns: [
      { title: "Attempt", kind: "number", cell: (attempt) => String(attempt.number) },
      { title: "State", cell: (attempt) => state(attempt.state) },
      { title: "Worker", cell: (attempt) => h("code", { class: "wrap" }, attempt.worker ?? "–") },
      { title: "From step", kind: "number", cell: (attempt) => count(attempt.first_step) },
      { title: "CPU level", cell: (attempt) => attempt.cpu_level ?? "–" },
      { title: "Lasted", kind: "number", cell: (attempt) => duration(between(attempt.started_at, attempt.ended_at)) },
    ],
  });
  main.append(head, h("div", { class: "row" }, summary, control.element), message,
    ...curves.elements, h("div", { class: "columns" }, about, panel("Events", events.element)),
    panel("Attempts", attempts.element));
  about.append(files);

  let dataset = null;
  let trainer = null;
  function show(next) {
    if (current && next.revision < current.revision) return;
    const previous = current;
    current = next;
    title(next.name ?? next.id);
    name.textContent = next.name ?? "Unnamed job";
    fill(summary, ...summaryOf(next));
    fill(message, next.message ? h("p", { class: "notice" }, next.message) : null);
    control.show(next);
    fill(details, aboutOf(next, dataset, trainer));
    if (next.state === "succeeded" && !files.childElementCount) {
      files.append(...["safetensors", "onnx"].map((format) => h("button", {
        type: "button", on: {
          click: () => download(`${path}/model?format=${format}`, `${id}.${format}`)
            .catch((error) => fill(message, problem(error))),
        },
      }, `Model as ${format}`)));
    }
    if (previous && previous.state !== next.state) announce(`The job is ${next.state}.`);
    if (!previous || previous.attempt !== next.attempt || previous.state !== next.state) {
      get(`${path}/attempts`, { signal }).then(({ body }) => attempts.show(body.items, (attempt) => attempt.number), () => {});
    }
    if (previous && wasRewound(previous, next)) curves.restart();
  }

  const all = [];
  await Promise.all([
    followWithEvents(path, {
      signal, isOver: (resource) => finalStates.has(resource.state), show, showEvent: (event) => {
        all.unshift(event);
        events.show(all.slice(0, 200), ({ seq }) => seq);
      },
    }),
    curves.follow(isOver),
    repeat(signal, 1, async () => {
      if (!current) return false;
      // They may have been deleted since, and a key may not be allowed to read them.
      const about = (path) => get(path, { signal }).then(({ body }) => body, () => null);
      dataset = await about(`/v1/datasets/${current.dataset}`);
      if (current.optimizer_id) trainer = await about(`/v1/optimizers/${current.optimizer_id}`);
      fill(details, aboutOf(current, dataset, trainer));
      return true;
    }),
  ]);
}

function summaryOf(job) {
  const seconds = between(job.started_at, job.finished_at);
  const isRunning = job.state === "running" && job.step > 0 && seconds > 0;
  const result = job.result ?? {};
  return [
    h("div", { class: "big" }, state(job.state)),
    h("div", { class: "grow" }, progress(job.step, job.steps, "Progress of the job"),
      isRunning ? h("span", { class: "small" }, `about ${duration((job.steps - job.step) * seconds / job.step)} to go`) : null),
    figure("loss", measure(result.train_loss ?? job.loss)),
    typeof result.held_out_loss === "number" ? figure("held-out loss", measure(result.held_out_loss)) : null,
    typeof result.held_out_accuracy === "number" ? figure("held-out accuracy", percent(result.held_out_accuracy, 2)) : null,
  ];
}

const figure = (title, value) => h("div", { class: "figure" }, h("span", { class: "small" }, title), h("b", {}, value));

function aboutOf(job, dataset, trainer) {
  const tags = Object.entries(job.tags ?? {}).map(([key, value]) => h("span", { class: "tag" }, `${key}=${value}`));
  const results = Object.entries(job.result ?? {})
    .filter(([key, value]) => typeof value === "number" && key !== "steps")
    .map(([key, value]) => [seriesTitle(key), measure(value)]);
  return facts([
    ["Id", h("code", { class: "wrap" }, job.id)],
    ["Optimizer", optimizer(job.optimizer)],
    ["Trained by", job.optimizer_id
      ? h("a", { href: "#/optimizers" }, trainer ? `${trainer.name} ${trainer.version}` : job.optimizer_id) : null],
    ["Model", model(job.model)],
    ["Dataset", dataset ? dataset.name : h("code", { class: "wrap" }, job.dataset)],
    ["Batch size", count(job.batch_size)],
    ["Seed", String(job.seed)],
    ["Evaluated every", `${count(job.evaluate_every)} steps`],
    ["Priority", String(job.priority)],
    ["Tags", tags.length ? h("span", {}, tags) : null],
    ["Submitted", moment(job.created_at)],
    ["Trained for", duration(between(job.started_at, job.finished_at))],
    ["CPU level", job.result?.cpu_level],
    ...results,
  ]);
}

/** The panels with the curves of a job. */
function curvePanels(path, signal) {
  const known = new Map();
  const losses = new Set(["train_loss", "held_out_loss"]);
  const chart = new Chart({ label: "Training curve", onZoom: (range) => look(range) });
  const tools = chartTools({ changed: () => draw() });
  const other = new Chart({ label: "Held-out measures", isLow: true });
  const choice = h("select", { id: "series", on: { change: () => draw() } });
  const second = panel("On held-out data", h("div", { class: "tools" }, h("label", {}, "Measure ", choice)), other.element);
  second.hidden = true;
  signal.addEventListener("abort", () => {
    chart.close();
    other.close();
  });

  function drawn(series, colour) {
    return {
      id: series, title: seriesTitle(series), points: known.get(series).points, colour,
      smooth: series === "train_loss", dots: series !== "train_loss",
    };
  }
  function draw() {
    chart.show([...losses].filter((series) => known.has(series)).map((series, index) => drawn(series, index + 1)), tools.values());
    tools.allowLog(chart.allowsLog);
    if (choice.value) other.show([drawn(choice.value, 3)]);
  }
  async function look(range) {
    const shown = [...losses].filter((series) => known.has(series)).map((series) => known.get(series));
    if (!range) {
      shown.forEach((curve) => { curve.detail = null; });
      draw();
      return;
    }
    const found = await Promise.all(shown.map((curve) => curve.look(range[0], range[1], signal))).catch(() => []);
    if (found.some(Boolean)) draw();
  }
  let isStale = false;
  async function refresh() {
    const { body } = await get(`${path}/curves`, { signal });
    const again = isStale;
    isStale = false;
    for (const { series } of body.items) {
      if (!known.has(series)) {
        known.set(series, new Curve(`${path}/curves/${series}`));
        if (!losses.has(series)) {
          choice.append(h("option", { value: series }, seriesTitle(series)));
          second.hidden = false;
        }
      }
      if (again) await known.get(series).reload(signal);
      else await known.get(series).refresh(signal);
    }
    draw();
  }
  return {
    elements: [panel("Training curve", tools.element, chart.element), second],
    restart: () => { isStale = true; },
    follow: (isOver) => repeat(signal, 1, async () => {
      // Asked before: what came between the last points and the end is fetched too.
      const wasOver = isOver();
      await refresh();
      return wasOver;
    }),
  };
}
