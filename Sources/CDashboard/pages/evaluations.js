// Evaluations: how much faster or better optimizers are than a tuned baseline; the list, and one with its profile.
import { download, get, post } from "./api.js";
import { Chart, chartTools } from "./chart.js";
import { confirm, facts, fill, h, heading, panel, problem, table } from "./dom.js";
import { between, bytes, count, duration, measure, moment, percent, progress, state } from "./format.js";
import { finalStates } from "./job.js";
import { follow, repeat } from "./live.js";

/** The best entrant's speed-up at the longest budget, in words. */
function verdict(evaluation) {
  const headlines = evaluation.summary?.headlines ?? [];
  const longest = Math.max(...headlines.map(({ steps }) => steps));
  const best = headlines.filter((line) => line.steps === longest && line.speed_up)
    .sort((one, other) => (other.speed_up.iqm ?? 0) - (one.speed_up.iqm ?? 0))[0];
  return best ? `${best.label}: ${measure(best.speed_up.iqm)}× at ${count(longest)} steps` : "–";
}

export function evaluationTable(empty) {
  return table({
    caption: "Evaluations, newest first", captionHidden: true, empty, columns: [
      {
        title: "Name", kind: "text main", cell: ({ id, name }) =>
          h("a", { href: `#/evaluations/${id}` }, name ?? "unnamed", h("span", { class: "id" }, id)),
      },
      { title: "State", cell: (evaluation) => state(evaluation.state) },
      {
        title: "Of campaign", cell: ({ campaign, campaign_version: version }) => campaign
          ? h("a", { href: `#/campaigns/${campaign}` }, `version ${count(version)}`) : "–",
      },
      {
        title: "Trainings", cell: ({ progress: done, plan, name, id }) =>
          progress(done.done + done.failed, plan?.runs ?? done.queued + done.running + done.done + done.failed, `Progress of ${name ?? id}`),
      },
      { title: "Fastest", cell: verdict },
      { title: "Made", cell: (evaluation) => moment(evaluation.created_at) },
    ],
  });
}

export async function evaluations({ main, signal }) {
  const list = evaluationTable("No evaluations yet. “trainyard evaluation create -f FILE” makes one.");
  main.append(heading("Evaluations"), h("div", { class: "panel flush" }, list.element));
  await repeat(signal, 2, async () => {
    const { body } = await get("/v1/evaluations?limit=50", { signal });
    list.show(body.items);
    return false;
  });
}

// The axis is the logarithm to base 2 of what it says.
const times = (x) => x === undefined ? "–" : x >= 0 ? `${measure(2 ** x)}×` : `1/${measure(2 ** -x)}×`;

const interval = (statistic) => statistic
  ? h("span", {}, h("b", {}, measure(statistic.iqm)), h("span", { class: "small" }, ` ${measure(statistic.low)} to ${measure(statistic.high)}`))
  : "–";

