"use strict";
// Without this script the page lacks only the numbers of one moment.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [picture, cursor, readout, slide, moment] =
    ["timeline", "cursor", "readout", "slide", "moment"].map((id) => document.getElementById(id));
  const time = (ms) => {
    const s = ms / 1000, two = (n) => String(Math.floor(n)).padStart(2, "0");
    if (s < 60) return `${s.toFixed(1)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
    return `${Math.floor(s / 3600)} h ${two((s % 3600) / 60)} min ${two(s % 60)} s`;
  };
  const latency = (us) => us < 1000 ? `${us} µs` : us < 1e6 ? `${(us / 1e3).toPrecision(3)} ms` : `${(us / 1e6).toPrecision(3)} s`;
  const count = (n) => n.toLocaleString("en");
  const at = (spans, ms) => spans.map((s, i) => ({ ...s, number: i + 1 })).filter((s) => s.from <= ms && ms <= s.to);

  const show = (ms) => {
    const [rate, failed, unknown, p50, p99] = data.columns[Math.min(Math.floor(ms / data.column), data.columns.length - 1)];
    const parts = [`at ${time(ms)}`, `${count(rate)} ${data.acts} a second`];
    if (p50) parts.push(`p50 ${latency(p50)}`, `p99 ${latency(p99)}`);
    if (failed) parts.push(`${count(failed)} failed`);
    if (unknown) parts.push(`${count(unknown)} unknown`);
    for (const primary of at(data.primaries, ms)) parts.push(`primary ${primary.name}`);
    for (const fault of at(data.faults, ms)) parts.push(`fault ${fault.number} ${fault.name}`);
    readout.replaceChildren(...parts.flatMap((part, i) => {
      if (i) return [" · ", part];
      const strong = document.createElement("b");
      strong.textContent = part;
      return [strong];
    }));
    const x = `${100 * ms / data.span}%`;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    picture.classList.add("moving");
    moment.value = ms;
    moment.setAttribute("aria-valuetext", parts.join(", "));
  };

  const ground = picture.querySelector(".ground");
  picture.addEventListener("pointermove", (event) => {
    const { left, width } = ground.getBoundingClientRect();
    const part = (event.clientX - left) / width;
    if (part >= 0 && part <= 1) show(part * data.span);
  });
  moment.max = data.span;
  moment.step = Math.max(data.column / 2, data.span / 2000);
  moment.addEventListener("input", () => show(moment.valueAsNumber));
  readout.hidden = slide.hidden = false;
})();
