// One curve as the page holds it: points fetched once and then only what is new, thinned out by the server, and finer
// where somebody looks closer.
import { get } from "./api.js";

const pointsMax = 2000;

/** Whether a job may have gone back in between, so that points fetched before are not its curve any more. */
export function wasRewound(before, now) {
  return before.attempt !== now.attempt || before.fallback?.from_step !== now.fallback?.from_step;
}

export class Curve {
  /** path: of the series, such as `/v1/jobs/job_…/curves/train_loss`. */
  constructor(path) {
    this.path = path;
    this.overview = [];
    this.detail = null;
  }

  /** The points to draw, as [step, value]; NaN where a loss was none. */
  get points() {
    if (!this.detail) return this.overview;
    const { from, to, points } = this.detail;
    return [...this.overview.filter(([x]) => x < from), ...points, ...this.overview.filter(([x]) => x > to)];
  }

  get last() {
    return this.overview.at(-1) ?? null;
  }

  /** Fetches what came since; true when there was something. */
  async refresh(signal) {
    const next = this.last ? this.last[0] + 1 : 0;
    const fresh = await this.#fetch(`from=${next}&max_points=${pointsMax}`, signal);
    this.overview.push(...fresh);
    // Many small pieces come with all their points: now and then the whole is thinned out again.
    if (this.overview.length > 2 * pointsMax) await this.reload(signal);
    return fresh.length > 0;
  }

  /** Fetches all again, as is due when a job went back to a checkpoint. */
  async reload(signal) {
    this.overview = await this.#fetch(`max_points=${pointsMax}`, signal);
    this.detail = null;
  }

  /** Fetches a range as finely as it is stored; true when there is more to see than before. */
  async look(from, to, signal) {
    const range = [Math.max(0, Math.floor(from)), Math.max(0, Math.ceil(to))];
    const known = this.overview.filter(([x]) => x >= range[0] && x <= range[1]).length;
    if (known === 0 || known >= Math.min(pointsMax, range[1] - range[0])) return false;
    const points = await this.#fetch(`from=${range[0]}&to=${range[1]}&max_points=${pointsMax}`, signal);
    if (points.length <= known) return false;
    this.detail = { from: range[0], to: range[1], points };
    return true;
  }

  async #fetch(query, signal) {
    const { body } = await get(`${this.path}?${query}`, { signal });
    return body.steps.map((step, index) => [step, body.values[index] ?? NaN]);
  }
}
