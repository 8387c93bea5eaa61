'use strict';

// Everything that is shown is set as text: names come from topics, and may be anything.

const remembered = 120; // points of the small charts, one a second
const tableRows = 200; // of partitions and accounts; what is more is counted
const by = (id) => document.getElementById(id);
let points = [];
let source = null;
let paused = false;

// visible shows what would act on the text around it instead of being seen.
const visible = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => '\\u{' + c.codePointAt(0).toString(16) + '}');

function element(name, text, attributes) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = visible(text);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  return e;
}

// foreign is a name that is not ours. It may run in either direction, so it is kept apart.
const foreign = (text) => element('bdi', text);

const count = (n) => Number(n || 0).toLocaleString('en');
const many = (n, what) => count(n) + ' ' + what + (n === 1 ? '' : 's');
const sum = (o) => Object.values(o || {}).reduce((a, b) => a + b, 0);

function bytes(n) {
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (n < 1024 || unit === 'GiB') return (n < 10 && unit !== 'B' ? n.toFixed(1) : Math.round(n)) + ' ' + unit;
    n /= 1024;
  }
}

function span(seconds) {
  if (!(seconds > 0)) return '0 s';
  if (seconds < 10) return seconds.toFixed(1) + ' s';
  if (seconds < 120) return Math.round(seconds) + ' s';
  if (seconds < 7200) return Math.round(seconds / 60) + ' min';
  if (seconds < 172800) return Math.round(seconds / 3600) + ' h';
  return Math.round(seconds / 86400) + ' d';
}

const since = (s, at) => (at ? span((Date.parse(s.time) - Date.parse(at)) / 1000) : '–');
const until = (s, at) => (at ? span((Date.parse(at) - Date.parse(s.time)) / 1000) : '–');

const stateWords = {
  catching_up: ['catching up', 'warn'], reading: ['reading', 'good'], waiting: ['window full', 'warn'], unavailable: ['unavailable', 'bad'],
  forbidden: ['forbidden', 'bad'], missing: ['missing', 'bad'], halted: ['halted', 'bad'], feed_halted: ['feed halted', 'bad'], feed_skipped: ['feed skipped', 'bad'],
};
const gateWords = {
  ready: ['ready', 'good'], budget_exhausted: ['budget is used up', 'warn'], throttled: ['throttled by the API', 'warn'],
  breaker_half_open: ['breaker half-open', 'warn'], breaker_open: ['breaker open', 'bad'],
};

function word(table, name) {
  const [text, kind] = table[name] || [name, 'quiet'];
  return element('span', text, { class: kind });
}

// table replaces the content of a region. A column is [title, cell, 'number'?].
function table(id, columns, rows, empty, left) {
  const region = by(id);
  if (!rows.length) {
    region.replaceChildren(element('p', empty, { class: 'quiet' }));
    return;
  }
  const head = element('tr');
  for (const [title, , kind] of columns) head.append(element('th', title, { scope: 'col', class: kind || '' }));
  const body = element('tbody');
  for (const row of rows) {
    const tr = element('tr');
    for (const [title, cell, kind] of columns) {
      const td = element('td', undefined, { 'data-label': title, class: kind || '' });
      const value = cell(row);
      td.append(value instanceof Node ? value : visible(value));
      tr.append(td);
    }
    body.append(tr);
  }
  const t = element('table');
  const thead = element('thead');
  thead.append(head);
  t.append(thead, body);
  region.replaceChildren(t);
  if (left > 0) region.append(element('p', count(left) + ' more are not shown.', { class: 'quiet' }));
}

function chart(values) {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('viewBox', '0 0 ' + (remembered - 1) + ' 20');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const most = Math.max(...values, 1e-9);
  const line = document.createElementNS(ns, 'polyline');
  const first = remembered - values.length;
  line.setAttribute('points', values.map((v, i) => first + i + ',' + (19 - (18 * v) / most).toFixed(1)).join(' '));
  svg.append(line);
  return svg;
}

// figures are the sums of one status, and its rates against the one before.
function figures(s) {
  const p = { at: Date.parse(s.time), started: s.started, read: sum(s.flow.records), done: sum(s.flow.events), calls: 0, purposes: {}, failed: {} };
  for (const r of s.flow.requests) {
    p.calls += r.count;
    const a = (p.purposes[r.account] ||= {});
    a[r.purpose] = (a[r.purpose] || 0) + r.count;
    if (r.kind !== 'answered') p.failed[r.account] = (p.failed[r.account] || 0) + r.count;
  }
  p.age = s.window.oldest ? (p.at - Date.parse(s.window.oldest)) / 1000 : 0;
  return p;
}

