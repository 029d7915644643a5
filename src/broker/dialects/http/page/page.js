// The live page of a clacksd server. Each event is the whole status of the server, as /status.json shows it; rates are the
// differences between two events. All that comes from the server is put in as text, never as HTML.
"use strict";

const MINUTE_MS = 60 * 1000;
const MAX_MINUTES = 5;
// An event comes every second. Without one for so long, the stream is taken for broken, and the lines get a gap.
const SILENCE_MS = 5000;
const RECONNECT_MS = 5000;

const byId = (id) => document.getElementById(id);

// ---- Numbers with their units

const UNKNOWN = "–";
const formats = [0, 1, 2].map((digits) => new Intl.NumberFormat("en", { maximumFractionDigits: digits }));

/** Shows a number with about three digits. */
function short(number) {
  return formats[Math.abs(number) >= 100 ? 0 : Math.abs(number) >= 10 ? 1 : 2].format(number);
}

/** Shows a number by the largest of some units, [word, size], that is not larger than it. */
function scaled(number, units) {
  let [word, size] = units[0];
  for (const unit of units) {
    // What would be shown as 1,000 or 1,024 of one unit is shown as 1 of the next.
    if (Math.abs(number) >= unit[1] * 0.9995) [word, size] = unit;
  }
  return `${short(number / size)}${word}`;
}

const count = (number) => (number === undefined ? UNKNOWN : formats[0].format(number));
const bytes = (number) => scaled(number, [["\u00a0B", 1], ["\u00a0KiB", 2 ** 10], ["\u00a0MiB", 2 ** 20], ["\u00a0GiB", 2 ** 30], ["\u00a0TiB", 2 ** 40]]);
const rate = (number) => (Math.round(number) < 1e6 ? formats[number < 10 && number % 1 ? 1 : 0].format(number) : scaled(number, [["\u00a0M", 1e6]]));
const percent = (share) => `${formats[1].format(share)}\u00a0%`;
const perSecond = (format) => (number) => `${format(number)}/s`;

/** Shows a length of time in its largest unit, or in two from a minute on. */
function duration(seconds) {
  if (seconds === 0) return "0\u00a0s";
  if (seconds < 60) return scaled(seconds, [["\u00a0µs", 1e-6], ["\u00a0ms", 1e-3], ["\u00a0s", 1]]);
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  let rest = Math.floor(seconds);
  return units.slice(first, first + 2).map(([word, size]) => {
    const number = Math.floor(rest / size);
    rest -= number * size;
    return `${number}\u00a0${word}`;
  }).join(" ");
}

/** Shows a moment, in seconds since 1970, in the time zone of the reader. */
function moment(seconds) {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString("en-GB", isToday ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "medium" });
}

/** Makes characters visible that would break a line or turn the direction of writing. */
function visible(text) {
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const words = (word) => visible(word).replaceAll("_", " ");
const languageName = (word) => ({ clacks: "Clacks", memcached: "memcached", nats: "NATS", http: "HTTP" })[word] ?? words(word);

// ---- Changing the page

/** Sets a text if it differs, so that selections stay, and readers of screens speak only when something is new. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function create(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Lets `parent` have one child for each item: those there are stay, `make` makes others, and `update` fills each. */
function fill(parent, items, make, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, place) => update(parent.children[place] ?? parent.appendChild(make(item)), item));
}

/** Sets a number, with its unit in smaller letters. */
function setNumber(id, text) {
  const [number, unit = ""] = text.split(/\u00a0|(?=\/s)/, 2);
  const element = byId(id);
  if (element.dataset.shown === text) return;
  element.dataset.shown = text;
  element.replaceChildren(number, ...(unit ? [create("span", "unit", text.slice(number.length).trim())] : []));
}

function setBadge(element, kind, text) {
  element.className = `badge ${kind}`;
  setText(element, text);
}

// ---- Figures

/** Adds all numbers of a figure, whatever labels it has. */
function sum(figure) {
  if (typeof figure === "number") return figure;
  return Object.values(figure ?? {}).reduce((total, part) => total + sum(part), 0);
}

