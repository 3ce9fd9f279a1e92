// Line charts by dygraphs, which the distribution brings: log scale, smoothing, zoom, and values under the pointer or, by
// the arrow keys, under a step. The legend is ours: dygraphs would write names into the page as HTML.
import { h } from "./dom.js";
import { count, measure } from "./format.js";

let library = null;

/** Loads dygraphs once; false when the server has none. */
function load() {
  library ??= new Promise((resolve) => {
    document.head.append(h("link", { rel: "stylesheet", href: "/assets/dygraphs.css" }));
    document.head.append(h("script", {
      src: "/assets/dygraphs.js",
      on: {
        load: () => {
          const { Legend, ChartLabels } = window.Dygraph.Plugins;
          // Both write HTML, and the legend styles it inline, which the page's security policy forbids.
          window.Dygraph.PLUGINS = window.Dygraph.PLUGINS.filter((plugin) => plugin !== Legend && plugin !== ChartLabels);
          resolve(true);
        },
        error: () => resolve(false),
      },
    }));
  });
  return library;
}

/** A running mean that forgets by `weight`, from 0 (nothing is smoothed) below 1, without the pull towards its start. */
export function smoothed(points, weight) {
  let sum = 0;
  let norm = 0;
  return points.map(([x, y]) => {
    if (!Number.isFinite(y)) return [x, NaN];
    sum = weight * sum + (1 - weight) * y;
    norm = weight * norm + (1 - weight);
    return [x, sum / norm];
  });
}

export class Chart {
  #series = [];
  #rows = [];
  #graph = null;
  #selected = -1;
  #log = false;
  #smoothing = 0;
  #marks = [];

