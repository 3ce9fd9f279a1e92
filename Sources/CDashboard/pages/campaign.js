// One campaign: its meta-loss over outer steps, phases, lineage, stored thetas, evaluations and events.
import { get } from "./api.js";
import { Chart, chartTools } from "./chart.js";
import { controls } from "./controls.js";
import { facts, fill, h, heading, panel, table } from "./dom.js";
import { evaluationTable } from "./evaluations.js";
import { between, bytes, clock, count, duration, measure, moment, optimizer, percent, progress, state } from "./format.js";
import { finalStates } from "./job.js";
import { followWithEvents, repeat } from "./live.js";

const measures = {
  mean_loss: "meta-loss", gradient_norm: "gradient norm", update_norm: "update norm", surviving: "surviving share of pairs",
  clip_share: "clipped share", learning_rate: "outer learning rate", staleness: "staleness in versions",
  discarded: "discarded results", wall_ms: "milliseconds a step",
};
const pointsMax = 2000;

export default async function campaign({ main, signal, id, announce, title }) {
  const path = `/v1/campaigns/${id}`;
  let current = null;
  const isOver = () => current !== null && finalStates.has(current.state);

  const head = heading("Campaign", { href: "#/campaigns", title: "Campaigns" });
  const summary = h("div", { class: "summary" });
  const message = h("div", { "aria-live": "polite" });
  const control = controls({ path, what: "campaign", announce, changed: show });
  const details = h("div");
  const choice = h("select", { id: "measure", on: { change: () => draw() } },
    Object.entries(measures).map(([value, text]) => h("option", { value }, text)));
  const chart = new Chart({ label: "Measures of outer steps", xTitle: "outer step" });
  const tools = chartTools({ smoothing: 0.8, changed: () => draw() });
  tools.element.append(h("label", {}, "Measure ", choice));
  signal.addEventListener("abort", () => chart.close());
  const phases = phaseTable();
  const lineage = h("div", { class: "lineage" });
  const thetas = table({
    caption: "Stored thetas, newest first", captionHidden: true, columns: [
      { title: "Version", kind: "number", cell: (theta) => count(theta.version) },
      { title: "Kept because", cell: (theta) => theta.kept ?? "newest" },
      { title: "Size", kind: "number", cell: (theta) => bytes(theta.bytes) },
      { title: "SHA-256", cell: (theta) => h("code", { title: theta.sha256 }, theta.sha256.slice(0, 12)) },
      { title: "Made", cell: (theta) => moment(theta.created_at) },
    ],
  });
  const evaluations = evaluationTable("No evaluation of this campaign yet.");
  const events = table({
    caption: "Events, newest first", captionHidden: true, columns: [
      { title: "Number", kind: "number", cell: (event) => String(event.seq) },
      { title: "Time", cell: (event) => clock(event.at) },
      { title: "Type", cell: (event) => event.type },
      { title: "What", cell: (event) => event.message },
    ],
  });
  main.append(head, h("div", { class: "row" }, summary, control.element), message,
    panel("Outer steps", tools.element, chart.element), panel("Phases", phases.element),
    h("div", { class: "columns" }, panel("About", details, lineage), panel("Events", events.element)),
    panel("Evaluations", evaluations.element), panel("Stored thetas", thetas.element));

  function show(next) {
    if (current && next.revision < current.revision) return;
    const previous = current;
    current = next;
    title(next.name ?? next.id);
    head.querySelector("h1").textContent = next.name ?? "Unnamed campaign";
    fill(summary, h("div", { class: "big" }, state(next.state)),
      h("div", { class: "grow" }, progress(next.version, next.outer_steps, "Progress of the campaign"),
        h("span", { class: "small" }, `${count(next.inner_steps)} inner steps`)),
      h("div", { class: "figure" }, h("span", { class: "small" }, "meta-loss"), h("b", {}, measure(next.loss))));
    fill(message, next.message ? h("p", { class: "notice" }, next.message) : null);
    control.show(next);
    fill(details, facts([
      ["Id", h("code", { class: "wrap" }, next.id)],
      ["Trains", next.optimizer],
      ["Mode", next.mode],
      ["Seed", String(next.spec.seed)],
      ["Datasets", Object.entries(next.spec.data ?? {}).map(([name, dataset]) => `${name}: ${dataset}`).join(", ")],
      ["CPU level", next.cpu_level],
      ["Made", moment(next.created_at)],
      ["Ran for", duration(between(next.started_at, next.finished_at))],
    ]));
    if (previous && previous.state !== next.state) announce(`The campaign is ${next.state}.`);
  }

  let steps = { version: [], phase: [] };
  // Where one phase gave way to the next.
  let marks = [];
  function draw() {
    const column = steps[choice.value] ?? [];
    const points = steps.version.map((version, index) => [version, column[index] ?? NaN]);
    chart.show([{ id: choice.value, title: measures[choice.value], points, colour: 1, smooth: true }], { ...tools.values(), marks });
    tools.allowLog(chart.allowsLog);
  }
  async function refreshSteps() {
    const next = steps.version.length ? steps.version.at(-1) + 1 : 0;
    // Whole again once what came since is many points; else only what is new.
    const isFirst = next === 0 || steps.version.length > 2 * pointsMax;
    const { body } = await get(`${path}/steps?max_points=${pointsMax}${isFirst ? "" : `&from=${next}`}`, { signal });
    if (isFirst) {
      steps = body;
    } else if (body.version.length) {
      for (const [key, column] of Object.entries(body)) if (Array.isArray(column)) steps[key] = [...(steps[key] ?? []), ...column];
    }
    draw();
  }
  async function refreshTables() {
    const [phase, theta, evaluation] = await Promise.all([
      get(`${path}/phases`, { signal }), get(`${path}/thetas?limit=20`, { signal }),
      get(`/v1/evaluations?campaign=${id}&limit=50`, { signal }),
    ]);
    phases.show(phase.body.items, ({ number }) => number);
    marks = phase.body.items.map((record) => record.first_version).filter((version) => version > 0);
    draw();
    thetas.show(theta.body.items, ({ version }) => version);
    evaluations.show(evaluation.body.items);
  }
  async function refreshLineage() {
    const { body } = await get("/v1/campaigns?limit=100", { signal });
    const branches = body.items.filter((other) => other.parent?.campaign === id);
    const link = (campaignID, text) => h("a", { href: `#/campaigns/${campaignID}` }, text);
    fill(lineage, h("h3", {}, "Lineage"), h("ul", {},
      current?.parent ? h("li", {}, "began as a branch of ", link(current.parent.campaign, current.parent.campaign),
        ` at version ${count(current.parent.version)}`) : h("li", {}, startOf(current)),
      branches.map((branch) => h("li", {}, "branch at version ", count(branch.parent.version), ": ",
        link(branch.id, branch.name ?? branch.id)))));
  }

  const all = [];
  await Promise.all([
    followWithEvents(path, {
      signal, isOver: (resource) => finalStates.has(resource.state), show, showEvent: (event) => {
        all.unshift(event);
        events.show(all.slice(0, 200), ({ seq }) => seq);
      },
    }),
    repeat(signal, 1, async () => {
      const wasOver = isOver();
      await refreshSteps();
      return wasOver;
    }),
    repeat(signal, 4, async () => {
      const wasOver = isOver();
      await refreshTables();
      await refreshLineage();
      return wasOver;
    }),
  ]);
}

