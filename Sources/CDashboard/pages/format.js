// Numbers, times and states as people read them.
import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en");

/** A count with separators. */
export const count = (value) => value === null || value === undefined ? "–" : whole.format(value);

/** A measured number with four digits that matter. */
export function measure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(3);
  return String(Number(value.toPrecision(4)));
}

/** A share as a percentage. */
export const percent = (value, digits = 1) =>
  value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`;

/** Bytes in binary units. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit ? value.toFixed(value < 10 ? 1 : 0) : value} ${units[unit]}`;
}

/** Seconds in one or two units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Seconds between two times of the API; to now without the second. */
export const between = (from, to = null) => from ? ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000 : null;

/** A moment, exact when asked for: `3 min ago`. */
export function moment(text) {
  if (!text) return "–";
  const seconds = Math.max(0, between(text));
  let said = "just now";
  if (seconds >= 172800) said = new Date(text).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
  else if (seconds >= 3600) said = `${Math.floor(seconds / 3600)} h ago`;
  else if (seconds >= 60) said = `${Math.floor(seconds / 60)} min ago`;
  else if (seconds >= 5) said = `${5 * Math.floor(seconds / 5)} s ago`;
  return h("time", { datetime: text, title: new Date(text).toLocaleString("en") }, said);
}

/** The time of day of an event. */
export const clock = (text) =>
  h("time", { datetime: text, title: new Date(text).toLocaleString("en") }, new Date(text).toLocaleTimeString("en-GB"));

const signs = {
  queued: "◌", validating: "◌", running: "●", active: "●", pausing: "◐", paused: "◐", cancelling: "◐",
  succeeded: "✓", released: "✓", ready: "✓", done: "✓", failed: "✕", rejected: "✕", lost: "✕", cancelled: "–",
  deprecated: "–", superseded: "–", candidate: "◌", planned: "◌",
};

/** A state, by colour, sign and word. */
export const state = (name) =>
  h("span", { class: "state", data: { state: name } },
    h("span", { "aria-hidden": "true" }, signs[name] ?? "•"), " ", h("span", { class: "word" }, name));

/** Progress towards a known end. */
export function progress(done, total, label) {
  const share = total ? Math.min(1, done / total) : 0;
  return h("div", { class: "progress" },
    h("progress", { max: "1", value: share.toFixed(4), "aria-label": label }),
    h("span", {}, `${count(done)} / ${count(total)}`));
}

const titles = {
  train_loss: "training loss", held_out_loss: "held-out loss", held_out_accuracy: "held-out accuracy",
  held_out_perplexity: "held-out perplexity", held_out_bits_per_token: "held-out bits per token",
  held_out_mse: "held-out squared error", held_out_reconstruction_error: "held-out reconstruction error",
  held_out_negative_elbo: "held-out negative ELBO",
};

/** A curve's series in words. */
export const seriesTitle = (series) => titles[series] ?? series.replaceAll("_", " ");

/** An optimizer choice in a few words: its name, version and what was set by hand. */
export function optimizer(choice) {
  if (!choice) return "–";
  const parts = [choice.version ? `${choice.name} ${choice.version}` : choice.name];
  if (typeof choice.learning_rate === "number") parts.push(`rate ${measure(choice.learning_rate)}`);
  return parts.join(", ");
}

/** A model in a few words. */
export function model(spec) {
  if (!spec) return "–";
  if (spec.preset) {
    const sizes = ["hidden", "filters", "layers", "width", "depth"].filter((key) => spec[key] !== undefined && spec[key] !== null);
    return [spec.preset, ...sizes.map((key) => `${key} ${[spec[key]].flat().join("-")}`)].join(", ");
  }
  return Array.isArray(spec.layers) ? `${spec.layers.length} layers` : "from a file";
}