/** The length of time within which a share of the turns between two histograms was done; null if there were none. */
function quantile(after, before, share, longest) {
  const total = after.count - before.count;
  if (total <= 0) return null;
  const target = total * share;
  let [bound, reached] = [0, 0];
  for (const [place, bucket] of after.buckets.entries()) {
    const now = bucket.count - (before.buckets[place]?.count ?? 0);
    if (now >= target && now > reached) {
      return bound + (bucket.at_most_seconds - bound) * (target - reached) / (now - reached);
    }
    [bound, reached] = [bucket.at_most_seconds, now];
  }
  return Math.max(bound, longest);
}

/** A series of the rate at which a counter grows. */
const grows = (name, pick) => ({ name, of: (now, before, seconds) => (sum(pick(now)) - sum(pick(before))) / seconds });
/** A series of a present value. */
const present = (name, pick) => ({ name, of: (now) => pick(now) ?? null });
const turnsWithin = (name, share) => ({
  name,
  of: (now, before) => quantile(now.turn_seconds, before.turn_seconds, share, now.longest_turn_seconds),
});

const CHARTS = [
  {
    title: "Requests by language",
    format: perSecond(rate),
    series: ["clacks", "memcached", "nats", "http"].map((word) => grows(languageName(word), (figures) => figures.requests?.[word])),
  },
  {
    title: "Signals",
    format: perSecond(rate),
    series: [
      grows("sent by clients", (figures) => figures.signals),
      grows("from servers", (figures) => figures.link_signals),
      grows("delivered", (figures) => figures.deliveries),
    ],
  },
  {
    title: "Look-ups in the cache",
    format: perSecond(rate),
    series: [
      grows("hits", (figures) => figures.cache_hits),
      grows("misses", (figures) => figures.cache_misses),
      grows("changes", (figures) => figures.cache_writes),
    ],
  },
  {
    title: "Traffic",
    format: perSecond(bytes),
    base: 2,
    series: [grows("received", (figures) => figures.received_bytes), grows("sent", (figures) => figures.sent_bytes)],
  },
  {
    title: "Memory",
    format: bytes,
    base: 2,
    series: [
      present("process", (figures) => figures.resident_memory_bytes),
      present("cache", (figures) => figures.memory_bytes.cache),
      present("connections", (figures) => figures.memory_bytes.connections),
      present("journal", (figures) => figures.memory_bytes.journal),
    ],
  },
  {
    title: "Length of turns",
    format: duration,
    isLogarithmic: true,
    series: [turnsWithin("median", 0.5), turnsWithin("99 %", 0.99)],
  },
];

// Of the last minutes, each with the time of its arrival and the values of all series of all charts.
let samples = [];
let latest = null;
// The samples and the status that the page shows: those of the moment of a pause, if there is one.
let shown = [];
let displayed = null;
// The time that the reader points at; null: now.
let cursor = null;
let isPaused = false;

/** Takes a status in. */
function receive(status) {
  const [now, before] = [status.figures, latest?.figures];
  const at = performance.now();
  const seconds = before ? now.uptime_seconds - before.uptime_seconds : 0;
  // A shorter uptime is another process, whose counters have begun anew.
  const isNext = seconds > 0;
  const values = CHARTS.map((chart) => chart.series.map((series) => (isNext ? series.of(now, before, seconds) : null)));
  samples = [...samples.filter((sample) => at - sample.at <= MAX_MINUTES * MINUTE_MS), { at, values }];
  latest = status;
  if (!isPaused && !document.hidden) show();
}

// ---- Charts

const SVG = "http://www.w3.org/2000/svg";

function createPath(svg, className) {
  const path = svg.appendChild(document.createElementNS(SVG, "path"));
  path.setAttribute("class", className);
  return path;
}

