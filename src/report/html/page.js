"use strict";
// The pointer over a chart reads the values that are nearest to it across.
function nearest(points, x) {
  return points.reduce((best, p) => Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best);
}
function leave(chart) {
  chart.querySelector("output").style.visibility = "hidden";
  chart.querySelector(".cursor").style.visibility = "hidden";
}
document.addEventListener("pointermove", event => {
  const chart = event.target.closest?.(".chart");
  document.querySelectorAll(".chart").forEach(other => other !== chart && leave(other));
  if (!chart) return;
  const svg = chart.querySelector("svg"), output = chart.querySelector("output"), cursor = chart.querySelector(".cursor");
  const box = svg.getBoundingClientRect(), [left, , right] = chart.dataset.box.split(",").map(Number);
  const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
  const lines = (chart.lines ??= JSON.parse(chart.dataset.lines)).filter(line => line.points.length);
  if (x < left - 8 || x > right + 8 || !lines.length) return leave(chart);
  const near = lines.map(line => [line, nearest(line.points, x)]);
  const [, at] = near.reduce((a, b) => Math.abs(a[1][0] - x) <= Math.abs(b[1][0] - x) ? a : b);
  cursor.setAttribute("x1", at[0]);
  cursor.setAttribute("x2", at[0]);
  output.replaceChildren(`${chart.dataset.axis} ${at[2]}`, ...near.map(([line, p]) => {
    const row = document.createElement("div"), mark = document.createElement("i");
    mark.style.background = line.colour;
    row.append(mark, `${line.name} ${p[3]}`);
    return row;
  }));
  const middle = box.left + at[0] / svg.viewBox.baseVal.width * box.width - chart.getBoundingClientRect().left;
  const after = at[0] < (left + right) / 2;
  output.style.left = `${after ? middle + 14 : middle - 14 - output.offsetWidth}px`;
  output.style.visibility = cursor.style.visibility = "visible";
});
// A click on an error shows it large, with what the net took it for.
document.addEventListener("click", event => {
  const dialog = document.querySelector("#detail");
  if (event.target === dialog) return dialog.close();
  const button = event.target.closest?.("[data-detail]");
  if (!button) return;
  const detail = JSON.parse(button.dataset.detail), percent = p => p > 0 && p < 0.0005 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`;
  dialog.querySelector("img").src = button.querySelector("img").src;
  dialog.querySelector("h3").textContent = `${detail.class}, taken for ${detail.top[0][0]}`;
  dialog.querySelector("p").textContent = `${detail.origin}; the net gave ${detail.class} ${percent(detail.of_class)}`;
  dialog.querySelector("table").replaceChildren(...detail.top.map(([name, p, right]) => {
    const row = document.createElement("tr"), bar = document.createElement("i");
    row.className = right ? "right" : "";
    bar.style.width = `${100 * p}%`;
    row.insertCell().append(name);
    row.insertCell().append(bar);
    row.insertCell().append(percent(p));
    return row;
  }));
  dialog.showModal();
});