function startOf(campaign) {
  const start = campaign?.spec.start;
  if (!start) return "began with a theta that was drawn at random";
  return start.campaign ? `began with version ${start.version} of ${start.campaign}` : `began with version ${start.version} of the registry`;
}

function phaseTable() {
  return table({
    caption: "Phases, in the order they were made", captionHidden: true, columns: [
      {
        title: "Phase", kind: "text main", cell: ({ number, parent, phase }) => h("span", {}, phase.name ?? `phase ${number}`,
          parent === null ? null : h("span", { class: "id" }, `in place of phase ${parent}`)),
      },
      { title: "State", cell: (record) => state(record.state) },
      {
        title: "Versions", kind: "number", cell: (record) => record.first_version === null ? "–"
          : `${count(record.first_version)} to ${record.last_version === null ? "…" : count(record.last_version)}`,
      },
      {
        title: "Estimator", cell: ({ phase: { estimator } }) =>
          `${estimator.kind}, σ ${measure(estimator.sigma)}, ${count(estimator.pairs)} pairs, window ${count(estimator.window)}`,
      },
      { title: "Outer optimizer", cell: ({ phase }) => optimizer(phase.outer?.optimizer) },
      { title: "Tasks", kind: "number", cell: ({ phase }) => count(phase.tasks?.length) },
      {
        title: "Staleness", kind: "number", cell: ({ phase: { policy } }) =>
          policy ? `≤ ${count(policy.staleness)}, share ${percent(policy.share, 0)}` : "–",
      },
    ],
  });
}
