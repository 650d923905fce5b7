"use strict";
const templates = JSON.parse(document.getElementById("templates").textContent);
const periods = JSON.parse(document.getElementById("periods").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)").matches;
const overview = document.getElementById("overview");
const title = document.title;
const heights = new Map(); // Of the figures that are drawn, on the screen.
const template = () => (dark.matches ? templates.dark : templates.light);
const config = {
  responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};

// The page that the address leads to, or the overview. (CSS shows and hides them.)
const open = () => document.querySelector(".page:target") ?? overview;
const figures = () => [...open().querySelectorAll(".figure")];

function draw(place, changes) {
  if (heights.has(place)) {
    Plotly.relayout(place, changes);
    return;
  }
  const figure = JSON.parse(place.nextElementSibling.textContent);
  for (const trace of figure.data) trace.x ??= periods; // The charts of a page have numbers only.
  // A finger scrolls the page; dragging would catch it.
  const layout = {...figure.layout, dragmode: touch ? false : "zoom", ...changes, height: figure.layout.height};
  heights.set(place, layout.height);
  Plotly.newPlot(place, figure.data, layout, config);
}

// A table that is wider than its place says so, can be scrolled by keyboard, and has a shade where it goes on.
function hint() {
  for (const scroll of open().querySelectorAll(".scroll")) {
    const hidden = scroll.scrollWidth - scroll.clientWidth;
    const card = scroll.closest(".table");
    card.classList.toggle("wide", hidden > 1);
    card.classList.toggle("more", hidden - scroll.scrollLeft > 1);
    if (hidden > 1) scroll.tabIndex = 0;
    else scroll.removeAttribute("tabindex");
  }
}

// Figures are drawn when their page is opened for the first time; hidden ones know nothing of theme and width.
function show() {
  const heading = open().querySelector("h1").textContent;
  document.title = open() === overview ? title : `${heading} · ${title}`;
  for (const place of figures()) draw(place, {template: template(), width: null, height: heights.get(place), autosize: true});
  hint();
}

// On paper figures that stand beside each other stay together, and those of a sheet become lower or higher to fill it.
const sheetHeight = 955; // The text height of US Letter with the margins of @page, in CSS pixels; A4 has 1031.
const lowest = 0.72, highest = 1.25; // As parts of a figure's height on the screen.
const cards = () => [...open().querySelectorAll("figure")];

// The rows of figures: where they begin, with their heading, and end.
function rows() {
  const found = [];
  for (const card of cards()) {
    const {top, bottom, height} = card.getBoundingClientRect();
    const last = found.at(-1);
    if (last && top < last.bottom) {
      last.cards.push(card);
      continue;
    }
    const section = card.closest("section");
    const first = section.querySelector("figure") === card;
    const head = first ? section : card;
    found.push({cards: [card], head, begin: head.getBoundingClientRect().top, bottom, height});
  }
  // Tables under the last figures of a section stay with them.
  for (const row of found) {
    const section = row.head.closest("section");
    if ([...section.querySelectorAll("figure")].at(-1) === row.cards.at(-1)) {
      row.bottom = section.lastElementChild.getBoundingClientRect().bottom;
    }
  }
  return found;
}

// The sheets: rows that fit on one when they are at their lowest, with all that stands between them.
function sheets() {
  const made = [{rows: [], begin: open().getBoundingClientRect().top, height: 0}];
  for (const row of rows()) {
    const sheet = made.at(-1);
    const height = sheet.height + row.height;
    const fits = row.bottom - sheet.begin - (1 - lowest) * height <= sheetHeight;
    if (fits || row.begin <= sheet.begin) {
      sheet.rows.push(row);
      sheet.height = height;
      sheet.end = row.bottom;
    } else {
      made.push({rows: [row], begin: row.begin, height: row.height, end: row.bottom});
    }
  }
  return made.filter((sheet) => sheet.rows.length);
}

function layOut() {
  document.documentElement.classList.add("paper");
  const made = sheets();
  for (const sheet of made) {
    const between = sheet.end - sheet.begin - sheet.height;
    const most = sheet === made.at(-1) ? 1 : highest; // Tables follow the last.
    const scale = Math.min(most, Math.max(lowest, (sheetHeight - between) / sheet.height));
    if (sheet !== made[0]) sheet.rows[0].head.style.breakBefore = "page";
    for (const row of sheet.rows) {
      const places = row.cards.map((card) => card.firstElementChild);
      const tallest = Math.max(...places.map((place) => heights.get(place)));
      for (const place of places) {
        const own = heights.get(place); // Beside a taller one it need not become lower.
        const height = Math.floor(Math.min(Math.max(own, own * scale), tallest * scale));
        place.style.height = `${height}px`;
        draw(place, {template: templates.light, width: place.clientWidth, height});
      }
    }
  }
}

function takeBack() {
  document.documentElement.classList.remove("paper");
  for (const section of open().querySelectorAll("section, figure")) section.style.breakBefore = "";
  for (const place of figures()) place.style.height = `${heights.get(place)}px`;
  show();
}

show();
addEventListener("hashchange", show);
addEventListener("resize", hint);
document.addEventListener("scroll", hint, {capture: true, passive: true});
dark.addEventListener("change", show);
addEventListener("beforeprint", layOut);
addEventListener("afterprint", takeBack);