export async function evaluation({ main, signal, id, announce, title }) {
  const path = `/v1/evaluations/${id}`;
  const head = heading("Evaluation", { href: "#/evaluations", title: "Evaluations" });
  const summary = h("div", { class: "summary" });
  const message = h("div", { "aria-live": "polite" });
  const buttons = h("div", { class: "buttons" });
  const results = table({
    caption: "Results by optimizer and budget", captionHidden: true, empty: "Results come when all trainings are done.", columns: [
      { title: "Optimizer", kind: "text main", cell: ({ label }) => label },
      { title: "Steps", kind: "number", cell: ({ steps }) => count(steps) },
      { title: "Speed-up", kind: "number", cell: (line) => interval(line.speed_up) },
      { title: "Loss ratio", kind: "number", cell: (line) => interval(line.ratio) },
      { title: "Better than baseline", kind: "number", cell: (line) => percent(line.probability_of_improvement, 0) },
      { title: "Tasks", kind: "number", cell: ({ tasks }) => count(tasks) },
      { title: "Failures", kind: "number", cell: ({ failures, runs }) => `${count(failures)} of ${count(runs)}` },
    ],
  });
  const chart = new Chart({ label: "Performance profile", xTitle: "speed-up", xText: times });
  const budget = h("select", { id: "budget", on: { change: () => draw() } });
  signal.addEventListener("abort", () => chart.close());
  const details = h("div");
  const profile = panel("Performance profile",
    h("p", { class: "small" }, "The share of trainings that are at least so many times as fast as the tuned baseline. Higher is better."),
    h("div", { class: "tools" }, h("label", {}, "Steps ", budget)), chart.element);
  profile.hidden = true;
  main.append(head, h("div", { class: "row" }, summary, buttons), message, panel("Results", results.element), profile,
    panel("About", details));

  let report = null;
  function draw() {
    if (!report) return;
    const { thresholds, entrants } = report.profiles;
    chart.show(entrants.filter(({ steps }) => String(steps) === budget.value).map((entrant, index) => ({
      id: `${entrant.label}/${entrant.steps}`, title: entrant.label, colour: index % 6 + 1,
      points: thresholds.map((threshold, place) => [Math.log2(threshold), entrant.share[place] ?? NaN]),
    })), { log: false, smoothing: 0 });
  }
  let latest = null;
  function show(next) {
    if (latest && latest.state !== next.state) announce(`The evaluation is ${next.state}.`);
    latest = next;
    title(next.name ?? next.id);
    head.querySelector("h1").textContent = next.name ?? "Unnamed evaluation";
    const { queued, running, done, failed } = next.progress;
    fill(summary, h("div", { class: "big" }, state(next.state)),
      h("div", { class: "grow" }, progress(done + failed, next.plan?.runs ?? queued + running + done + failed, "Progress of the evaluation"),
        h("span", { class: "small" }, failed ? `${count(failed)} failed` : "trainings")));
    fill(message, next.message ? h("p", { class: "notice" }, next.message) : null);
    results.show(next.summary?.headlines ?? [], (line) => `${line.label}/${line.steps}`);
    fill(details, facts([
      ["Id", h("code", { class: "wrap" }, next.id)],
      ["Campaign", next.campaign ? h("a", { href: `#/campaigns/${next.campaign}` }, `${next.campaign}, version ${count(next.campaign_version)}`) : null],
      ["Baseline", next.spec.baseline?.label],
      ["Optimizers", (next.spec.optimizers ?? []).map(({ label, name }) => label ?? name).join(", ")],
      ["Budgets", (next.spec.steps ?? []).map(count).join(", ")],
      ["Seeds", (next.spec.seeds ?? []).join(", ")],
      ["Tasks", count(next.plan?.tasks)],
      ["Predicted cost", next.plan ? duration(next.plan.core_seconds) : null],
      ["Made", moment(next.created_at)],
      ["Ran for", duration(between(next.started_at, next.finished_at))],
    ]));
    buttons.replaceChildren(...(finalStates.has(next.state) ? reports(next) : [h("button", {
      type: "button", class: "danger", on: { click: cancel },
    }, "Cancel…")]));
  }
  const fail = (error) => fill(message, problem(error));
  function reports(next) {
    return Object.entries(next.reports ?? {}).map(([format, { bytes: size }]) => h("button", {
      type: "button", on: { click: () => download(`${path}/report?format=${format}`, `${id}.${format}`).catch(fail) },
    }, `Report as ${format} (${bytes(size)})`));
  }
  async function cancel() {
    if (await confirm("Cancel this evaluation? It cannot be taken up again.", "Cancel the evaluation")) {
      await post(`${path}/cancel`).then(show, fail);
    }
  }
  await follow(path, { signal, isOver: ({ state: name }) => finalStates.has(name), show });
  if (signal.aborted || latest?.state !== "succeeded") return;
  report = (await get(`${path}/report?format=json`, { signal })).body;
  const budgets = [...new Set(report.profiles.entrants.map(({ steps }) => steps))];
  budget.replaceChildren(...budgets.map((steps) => h("option", { value: steps }, count(steps))));
  budget.value = String(budgets.at(-1));
  profile.hidden = false;
  draw();
}
