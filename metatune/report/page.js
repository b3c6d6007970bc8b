"use strict";
// Draws the plots, in the colours of the page, and sorts the table of trials.

// Those of plotly's that are of use here; none of them sends anything anywhere.
const BUTTONS = [["toImage", "zoom2d", "pan2d", "autoScale2d", "resetScale2d"]];

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(name).trim();
}

function template() {
  const colour = colours();
  const axis = {
    gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line"),
    automargin: true, title: { standoff: 8 },
  };
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--ink"), size: 12.5, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: {
        bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--ink") },
      },
      modebar: {
        bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink"),
      },
      xaxis: axis, yaxis: axis, hovermode: "closest",
    },
  };
}

function draw(plot) {
  const figure = JSON.parse(document.getElementById("data-" + plot.id).textContent);
  const layout = { ...figure.layout, template: template() };
  const config = { displaylogo: false, responsive: true, modeBarButtons: BUTTONS };
  return Plotly.react(plot, figure.data, layout, config).then(() => plot.setAttribute("data-drawn", ""));
}

async function drawAll() {
  for (const plot of document.querySelectorAll(".plot")) {
    await draw(plot);
  }
}

function key(row, column) {
  const text = row.cells[column].textContent;
  const number = Number(text);
  return { text, number, empty: text === "", numeric: text !== "" && !Number.isNaN(number) };
}

function compare(a, b, way) {
  if (a.empty || b.empty) return a.empty - b.empty;
  if (a.numeric !== b.numeric) return a.numeric ? -1 : 1;
  return way * (a.numeric ? a.number - b.number : a.text.localeCompare(b.text, "en"));
}

function sort(table, head) {
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: key(row, head.cellIndex) }));
  rows.sort((a, b) => compare(a.key, b.key, ascending ? 1 : -1));
  body.append(...rows.map((entry) => entry.row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
