// Draws one figure into its place in the page of a notebook. `templates` are the light and the dark one of a figure that
// follows its page; a figure whose theme was chosen has none.
(id, figure, templates) => {
  "use strict";
  const touch = matchMedia("(pointer: coarse)").matches;
  const night = matchMedia("(prefers-color-scheme: dark)");
  const config = {displaylogo: false, displayModeBar: touch ? false : "hover"};
  const stop = new AbortController();
  // Who runs a cell again leaves its old figure to the garbage collector, so nothing here may hold on to it.
  const held = new WeakRef(document.getElementById(id));
  let drawn, width;

  // Pages that say what they are (JupyterLab, Notebook, nbconvert; VS Code), then what is seen, then what is preferred.
  const dark = (place) => {
    const body = document.body;
    if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
    if (body.matches(".vscode-light, .vscode-high-contrast-light")) return false;
    if (body.matches(".vscode-dark, .vscode-high-contrast")) return true;
    for (let around = place.parentElement; around; around = around.parentElement) {
      const [red, green, blue, opacity = 1] = getComputedStyle(around).backgroundColor.match(/[\d.]+/g).map(Number);
      if (opacity > 0.5) return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
    }
    return night.matches;
  };

  const show = () => {
    const place = held.deref(), plotly = window.mofaUsagePlotly;
    if (!place) {
      stop.abort();
      mutations.disconnect();
    } else if (plotly && place.clientWidth) { // What is out of sight is drawn when it comes into sight.
      const wanted = templates && (dark(place) ? templates.dark : templates.light);
      const template = wanted || figure.layout.template;
      if (!drawn) {
        place.replaceChildren();
        const layout = {...figure.layout, autosize: true, template, dragmode: touch ? false : figure.layout.dragmode};
        plotly.newPlot(place, figure.data, layout, config);
      } else if (drawn !== template) {
        plotly.relayout(place, {template});
      } else if (width !== place.clientWidth) {
        plotly.Plots.resize(place);
      }
      drawn = template;
      width = place.clientWidth;
    }
  };

  // JupyterLab hides the page while its theme changes, and shows it before the next frame.
  const mutations = new MutationObserver(() => requestAnimationFrame(show));
  mutations.observe(document.body, {attributes: true, attributeFilter: ["class", "data-jp-theme-light"]});
  night.addEventListener("change", show, {signal: stop.signal});
  addEventListener("mofa-usage-plotly", show, {signal: stop.signal});
  new ResizeObserver(show).observe(held.deref());
}