/** Makes a chart. Its legend shows the values at the cursor, so that it needs no other reading. */
function createChart({ title, series }) {
  const figure = create("figure");
  const caption = figure.appendChild(create("figcaption"));
  caption.append(create("h3", "", title));
  const legend = caption.appendChild(create("ul", "legend"));
  const numbers = series.map(({ name }) => {
    const item = legend.appendChild(create("li"));
    item.append(create("span", "", name), " ");
    return item.appendChild(create("b", "", UNKNOWN));
  });
  const plot = figure.appendChild(create("div", "plot"));
  plot.tabIndex = 0;
  // For readers of screens it is a slider through the time.
  plot.setAttribute("role", "slider");
  plot.setAttribute("aria-label", `${title}, values at a time`);
  plot.setAttribute("aria-valuemin", -60 * MAX_MINUTES);
  plot.setAttribute("aria-valuemax", 0);
  const svg = plot.appendChild(document.createElementNS(SVG, "svg"));
  svg.setAttribute("viewBox", "0 0 300 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const grid = createPath(svg, "grid");
  const lines = series.map((_, place) => createPath(svg, `line-${place + 1}`));
  const pointer = createPath(svg, "cursor");
  const marks = plot.appendChild(create("div", "marks"));
  marks.setAttribute("aria-hidden", "true");
  const times = figure.appendChild(create("div", "times"));
  const start = times.appendChild(create("span"));
  times.append(create("span", "", "now"));
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    if (shown.length > 0) pointAt(shown.at(-1).at - minutes() * MINUTE_MS * (1 - (event.clientX - box.left) / box.width));
  });
  plot.addEventListener("pointerleave", () => pointAt(null));
  plot.addEventListener("blur", () => pointAt(null));
  plot.addEventListener("keydown", movePointer);
  byId("charts").append(figure);
  return { plot, legend, marks, start, grid, lines, pointer, numbers };
}

/** The minutes that charts show: as many as there is something of. */
function minutes() {
  const age = (shown.at(-1).at - shown[0].at) / MINUTE_MS;
  return Math.min(MAX_MINUTES, Math.floor(age) + 1);
}

function pointAt(time) {
  cursor = time;
  if (shown.length > 0) showCharts();
}

function movePointer(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity }[event.key];
  if (!steps || shown.length === 0) return;
  event.preventDefault();
  const place = Math.max(0, shown.indexOf(sampleAt(cursor)) + steps);
  pointAt(place >= shown.length - 1 ? null : shown[place].at);
}

/** The sample that is nearest to a time; the latest one for null. */
function sampleAt(time) {
  if (time === null) return shown.at(-1);
  const distance = (sample) => Math.abs(sample.at - time);
  return shown.reduce((nearest, sample) => (distance(sample) < distance(nearest) ? sample : nearest));
}

/** The scale of a chart: the place of a value from 0 to 1, and the values that get a line. */
function scaleFor({ isLogarithmic, base = 10 }, largest) {
  if (isLogarithmic) {
    const [low, high] = [-5, Math.max(-2, Math.ceil(Math.log10(largest || 1e-9)))];
    const marks = Array.from({ length: high - low + 1 }, (_, place) => 10 ** (low + place));
    return { marks, place: (value) => Math.max(0, (Math.log10(value) - low) / (high - low)) };
  }
  // A few of something are no flood: a scale ends at 10, or 1 KiB, at the least.
  const least = base === 2 ? 2 ** 10 : 10;
  let top = least;
  while (top < largest) top *= 2;
  if (base === 10) {
    const power = 10 ** Math.floor(Math.log10(Math.max(largest, least)));
    top = [1, 2, 4, 6, 8, 10].map((factor) => factor * power).find((value) => value >= largest) ?? least;
  }
  return { marks: [0, top / 2, top], place: (value) => value / top };
}

/** The path of a line, which ends where a value is missing or came late. */
function lineOf(values, x, y) {
  let path = "";
  let previous = null;
  values.forEach((value, place) => {
    const at = value === null ? null : shown[place].at;
    if (at !== null) {
      const isJoined = previous !== null && at - previous < SILENCE_MS;
      // A value without neighbours is a dot.
      path += `${isJoined ? "L" : "M"}${x(at).toFixed(2)} ${y(value).toFixed(2)}${isJoined ? "" : "h0"}`;
    }
    previous = at;
  });
  return path;
}