function remember(s) {
  const p = figures(s);
  const before = points.at(-1);
  if (before && before.started !== p.started) points = [];
  if (!before || p.at > before.at) points.push(p);
  if (points.length > remembered) points.shift();
  return p;
}

// rates of one figure, between each two statuses.
function rates(of) {
  const list = [];
  for (let i = 1; i < points.length; i++) list.push(Math.max(0, (of(points[i]) - of(points[i - 1])) / ((points[i].at - points[i - 1].at) / 1000)));
  return list;
}

// lately is the mean of the last five rates; one status has none.
function lately(list) {
  const last = list.slice(-5);
  if (!last.length) return '–';
  const n = last.reduce((a, b) => a + b, 0) / last.length;
  return (n >= 10 ? count(Math.round(n)) : n.toFixed(1)) + '/s';
}

function tiles(s, p) {
  const of = { read: rates((x) => x.read), done: rates((x) => x.done), calls: rates((x) => x.calls) };
  const list = [
    ['Events read', lately(of.read), of.read],
    ['Events completed', lately(of.done), of.done],
    ['Calls', lately(of.calls), of.calls],
    ['Oldest event', span(p.age), points.map((x) => x.age)],
    ['Contacts waiting', count(s.window.pending_contacts)],
    ['Requests in flight', count(s.window.in_flight_requests)],
    ['Window', s.window.bytes_limit ? Math.floor((100 * s.window.bytes) / s.window.bytes_limit) + ' % of ' + bytes(s.window.bytes_limit) : '–'],
    ['Completed since the start', count(p.done)],
    ['Dead letters since the start', count(s.flow.events.dead_letter)],
  ];
  by('flow').replaceChildren(...list.map(([title, value, values]) => {
    const tile = element('div');
    tile.append(element('dt', title), element('dd', value));
    if (values && values.length > 1) tile.append(chart(values));
    return tile;
  }));
}

function accounts(s, p) {
  const oldest = points[0];
  const seconds = (p.at - oldest.at) / 1000;
  const minutes = Math.max(seconds, 1) / 60;
  const used = (account, purpose) => {
    const n = ((p.purposes[account] || {})[purpose] || 0) - ((oldest.purposes[account] || {})[purpose] || 0);
    return (n / minutes).toFixed(n / minutes < 10 ? 1 : 0);
  };
  const known = new Map(s.window.accounts.map((a) => [a.account, a]));
  const rows = Object.keys(s.gates).sort().map((id) => ({ id, gate: s.gates[id], a: known.get(id) || {} }));
  const columns = [
    ['Account', (r) => foreign(r.id)],
    ['State', (r) => {
      const box = element('span');
      box.append(word(gateWords, r.gate.state), r.gate.until ? ' for ' + until(s, r.gate.until) : '', r.a.held_since ? ', on hold for ' + since(s, r.a.held_since) : '');
      return box;
    }],
    ['Share of the budget', (r) => (r.gate.window ? many(Math.round(r.gate.share * 10) / 10, 'call') + ' in ' + span(r.gate.window) : 'no limit'), 'number'],
  ];
  const purposes = ['delivery', 'retry', 'isolation', 'probe'];
  columns.push(['Calls a minute' + (points.length > 1 ? ', of the last ' + span(seconds).replace(' ', '\u00a0') : ''), (r) => (points.length > 1 ? purposes.map((p) => p + ' ' + used(r.id, p)).join(', ') : '–')]);
  columns.push(
    ['Rows a request', (r) => (r.a.request_max_rows ? 'up to ' + count(r.a.request_max_rows) : '–'), 'number'],
    ['Rows accepted in a minute', (r) => count(r.a.rows_accepted_last_minute), 'number'],
    ['Rows refused in a minute', (r) => count(r.a.rows_rejected_last_minute), 'number'],
    ['On hold', (r) => (r.a.streams_on_hold || r.a.events_on_hold ? many(r.a.streams_on_hold, 'stream') + ', ' + many(r.a.contacts_on_hold, 'contact') : '–')],
  );
  table('accounts', columns, rows.slice(0, tableRows), 'No account is configured.', rows.length - tableRows);
}

