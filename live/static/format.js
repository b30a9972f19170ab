// Numbers and spans of time as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function count(n) {
  return Math.abs(n) < 10 ? tenth.format(n) : whole.format(n);
}

export function span(ms) {
  if (ms < 1000) return `${ms < 10 ? tenth.format(ms) : whole.format(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${tenth.format(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024) return `${unit === "B" ? whole.format(n) : tenth.format(n)} ${unit}`;
    n /= 1024;
  }
  return `${tenth.format(n)} GiB`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

// el makes an element. Texts among the children are text, whatever they hold.
export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children);
  return e;
}