function showCharts() {
  const now = shown.at(-1).at;
  const sample = sampleAt(cursor);
  const span = minutes();
  const x = (at) => 300 * (1 - (now - at) / (span * MINUTE_MS));
  CHARTS.forEach((chart, number) => {
    const view = (chart.view ??= createChart(chart));
    const values = shown.map((one) => one.values[number]);
    const scale = scaleFor(chart, Math.max(0, ...values.flat()));
    const y = (value) => 100 * (1 - scale.place(value));
    setText(view.start, `${span} min ago`);
    view.grid.setAttribute("d", scale.marks.map((mark) => `M0 ${y(mark)}H300`).join(""));
    view.pointer.setAttribute("d", cursor === null ? "" : `M${x(sample.at)} 0V100`);
    view.lines.forEach((line, place) => line.setAttribute("d", lineOf(values.map((one) => one[place]), x, y)));
    view.numbers.forEach((element, place) => {
      const value = sample.values[number][place];
      setText(element, value === null ? UNKNOWN : chart.format(value));
    });
    fill(view.marks, scale.marks, () => create("span"), (label, mark) => {
      label.style.bottom = `${100 * scale.place(mark)}%`;
      setText(label, mark === 0 ? "0" : chart.format(mark));
    });
  });
  const ago = Math.round((now - sample.at) / 1000);
  for (const { view } of CHARTS) {
    view.plot.setAttribute("aria-valuenow", -ago);
    // Without the cursor it would be read aloud every second.
    if (cursor !== null) view.plot.setAttribute("aria-valuetext", `${duration(ago)} ago: ${view.legend.innerText}`);
  }
  setText(byId("moment"), cursor === null ? "" : `The legends show the values ${duration(ago)} before the latest`);
}

// ---- Head and tiles

function showHead({ software, healthy, faults, figures }) {
  setText(byId("software"), visible(software));
  setText(byId("origin"), `${location.host} · up for ${duration(Math.floor(figures.uptime_seconds))}`);
  setBadge(byId("health"), healthy ? "good" : "bad", healthy ? "Healthy" : "Not healthy");
  document.title = `${healthy ? "" : "⚠ "}${location.host} – ${visible(software)}`;
  byId("alert").hidden = healthy;
  fill(byId("faults"), faults, () => create("li"), (item, fault) => setText(item, visible(fault)));
}

function showTiles({ figures }) {
  const [requests, signals, lookUps] = shown.at(-1).values;
  const rateOf = (...values) => (values.includes(null) ? UNKNOWN : perSecond(rate)(values.reduce((one, other) => one + other)));
  const shareOf = (hits, misses) => (hits + misses > 0 ? percent(100 * hits / (hits + misses)) : UNKNOWN);
  const memory = figures.memory_bytes;
  const limit = figures.cache_limit_bytes;
  const tiles = {
    clients: [count(sum(figures.clients)), `of at most ${count(figures.clients_limit)}`],
    entries: [count(figures.entries), `${count(figures.tombstones)} tombstone${figures.tombstones === 1 ? "" : "s"}`],
    requests: [rateOf(...requests), `${count(sum(figures.requests))} since the start`],
    hits: [shareOf(lookUps[0], lookUps[1]), `${shareOf(figures.cache_hits, figures.cache_misses)} since the start`],
    signals: [rateOf(signals[0], signals[1]), `${rateOf(signals[2])} delivered`],
    memory: [bytes(figures.resident_memory_bytes), `cache ${bytes(memory.cache)}${limit ? ` of ${bytes(limit)}` : ""}`],
  };
  for (const [id, [number, more]] of Object.entries(tiles)) {
    setNumber(`${id}-now`, number);
    setText(byId(`${id}-more`), more);
  }
}

// ---- Links and the journal

const LINK_STATES = {
  up_to_date: "good", behind: "warn", receiving: "warn", synchronising: "warn", logging_in: "bad", not_connected: "bad",
};

function createLink() {
  const item = create("li");
  const line = item.appendChild(create("p"));
  line.append(create("strong"), create("span", "badge"), create("span", "more"));
  return item;
}

function showLink(item, { name, state, more }) {
  const [title, badge, rest] = item.firstElementChild.children;
  setText(title, name);
  badge.hidden = !state;
  if (state) setBadge(badge, LINK_STATES[state] ?? "", words(state));
  setText(rest, more);
}