function partitions(s) {
  const bad = (x) => (stateWords[x.state] && stateWords[x.state][1] === 'bad' ? 0 : 1);
  const rows = [...s.partitions].sort((a, b) => bad(a) - bad(b));
  table('partitions', [
    ['Partition', (r) => foreign(r.topic + '/' + r.partition)],
    ['State', (r) => word(stateWords, r.state)],
    ['For', (r) => since(s, r.since), 'number'],
    ['Lag', (r) => (r.lag < 0 ? 'unknown' : count(r.lag)), 'number'],
    ['Oldest event', (r) => since(s, r.oldest), 'number'],
    ['Committed', (r) => (r.committed < 0 ? '–' : r.committed), 'number'],
    ['Next', (r) => r.next, 'number'],
    ['Why', (r) => (r.reason ? foreign(r.reason) : '–')],
  ], rows.slice(0, tableRows), s.not_ready ? 'This replica owns no partition.' : 'None: other replicas own them.', rows.length - tableRows);
}

function waiting(s) {
  table('holds', [
    ['Stream', (r) => foreign(r.stream)],
    ['Account', (r) => foreign(r.account)],
    ['Kind', (r) => r.kind],
    ['For', (r) => since(s, r.since), 'number'],
    ['Contacts', (r) => count(r.contacts), 'number'],
    ['Parked events', (r) => count(r.parked || 0), 'number'],
    ['Next probe in', (r) => until(s, r.next_probe), 'number'],
    ['Status', (r) => r.status || '–', 'number'],
    ['The API said', (r) => (r.detail ? foreign(r.detail) : '–')],
  ], s.window.holds, 'None.', s.window.holds_left);
  table('streams', [
    ['Stream', (r) => foreign(r.stream)],
    ['Account', (r) => foreign(r.account)],
    ['Contacts', (r) => count(r.contacts), 'number'],
    ['Oldest event', (r) => since(s, r.oldest), 'number'],
    ['In flight', (r) => count(r.in_flight_requests), 'number'],
    ['Waits for', (r) => ({
      hold: 'its hold', account_hold: "its account's hold", backoff: 'its back-off', alone: 'contacts refused alone', turn: 'its turn', gate: 'its account', slots: 'a free request',
      rows: 'more rows', request: 'its request', retry: 'another try', isolation: 'rows tried apart', ambiguous: 'a lost answer', catch_up: 'catch-up', release: 'another replica',
    })[r.waits_for] || r.waits_for],
    ['Ends in', (r) => until(s, r.until), 'number'],
  ], s.window.busiest || [], 'Nothing waits.');
  table('letters', [
    ['When', (r) => since(s, r.at) + ' ago'],
    ['Reason', (r) => r.reason],
    ['Event', (r) => foreign(r.position)],
    ['Events', (r) => count(r.events), 'number'],
    ['Status', (r) => r.status || '–', 'number'],
    ['Command that shows it', (r) => element('code', r.command)],
  ], s.dead_letters || [], 'None since the start.');
  if (s.settings) {
    table('settings', [
      ['Setting', (r) => element('code', r.key)],
      ['Value', (r) => foreign(r.value)],
      ['From', (r) => foreign(r.source)],
    ], s.settings, 'None.');
  }
}

// say changes a live region only where its text changes, or a screen reader would repeat it.
function say(id, text, kind) {
  const e = by(id);
  text = visible(text);
  if (e.textContent !== text) e.textContent = text;
  e.className = e.className.split(' ')[0] + ' ' + kind;
}

function show(s) {
  const p = remember(s);
  by('version').textContent = s.version;
  say('state', s.stuck ? 'stuck' : s.not_ready ? 'not ready: ' + s.not_ready : 'ready', s.stuck || s.not_ready ? 'bad' : 'good');
  say('headline', s.headline.text[0].toUpperCase() + s.headline.text.slice(1) + '.', s.headline.level);
  by('updated').textContent = new Date(s.time).toLocaleTimeString('en', { hour12: false }) + ', up for ' + span((p.at - Date.parse(s.started)) / 1000);
  tiles(s, p);
  accounts(s, p);
  partitions(s);
  waiting(s);
}

function connect() {
  if (source || paused || document.hidden) return;
  source = new EventSource('/api/events');
  source.onmessage = (e) => {
    show(JSON.parse(e.data));
  };
  source.onerror = () => {
    say('state', 'no connection to the replica', 'bad');
    if (source && source.readyState === EventSource.CLOSED) { // it refused: tried again by ourselves
      disconnect();
      setTimeout(connect, 5000);
    }
  };
}

function disconnect() {
  if (source) source.close();
  source = null;
}

// A hidden page holds no connection: a browser keeps only six to one host.
document.addEventListener('visibilitychange', () => (document.hidden ? disconnect() : connect()));
by('pause').addEventListener('click', () => {
  paused = !paused;
  by('pause').textContent = paused ? 'Go on' : 'Pause';
  by('pause').setAttribute('aria-pressed', String(paused));
  if (paused) disconnect();
  else connect();
});
connect();
