// A chart of the last five minutes: stacked areas or one area against the left axis,
// a line against the right one. Its legend says the newest second in words and figures,
// or the one under the pointer; the arrow keys move there too.

import { clock, count, el } from "./format.js";

const svgNS = "http://www.w3.org/2000/svg";
const minute = 60_000; // ms
const most = 5; // minutes
const height = 190;
const room = { left: 46, top: 10, bottom: 20 };

function svg(name, attributes = {}, ...children) {
  const e = document.createElementNS(svgNS, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children);
  return e;
}

// nice is the least of 1, 2, 2.5 and 5 times a power of ten that is not below x.
function nice(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 2, 2.5, 5, 10].find((m) => m * power >= x * 0.9999) * power;
}

export class Chart {
  // series: {key, label, look, kind: "stack" | "line", format}; mark: {label, look, of(state)}
  // on the right axis.
  constructor(figure, { about, series, left = count, right = count, least = 10, leastRight = 10, mark }) {
    Object.assign(this, { figure, about, series, left, right, least, leastRight, mark });
    this.samples = [];
    this.cursor = null;
    this.room = series.some((s) => s.kind === "line") ? 50 : 8; // on the right
    this.shown = minute;
    this.svg = svg("svg", { role: "img", tabindex: "0", height });
    this.legend = el("ul", { class: "legend" });
    this.values = series.map((s) => {
      const value = el("b");
      this.legend.append(el("li", {}, this.swatch(s), `${s.label} `, value));
      return value;
    });
    if (mark) this.legend.append(el("li", {}, this.swatch(mark), (this.markText = document.createTextNode(mark.label))));
    this.when = el("li", { class: "when" });
    this.legend.append(this.when);
    figure.append(this.svg, this.legend);
    this.width = 600;
    new ResizeObserver(([entry]) => {
      this.width = Math.max(240, entry.contentRect.width);
      this.draw();
    }).observe(figure);
    this.listen();
  }

  swatch(s) {
    const shape = s.kind === "stack" || s.kind === "area"
      ? svg("rect", { width: 14, height: 10, class: `area f-${s.look}` })
      : svg("path", { d: "M0 5H14", class: `${s.kind === "line" ? "trace" : "mark-line"} s-${s.look}` });
    return svg("svg", { "aria-hidden": "true", viewBox: "0 0 14 10" }, shape);
  }

  listen() {
    const at = (event) => {
      if (!this.samples.length) return;
      const x = event.clientX - this.svg.getBoundingClientRect().left;
      const time = this.now - (this.shown * (this.width - this.room - x)) / this.plot();
      this.cursor = this.samples.reduce((a, b) => (Math.abs(b.at - time) < Math.abs(a.at - time) ? b : a)).at;
      this.draw();
    };
    this.svg.addEventListener("pointermove", at);
    this.svg.addEventListener("pointerdown", at);
    const away = () => {
      this.cursor = null;
      this.draw();
    };
    this.svg.addEventListener("pointerleave", away);
    this.svg.addEventListener("blur", away);
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 }[event.key];
      if (event.key === "Escape") return away();
      if (!step || !this.samples.length) return;
      event.preventDefault();
      const last = this.samples.length - 1;
      const from = this.cursor === null ? last : this.samples.findIndex((s) => s.at >= this.cursor);
      this.cursor = this.samples[Math.min(last, Math.max(0, (from < 0 ? last : from) + step))].at;
      this.draw();
    });
  }

  plot() {
    return this.width - room.left - this.room;
  }

  update(samples, now, state) {
    // A node that has just begun fills its chart sooner.
    this.shown = Math.min(most, Math.max(1, Math.ceil((now - (samples[0]?.at ?? now)) / minute))) * minute;
    this.samples = samples.filter((s) => s.at > now - this.shown);
    this.now = now;
    this.state = state;
    this.draw();
  }

  draw() {
    if (!this.now) return;
    const samples = this.samples;
    const bottom = height - room.bottom;
    const x = (s) => this.width - this.room - ((this.now - s.at) / this.shown) * this.plot();
    const areas = this.series.filter((s) => s.kind !== "line");
    const lines = this.series.filter((s) => s.kind === "line");
    const top = nice(Math.max(this.least, ...samples.map((s) => areas.reduce((sum, a) => sum + s[a.key], 0))));
    const topRight = nice(Math.max(this.leastRight, ...samples.flatMap((s) => lines.map((l) => s[l.key]))));
    const y = (value, full) => bottom - (value / full) * (bottom - room.top);

    const parts = [];
    for (const part of [0, 0.5, 1]) {
      const at = Math.round(y(part, 1)) + 0.5;
      parts.push(svg("path", { class: "axis", d: `M${room.left} ${at}H${this.width - this.room}` }));
      parts.push(svg("text", { x: room.left - 7, y: at + 4, "text-anchor": "end" }, this.left(part * top)));
      if (lines.length) parts.push(svg("text", { x: this.width - this.room + 7, y: at + 4 }, this.right(part * topRight)));
    }
    const minutes = this.shown / minute;
    const each = minutes > 1 ? (this.width < 420 ? 2 : 1) : 0.5;
    for (let ago = 0; ago <= minutes; ago += each) {
      const at = this.width - this.room - (ago / minutes) * this.plot();
      const anchor = ago === 0 ? "end" : ago === minutes ? "start" : "middle";
      parts.push(svg("text", { x: at, y: height - 4, "text-anchor": anchor }, ago ? `−${ago < 1 ? `${60 * ago} s` : `${ago} min`}` : "now"));
    }

    if (samples.length > 1) {
      let floor = samples.map(() => 0);
      for (const a of areas) {
        const ceiling = samples.map((s, i) => floor[i] + s[a.key]);
        const up = samples.map((s, i) => `${x(s).toFixed(1)} ${y(ceiling[i], top).toFixed(1)}`);
        const down = samples.map((s, i) => `${x(s).toFixed(1)} ${y(floor[i], top).toFixed(1)}`).reverse();
        parts.push(svg("path", { class: `area f-${a.look}`, d: `M${up.join("L")}L${down.join("L")}Z` }));
        floor = ceiling;
      }
      for (const l of lines) {
        const points = samples.map((s) => `${x(s).toFixed(1)} ${y(s[l.key], topRight).toFixed(1)}`);
        parts.push(svg("path", { class: `trace s-${l.look}`, d: `M${points.join("L")}` }));
      }
    }
    const mark = this.mark && this.state ? this.mark.of(this.state) : 0;
    if (mark && mark <= topRight) {
      const at = y(mark, topRight);
      parts.push(svg("path", { class: `mark-line s-${this.mark.look}`, d: `M${room.left} ${at}H${this.width - this.room}` }));
    }
    if (this.mark) this.markText.textContent = this.mark.say(mark);

    const picked = this.cursor === null ? null : samples.find((s) => s.at >= this.cursor);
    if (picked) parts.push(svg("path", { class: "cursor", d: `M${x(picked)} ${room.top}V${bottom}` }));
    this.say(picked ?? samples.at(-1), picked);

    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.svg.replaceChildren(...parts);
  }

  say(sample, picked) {
    if (!sample) return;
    this.series.forEach((s, i) => {
      this.values[i].textContent = (s.format ?? count)(sample[s.key]);
    });
    this.when.textContent = picked ? `at ${clock(sample.at)}` : "";
    const words = this.series.map((s) => `${s.label} ${(s.format ?? count)(sample[s.key])}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.about}; ${picked ? `at ${clock(sample.at)}` : "now"}: ${words}.`);
  }
}