function describeLink(link) {
  const synced = link.synced === "no" ? "" : `synchronised ${moment(link.synced)}`;
  const facts = [
    `up for ${duration(Math.floor(link.age))}`,
    `round trip ${duration(link.round_trip)}`,
    `${bytes(link.queued)} queued`,
    synced,
    link.node && `node ${visible(link.node)}`,
    visible(link.version),
  ];
  return { name: `${words(link.role)} ${visible(link.link)}`, state: link.state, more: facts.filter(Boolean).join(" · ") };
}

/** Shows the masters, below them this server, and below it the slaves. */
function showLinks({ links, figures, software }) {
  const [masters, slaves] = [[], []];
  for (const link of links) (link.role === "master" ? masters : slaves).push(describeLink(link));
  if (figures.uplink_up !== undefined && masters.length === 0) {
    masters.push({ name: "master", state: "not_connected", more: "this server tries again" });
  }
  const own = { name: "this server", more: `${visible(software)}${slaves.length ? "" : " · no slaves"}${masters.length ? "" : " · no master"}` };
  const levels = masters.length ? [masters, [own], slaves] : [[own], slaves];
  let list = byId("links");
  for (const level of levels) {
    const parent = list;
    fill(parent, level, createLink, showLink);
    // The level below hangs at the last item of this one.
    for (const item of parent.children) {
      const below = item.querySelector(":scope > ul");
      if (item !== parent.lastElementChild) below?.remove();
      else list = below ?? item.appendChild(create("ul"));
    }
  }
  list.remove();
}

function showJournal({ figures }) {
  const isKept = figures.journal_saving !== undefined;
  const isSaving = figures.journal_saving === 1;
  const state = !isKept ? ["", "Not kept"] : isSaving ? ["good", "Saving"] : ["bad", "Not saving"];
  setBadge(byId("journal-state"), ...state);
  const error = Object.keys(figures.journal_error ?? {})[0];
  setText(byId("journal-error"), error === undefined ? "" : `Last failure: ${visible(error)}`);
  const facts = !isKept ? [] : [
    ["Records", count(figures.journal_records)],
    ["Not safe yet", count(figures.journal_lag_records)],
    ["Waiting", bytes(figures.memory_bytes.journal)],
    ["Length", bytes(figures.journal_length_bytes)],
    ["Rewrites", count(figures.journal_rewrites)],
    ["Last rewritten", figures.journal_rewritten_timestamp_seconds ? moment(figures.journal_rewritten_timestamp_seconds) : "not yet"],
    ["Failures", count(figures.journal_failures)],
  ];
  const make = () => {
    const group = create("div");
    group.append(create("dt"), create("dd"));
    return group;
  };
  fill(byId("journal"), facts, make, (group, [name, value]) => {
    setText(group.firstElementChild, name);
    setText(group.lastElementChild, value);
  });
}

// ---- Tables

/** Names have one line, and show the rest when pointed at. */
const NAME = "name";
const NUMBER = "number";
/** The columns of each table: the class of a cell and its text. */
const COLUMNS = {
  clients: [
    [NAME, (row) => visible(row.cid) + (row.interclacks ? " (link)" : "") + (row.monitor ? " (monitor)" : "")],
    [NAME, (row) => visible(row.user) || UNKNOWN],
    ["", (row) => languageName(row.language)],
    [NUMBER, (row) => duration(Math.floor(row.age))],
    [NUMBER, (row) => duration(Math.floor(row.idle))],
    [NUMBER, (row) => count(row.subscriptions)],
    [NUMBER, (row) => bytes(row.outbuffer_length)],
    [NUMBER, (row) => bytes(row.inbuffer_length)],
    [NAME, (row) => visible(row.clientinfo)],
  ],
  slow: [
    ["", (row) => moment(row.time)],
    ["", (row) => visible(row.verb)],
    ["", (row) => languageName(row.language)],
    [NUMBER, (row) => duration(row.turn)],
    [NUMBER, (row) => bytes(row.size)],
    [NUMBER, (row) => bytes(row.work)],
    [NAME, (row) => visible(row.name)],
  ],
  busy: [
    [NAME, (row) => visible(row.name)],
    ["number share", (row) => percent(row.share)],
  ],
  large: [
    [NAME, (row) => visible(row.name)],
    [NUMBER, (row) => bytes(row.size)],
  ],
};