  /**
   * label: what is drawn, for those who cannot see it. xTitle: what the horizontal axis counts, and xText how its values
   * read. onZoom: called with the range that is looked at closer, or with null when all is shown again.
   */
  constructor({ label, xTitle = "step", xText = count, isLow = false, onZoom = () => {} }) {
    this.label = label;
    this.xTitle = xTitle;
    this.xText = xText;
    this.onZoom = onZoom;
    this.legend = h("ul", { class: "legend" });
    this.place = h("output", { class: "place" });
    this.reset = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => this.#resetZoom() } }, "Show all");
    this.plot = h("div", {
      class: isLow ? "plot low" : "plot", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": label,
      on: { keydown: (event) => this.#key(event) },
    });
    this.element = h("figure", { class: "chart" },
      h("figcaption", {}, this.legend, this.place, this.reset), this.plot,
      h("p", { class: "hint" }, `Horizontal: ${xTitle}. Drag to zoom, double-click for all. Keys: arrows to read values, + and − to zoom, 0 for all.`));
    this.colours = window.matchMedia("(prefers-color-scheme: dark)");
    this.recolour = () => this.#draw(true);
    this.colours.addEventListener("change", this.recolour);
  }

  /** Whether a logarithm can be taken of anything that is drawn; what is zero or below is left out on a log scale. */
  get allowsLog() {
    return this.#series.length === 0 || this.#series.some((series) => series.points.some(([, y]) => y > 0));
  }

  /**
   * Draws series: [{id, title, points: [[x, y]], colour: 1 to 6, smooth: whether smoothing concerns it, dots}]. marks: places
   * on the horizontal axis that get a line.
   */
  async show(series, { log = this.#log, smoothing = this.#smoothing, marks = this.#marks } = {}) {
    const anew = series.map(({ id }) => id).join() !== this.#series.map(({ id }) => id).join()
      || smoothing !== this.#smoothing || log !== this.#log;
    this.#series = series;
    this.#log = log;
    this.#smoothing = smoothing;
    this.#marks = marks;
    if (!await load()) {
      this.plot.replaceChildren(h("p", { class: "notice" },
        "Charts need the library dygraphs on the server: install the package libjs-dygraphs there, or name its folder in TRAINYARD_DYGRAPHS, and start the server again."));
      this.plot.classList.add("absent");
      this.#showLegend(null);
      return;
    }
    this.#draw(anew);
  }

  /** Ends it with its page. */
  close() {
    this.colours.removeEventListener("change", this.recolour);
    this.#graph?.destroy();
    this.#graph = null;
  }

  // Columns by number, so that no name from outside gets into the library.
  #columns() {
    return this.#series.flatMap((series, number) => {
      const whole = { series, number, points: series.points, isFaint: false };
      if (!series.smooth || this.#smoothing === 0) return [whole];
      return [
        { ...whole, isFaint: true },
        { ...whole, points: smoothed(series.points, this.#smoothing) },
      ];
    });
  }

  #draw(anew) {
    if (!this.plot.isConnected || !window.Dygraph) return;
    const columns = this.#columns();
    const byX = new Map();
    columns.forEach(({ points }, index) => {
      for (const [x, y] of points) {
        let row = byX.get(x);
        if (!row) byX.set(x, row = [x, ...columns.map(() => null)]);
        // A gap where there is no logarithm; the library would give up the whole axis.
        row[index + 1] = this.#log && !(y > 0) ? NaN : y;
      }
    });
    this.#rows = [...byX.values()].sort((one, other) => one[0] - other[0]);
    if (this.#rows.length === 0) {
      this.#graph?.destroy();
      this.#graph = null;
      this.plot.replaceChildren(h("p", { class: "empty" }, "No points yet."));
      this.#showLegend(null);
      return;
    }
    if (!this.#graph || anew) {
      const zoom = this.#graph?.isZoomed("x") ? this.#graph.xAxisRange() : null;
      this.#graph?.destroy();
      this.plot.replaceChildren();
      this.#graph = new window.Dygraph(this.plot, this.#rows, { ...this.#options(columns), dateWindow: zoom });
    } else {
      this.#graph.updateOptions({ file: this.#rows });
    }
    this.plot.dataset.points = String(this.#rows.length);
    this.reset.hidden = !this.#graph.isZoomed();
    if (this.#selected >= 0) this.#graph.setSelection(Math.min(this.#selected, this.#rows.length - 1));
    else this.#showLegend(null);
    this.plot.setAttribute("aria-label", `${this.label}. ${this.#series.map((series) =>
      `${series.title}: ${measure(series.points.at(-1)?.[1])} at ${this.xTitle} ${this.xText(series.points.at(-1)?.[0])}`).join("; ")}`);
  }

  #options(columns) {
    const style = getComputedStyle(this.plot);
    const colour = (name) => style.getPropertyValue(name).trim();
    const labels = columns.map((_, index) => `c${index}`);
    const series = {};
    columns.forEach(({ series: { colour: number, dots }, isFaint }, index) => {
      const own = colour(`--series-${number}`);
      series[labels[index]] = {
        color: isFaint ? `${own}4d` : own, strokeWidth: isFaint ? 1 : dots ? 1.5 : 1.75,
        drawPoints: Boolean(dots), pointSize: dots ? 2.5 : 1, strokePattern: dots ? [5, 3] : null,
      };
    });
    const number = (value) => measure(value);
    return {
      labels: ["x", ...labels], series, logscale: this.#log, connectSeparatedPoints: true, drawGapEdgePoints: true,
      legend: "never", xRangePad: 4,
      // In pixels, which on a logarithmic scale leaves no axis at all where a chart is low.
      yRangePad: this.#log ? null : 8, labelsUTC: false, animatedZooms: false, rightGap: 12,
      gridLineColor: colour("--line"), axisLineColor: colour("--line-strong"), gridLineWidth: 0.6,
      axes: {
        x: { axisLabelFormatter: this.xText, valueFormatter: this.xText, pixelsPerLabel: 70 },
        y: { axisLabelFormatter: number, valueFormatter: number, axisLabelWidth: 58 },
      },
      highlightCircleSize: 3.5,
      underlayCallback: (context, area, graph) => {
        context.fillStyle = colour("--line-strong");
        for (const mark of this.#marks) {
          const x = graph.toDomXCoord(mark);
          if (x >= area.x && x <= area.x + area.w) context.fillRect(Math.round(x), area.y, 1, area.h);
        }
      },
      highlightCallback: (_, x, __, row) => {
        this.#selected = -1;
        this.#showLegend(this.#rows[row]?.[0] ?? x);
      },
      unhighlightCallback: () => this.#showLegend(null),
      zoomCallback: () => {
        const isZoomed = this.#graph.isZoomed("x");
        this.reset.hidden = !this.#graph.isZoomed();
        this.onZoom(isZoomed ? this.#graph.xAxisRange() : null);
      },
    };
  }

  /** The legend with the values at a place, or with the last ones. */
  #showLegend(x) {
    const at = (points) => {
      if (x === null) return points.at(-1);
      let low = 0;
      let high = points.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][0] <= x) low = middle + 1;
        else high = middle;
      }
      return points[low - 1];
    };
    this.legend.replaceChildren(...this.#series.map((series) => {
      const swatch = h("span", { class: `swatch series-${series.colour}${series.dots ? " dashed" : ""}`, "aria-hidden": "true" });
      const isSmoothed = series.smooth && this.#smoothing > 0;
      const value = at(series.points);
      const smooth = isSmoothed ? at(smoothed(series.points, this.#smoothing)) : null;
      return h("li", {}, swatch, h("span", { class: "name" }, series.title), " ",
        h("b", {}, value ? measure(value[1]) : "–"),
        smooth ? h("span", { class: "small" }, ` smoothed ${measure(smooth[1])}`) : null);
    }));
    const last = this.#rows.at(-1)?.[0];
    this.place.textContent = last === undefined ? "" : `${this.xTitle} ${this.xText(x === null ? last : x)}`;
  }

  #resetZoom() {
    this.#graph?.resetZoom();
    this.plot.focus();
  }

  #key(event) {
    if (!this.#graph || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.#rows.length - 1;
    const stride = event.shiftKey ? 1 : Math.max(1, Math.round(last / 50));
    const [from, to] = this.#graph.xAxisRange();
    const zoom = (factor) => {
      const middle = this.#selected >= 0 ? this.#rows[this.#selected][0] : (from + to) / 2;
      const half = (to - from) * factor / 2;
      this.#graph.updateOptions({ dateWindow: [middle - half, middle + half] });
      this.reset.hidden = false;
      this.onZoom([middle - half, middle + half]);
    };
    const select = (row) => {
      this.#selected = Math.max(0, Math.min(last, row));
      this.#graph.setSelection(this.#selected);
      this.#showLegend(this.#rows[this.#selected][0]);
    };
    const known = {
      ArrowLeft: () => select((this.#selected < 0 ? last : this.#selected) - stride),
      ArrowRight: () => select((this.#selected < 0 ? -1 : this.#selected) + stride),
      Home: () => select(0), End: () => select(last),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => this.#graph.resetZoom(),
      Escape: () => {
        this.#selected = -1;
        this.#graph.clearSelection();
        this.#showLegend(null);
      },
    }[event.key];
    if (!known) return;
    event.preventDefault();
    known();
  }
}

/**
 * What a chart can be changed by: log scale and smoothing. `changed` gets both whenever one of them is touched.
 */
export function chartTools({ smoothing = 0.6, log = false, smooths = true, changed }) {
  const logBox = h("input", { type: "checkbox", checked: log });
  const slider = h("input", { type: "range", min: "0", max: "0.98", step: "0.02", value: smoothing });
  const shown = h("output", {}, String(smoothing));
  const values = () => ({ log: logBox.checked, smoothing: smooths ? Number(slider.value) : 0 });
  const tell = () => {
    shown.textContent = slider.value;
    changed(values());
  };
  logBox.addEventListener("change", tell);
  slider.addEventListener("input", tell);
  return {
    values,
    allowLog: (allowed) => {
      logBox.disabled = !allowed;
      logBox.parentElement.title = allowed ? "" : "There is no value above zero.";
      if (!allowed && logBox.checked) {
        logBox.checked = false;
        tell();
      }
    },
    element: h("div", { class: "tools" },
      h("label", { class: "switch" }, logBox, "Log scale"),
      smooths ? h("label", { class: "slider" }, "Smoothing", slider, shown) : null),
  };
}
