"use strict";
// Draws what is written in the page. Every figure that is shown is text from the page's own data; numbers are made of it
// only to know where on a chart it belongs.
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const column = Object.fromEntries(report.columns.map((name, place) => [name, place]));
  const sections = [...document.querySelectorAll(".account")];
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isTouched = matchMedia("(pointer: coarse)").matches;
  const DAY = 86400000;
  const PAPER_WIDTH = 655; // of a chart, in CSS pixels, on A4 and on Letter
  const FEW_POINTS = 120;
  const FEW_PERIODS = 3;
  const PALETTE = ["#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#e69f00", "#999999"];
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  // By default plotly.js offers to send a chart to its maker's cloud: of these charts nothing leaves.
  const CONFIG = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    toImageButtonOptions: {filename: "equity"},
  };

  const color = name => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const number = text => text === null ? null : Number(text);
  // Plotly reads tags in its texts.
  const plain = text => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const signed = text => text.startsWith("-") || !Number(text) ? text : "+" + text;
  // Wall clocks as text: a number would be an instant, and shown by the reader's own clock.
  const time = seconds => seconds === null ? null : new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

  function layout(more, axes) {
    const line = {gridcolor: color("grid"), linecolor: color("line"), zerolinecolor: color("line")};
    const made = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: "kept", showlegend: false,
      font: {family: "system-ui, sans-serif", size: 12, color: color("soft")},
      margin: {l: 8, r: 12, t: 10, b: 28}, dragmode: isTouched ? false : "zoom", hovermode: "x",
      hoverlabel: {bgcolor: color("card"), bordercolor: color("line"), font: {color: color("ink"), size: 12}, align: "left"},
      modebar: {bgcolor: "rgba(0,0,0,0)", color: color("soft"), activecolor: color("ink")},
      ...more,
    };
    for (const [name, axis] of Object.entries(axes)) {
      made[name] = {...line, automargin: true, separatethousands: true, exponentformat: "none", ...axis};
    }
    return made;
  }

  const dates = (edges, chart, more) => ({
    type: "date", range: [time(edges[0]), time(edges[edges.length - 1])], nticks: chart.clientWidth < 600 ? 4 : 9, tickangle: 0,
    showgrid: false, hoverformat: "%Y-%m-%d %H:%M:%S", showspikes: true, spikemode: "across",
    spikethickness: 1, spikedash: "solid", spikecolor: color("line"), ...more,
  });

  // Steps from one edge to the next, between two heights; nothing where there is none.
  function blocks(edges, low, high) {
    const x = [], y = [];
    for (let begin = 0, end; begin < high.length; begin = end + 1) {
      for (end = begin; end < high.length && high[end] !== null; end++) {
        x.push(time(edges[end]), time(edges[end + 1]));
        y.push(high[end], high[end]);
      }
      if (end === begin) continue;
      for (let back = end - 1; back >= begin; back--) {
        x.push(time(edges[back + 1]), time(edges[back]));
        y.push(low[back], low[back]);
      }
      x.push(time(edges[begin]), null);
      y.push(high[begin], null);
    }
    return {type: "scatter", mode: "lines", x, y, fill: "toself", line: {width: 0}, hoverinfo: "skip"};
  }

  const unseen = more => ({
    type: "scatter", mode: "lines", line: {width: 0, color: "rgba(0,0,0,0)"}, showlegend: false,
    hovertemplate: "%{text}<extra></extra>", ...more,
  });

  const middles = edges => edges.slice(1).map((edge, place) => time((edge + edges[place]) / 2));

  function equity(account, chart) {
    const at = account.curve.at.map(time), text = account.curve.usdt;
    const y = text.map(number);
    const isLone = place => y[place] !== null && (y[place - 1] ?? null) === null && (y[place + 1] ?? null) === null;
    const few = y.filter(each => each !== null).length <= FEW_POINTS;
    const marked = y.map((value, place) => few || isLone(place) ? value : null);
    const edges = account.edges;
    const fallen = account.totals.map(row => number(row[column.drawdown_pct]));
    const said = account.totals.map(row => `${row[column.period]}<br><b>${row[column.drawdown_pct]} %</b>`);
    return [[
      {
        type: "scatter", mode: "lines", x: at, y, text, connectgaps: false, line: {color: color("curve"), width: 1.6},
        hovertemplate: "%{x|%Y-%m-%d %H:%M:%S}<br><b>%{text} USDT</b><extra></extra>",
      },
      {
        type: "scatter", mode: "markers", x: at, y: marked, marker: {color: color("curve"), size: few ? 5 : 3.5},
        hoverinfo: "skip",
      },
      {...blocks(edges, fallen.map(() => 0), fallen), yaxis: "y2", fillcolor: color("fall")},
      unseen({x: middles(edges), y: fallen, text: said, yaxis: "y2"}),
    ], layout({}, {
      xaxis: dates(edges.length > FEW_PERIODS ? edges : around(account.curve.at), chart, {anchor: "y2"}),
      yaxis: {domain: [0.3, 1]},
      yaxis2: {
        domain: [0, 0.22], ticksuffix: " %", nticks: 4, fixedrange: true,
        ...(fallen.some(each => each) ? {rangemode: "tozero"} : {range: [-1, 0]}),
      },
    })];
  }

  // A history of a few hours would be a stroke at the edge of its day.
  function around(at) {
    const first = at[0], last = at[at.length - 1], margin = Math.max(1, (last - first) * 0.04);
    return [first - margin, last + margin];
  }

  function wallets(account, chart) {
    const edges = account.edges, {types, usdt} = account.wallets;
    const up = usdt.map(each => each && 0), down = usdt.map(each => each && 0);
    const traces = [];
    types.forEach((type, place) => {
      const amounts = usdt.map(each => each && Number(each[place] ?? 0));
      if (!amounts.some(amount => amount)) return;
      const low = [], high = [];
      amounts.forEach((amount, period) => {
        const pile = amount < 0 ? down : up;
        const from = pile[period], to = amount === null ? null : from + amount;
        low.push(amount === null ? null : Math.min(from, to));
        high.push(amount === null ? null : Math.max(from, to));
        pile[period] = to;
      });
      const filled = blocks(edges, low, high);
      traces.push({...filled, name: plain(type), showlegend: true, fillcolor: PALETTE[traces.length % PALETTE.length]});
    });
    const said = usdt.map((each, period) => each && [
      account.totals[period][column.period],
      ...types.map((type, place) => each[place] === null ? null : `${plain(type)} <b>${each[place]}</b>`),
    ].filter(line => line !== null).join("<br>"));
    traces.push(unseen({x: middles(edges), y: up, text: said}));
    return [traces, layout({
      showlegend: true, legend: {orientation: "h", y: -0.2, yanchor: "top", itemclick: false, itemdoubleclick: false},
    }, {xaxis: dates(edges, chart), yaxis: {fixedrange: true, rangemode: "tozero"}})];
  }

  function changes(account, chart) {
    const edges = account.edges;
    const text = account.totals.map(row => row[column.change_usdt]);
    const y = text.map(number);
    const said = account.totals.map((row, period) => text[period] && `${row[column.period]}<br><b>${signed(text[period])} USDT</b>`
      + (row[column.change_pct] === null ? "" : `<br>${signed(row[column.change_pct])} %`));
    return [[{
      type: "bar", x: middles(edges), y, text: said, textposition: "none", hovertemplate: "%{text}<extra></extra>",
      width: edges.slice(1).map((edge, place) => (edge - edges[place]) * (edges.length > 400 ? 1000 : 800)),
      marker: {color: y.map(value => color(value < 0 ? "fall" : "rise")), line: {width: 0}},
    }], layout({}, {xaxis: dates(edges, chart), yaxis: {fixedrange: true}})];
  }

  function calendar(account, chart) {
    const first = Number(account.days[0][0].slice(0, 4));
    const years = Number(account.days[account.days.length - 1][0].slice(0, 4)) - first + 1;
    const blank = () => Array.from({length: years * 8 - 1}, () => Array(54).fill(null));
    const z = blank(), text = blank();
    for (const [day, coverage, said] of account.days) {
      if (coverage === null) continue;
      const year = Number(day.slice(0, 4)), begin = Date.UTC(year, 0, 1);
      const monday = (new Date(begin).getUTCDay() + 6) % 7;
      const place = Math.round((Date.parse(day) - begin) / DAY) + monday;
      const row = (year - first) * 8 + place % 7;
      z[row][Math.floor(place / 7)] = Math.min(1, coverage);
      text[row][Math.floor(place / 7)] = `${day}<br><b>${said}</b>`;
    }
    const isNarrow = chart.clientWidth < 500, gap = isNarrow ? 1 : 2;
    chart.style.height = `${44 + years * (isNarrow ? 72 : 112)}px`;
    const scale = [
      [0, color("none")], [0.0001, color("none")], [0.0001, color("some")], [0.9999, color("most")],
      [0.9999, color("all")], [1, color("all")],
    ];
    return [[{
      type: "heatmap", z, text, zmin: 0, zmax: 1, colorscale: scale, xgap: gap, ygap: gap, hoverongaps: false,
      hovertemplate: "%{text}<extra></extra>",
      showscale: false,
    }], layout({hovermode: "closest", dragmode: false}, {
      xaxis: {
        fixedrange: true, showgrid: false, zeroline: false, showline: false, range: [-0.7, 53.7],
        tickvals: MONTHS.map((_, month) => month * 4.348 + 2.2), tickangle: 0, ticks: "",
        ticktext: MONTHS.map((name, month) => isNarrow && month % 3 ? "" : name),
      },
      yaxis: {
        fixedrange: true, showgrid: false, zeroline: false, showline: false, ticks: "", range: [years * 8 - 1.3, -0.7],
        tickvals: Array.from({length: years}, (_, year) => year * 8 + 3),
        ticktext: Array.from({length: years}, (_, year) => String(first + year)),
      },
    })];
  }

  const DRAWN_BY = {equity, wallets, changes, calendar};
  const chartsOf = section => [...section.querySelectorAll(".chart")];
  let isLinking = false;

  function draw(section, isPrinted = false) {
    const account = report.accounts[sections.indexOf(section)];
    account.totals ??= account.rows.filter(row => row[column.account_type] === null);
    for (const chart of chartsOf(section)) {
      const [data, look] = DRAWN_BY[chart.dataset.chart](account, chart);
      if (isPrinted) Object.assign(look, {width: PAPER_WIDTH, height: chart.offsetHeight, autosize: false});
      const isNew = !chart.classList.contains("js-plotly-plot");
      Plotly.react(chart, data, look, {...CONFIG, displayModeBar: chart.dataset.chart === "calendar" ? false : "hover"});
      if (!isNew && !isPrinted) Plotly.Plots.resize(chart);
      if (isNew && chart.dataset.chart !== "calendar") chart.on("plotly_relayout", moved => link(section, chart, moved));
    }
  }

  // What is zoomed into in one chart is zoomed into in the others.
  function link(section, source, moved) {
    const found = Object.entries(moved).filter(([name]) => name.startsWith("xaxis.range") || name === "xaxis.autorange");
    if (isLinking || !found.length) return;
    isLinking = true;
    const others = chartsOf(section).filter(chart => chart !== source && chart.dataset.chart !== "calendar");
    Promise.all(others.map(chart => Plotly.relayout(chart, Object.fromEntries(found)))).finally(() => { isLinking = false; });
  }

  const shown = () => sections.find(section => !section.hidden);

  function show(place) {
    sections.forEach((section, each) => { section.hidden = each !== place; });
    draw(shown());
  }

  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const button = document.getElementById("theme");

  function paint(isPrinted = false) {
    button.textContent = isDark() ? "Light" : "Dark";
    if (shown()) draw(shown(), isPrinted);
  }

  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    paint();
  });
  dark.addEventListener("change", () => paint());

  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    root.classList.add("printed");
    paint(true);
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printed");
    if (before === undefined) delete root.dataset.theme; else root.dataset.theme = before;
    paint();
  });

  const choice = document.getElementById("account");
  choice?.addEventListener("change", () => show(Number(choice.value)));
  document.querySelector(".controls").hidden = false;
  document.body.classList.add("drawn");
  sections.forEach((section, place) => { section.hidden = place !== Number(choice?.value ?? 0); });
  // After the first paint: people read the figures while the charts are drawn.
  requestAnimationFrame(() => setTimeout(() => {
    show(Number(choice?.value ?? 0));
    performance.mark("drawn");
  }));
  button.textContent = isDark() ? "Light" : "Dark";
})();