function showTable(id, rows, none) {
  const [body] = byId(id).tBodies;
  const columns = COLUMNS[id];
  if (rows.length === 0) {
    const cell = create("td", "empty", none);
    cell.colSpan = columns.length;
    const row = create("tr");
    row.append(cell);
    body.replaceChildren(row);
    return;
  }
  if (body.querySelector(".empty")) body.replaceChildren();
  const make = () => {
    const line = create("tr");
    line.append(...columns.map(([className]) => create("td", className)));
    return line;
  };
  fill(body, rows, make, (line, row) => columns.forEach(([className, textOf], place) => {
    const cell = line.children[place];
    const text = textOf(row);
    setText(cell, text);
    if (className === NAME && cell.title !== text) cell.title = text;
    if (row.share !== undefined && className !== NAME) cell.style.setProperty("--share", `${row.share}%`);
  }));
}

let sorting = { key: "cid", isDescending: false };

/** The order of texts is the one of people, in which client 9 comes before client 10. */
const collator = new Intl.Collator("en", { numeric: true });

function compare(one, other) {
  const [a, b] = [one[sorting.key], other[sorting.key]];
  const order = typeof a === "number" ? a - b : collator.compare(a, b);
  return (sorting.isDescending ? -order : order) || collator.compare(one.cid, other.cid);
}

function showClients({ clients, figures }) {
  const total = sum(figures.clients);
  setText(byId("clients-shown"), clients.length < total ? `${count(clients.length)} of ${count(total)} are shown` : count(total));
  showTable("clients", [...clients].sort(compare), "Nobody is connected.");
}

function sortBy(key) {
  // Numbers begin with the largest: those are looked for.
  const isNumber = typeof displayed?.clients[0]?.[key] === "number";
  sorting = { key, isDescending: sorting.key === key ? !sorting.isDescending : isNumber };
  showSorting();
  if (displayed) showClients(displayed);
}

function showSorting() {
  for (const button of document.querySelectorAll("[data-sort]")) {
    const head = button.parentElement;
    if (button.dataset.sort !== sorting.key) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", sorting.isDescending ? "descending" : "ascending");
  }
}

function showTables(status) {
  showClients(status);
  showTable("slow", status.slow.filter((request) => request.kind === "latest"), "There were none.");
  const longest = status.slow.find((row) => row.kind === "longest");
  const deed = longest ? `, ${longest.language} ${longest.verb}` : "";
  setText(byId("slow-shown"), `${count(status.figures.slow_requests)} since the start · longest turn ${duration(status.figures.longest_turn_seconds)}${deed}`);
  showTable("busy", status.names.filter((row) => row.kind === "busy"), "No name stands out.");
  showTable("large", status.names.filter((row) => row.kind === "large"), "The cache is empty.");
}

/** Shows the latest status. */
function show() {
  shown = samples;
  displayed = latest;
  for (const part of [showHead, showTiles, showCharts, showLinks, showJournal, showTables]) part(latest);
}

// ---- The stream of events

let source = null;
let silence = null;

function setStream(className, text) {
  byId("stream").className = className;
  setText(byId("stream"), text);
}

function showBreak() {
  setStream("broken", latest ? "The stream broke; these are the last figures. Reconnecting" : "No connection. Reconnecting");
}

function connect() {
  source?.close();
  source = new EventSource("/events");
  source.onmessage = (event) => {
    clearTimeout(silence);
    silence = setTimeout(showBreak, SILENCE_MS);
    setStream("live", "Live");
    receive(JSON.parse(event.data));
  };
  source.onerror = () => {
    clearTimeout(silence);
    showBreak();
    // After an answer that is no stream, such as that there are too many readers, the browser does not try again itself.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RECONNECT_MS);
  };
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", isPaused);
  if (!isPaused && latest) show();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !isPaused && latest) show();
});
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => sortBy(button.dataset.sort));
}
showSorting();
connect();
