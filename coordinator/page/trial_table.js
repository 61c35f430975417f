// The table of a job's trials: only the rows that can be seen are there, so ten thousand scroll and filter like ten.
import {h, fill, say} from './dom.js';
import {filterOf, sortedBy, metricOf, intervalOf, pipelineText, backendText} from './plots/model.js';
import {intervalText, metricName, metricText, plural, timesText, durationText} from './plots/format.js';

const kStates = ['complete', 'infeasible', 'failed', 'pruned', 'running', 'waiting'];

const kRowHeight = 33;
const kSpareRows = 8;
// The box grows to this height (style.css) as rows come.
const kBoxHeight = 560;

function metricColumn(metric, width) {
  return {
    key: metric,
    name: metricName(metric),
    number: true,
    width,
    value: (trial) => metricOf(trial, metric),
    text: (trial) => metricText(metric, metricOf(trial, metric)),
    title: (trial) => intervalText(metric, intervalOf(trial, metric)),
  };
}

export function columnsOf(metrics) {
  const known = ['latency_ms_p50', 'accuracy_drop', 'size_bytes', 'memory_bytes'].filter((name) =>
    metrics.includes(name),
  );
  return [
    {key: 'trial', name: 'trial', width: '5rem', number: true, value: (trial) => trial.trial},
    {key: 'state', name: 'state', width: '6.5rem', value: (trial) => trial.state},
    {
      key: 'speedup',
      name: 'speed-up',
      number: true,
      width: '5.5rem',
      value: (trial) => metricOf(trial, 'speedup'),
      text: (trial) => timesText(metricOf(trial, 'speedup')),
      title: (trial) => intervalText('speedup', intervalOf(trial, 'speedup')),
    },
    ...known.map((metric) => metricColumn(metric, '6.8rem')),
    {key: 'backend', name: 'backend', width: '9.5rem', value: backendText},
    {key: 'pipeline', name: 'pipeline', value: pipelineText},
    {
      key: 'wall',
      name: 'took',
      number: true,
      width: '5rem',
      value: (trial) => trial.wall_s,
      text: (trial) => durationText(trial.wall_s || undefined),
    },
  ];
}

// options: columns, hrefOf(trial) where a trial has a page, state {query, states, sort, down, and picked: Set where
// trials can be picked}, changed(), best().
export function trialTable(options) {
  const {columns, state} = options;
  let all = [];
  let sorted = [];
  let sortedFor = '';
  let shown = [];
  let frame = 0;
  const count = h('span', {class: 'soft small', 'aria-live': 'polite'});
  const body = h('tbody');
  const heads = new Map(
    columns.map((column) => [
      column.key,
      h(
        'th',
        {scope: 'col', class: column.number ? 'n' : undefined},
        h('button', {type: 'button', onclick: () => sortBy(column)}, column.name),
      ),
    ]),
  );
  const pick = state.picked ? h('th', {scope: 'col'}, h('span', {class: 'hidden'}, 'compare')) : null;
  if (pick) pick.style.width = '2.2rem';
  for (const column of columns) if (column.width) heads.get(column.key).style.width = column.width;
  const cells = columns.length + (pick ? 1 : 0);
  const grid = h('table', {'aria-label': 'Trials'}, h('thead', {}, h('tr', {}, pick, [...heads.values()])), body);
  const box = h('div', {class: 'trials', tabindex: '0', role: 'region', 'aria-label': 'Trials, scrolling'}, grid);
  box.addEventListener(
    'scroll',
    () => {
      if (!frame) frame = requestAnimationFrame(drawRows);
    },
    {passive: true},
  );

  function sortBy(column) {
    state.down = state.sort === column.key ? !state.down : false;
    state.sort = column.key;
    refresh();
    options.changed();
    say(`sorted by ${column.name}, ${state.down ? 'descending' : 'ascending'}`);
  }

  function picker(trial) {
    return h('input', {
      type: 'checkbox',
      'data-key': `pick${trial.trial}`,
      'aria-label': `compare trial ${trial.trial}`,
      checked: state.picked.has(trial.trial),
      onchange: (event) => {
        event.target.checked ? state.picked.add(trial.trial) : state.picked.delete(trial.trial);
        options.changed();
      },
    });
  }

  function rowOf(trial, index) {
    const looks = [trial.state !== 'complete' ? 'muted' : '', trial.trial === options.best?.() ? 'best' : '']
      .join(' ')
      .trim();
    return h(
      'tr',
      {class: looks || undefined, 'aria-rowindex': index + 2},
      state.picked ? h('td', {}, picker(trial)) : null,
      columns.map((column) => {
        const text = column.text ? column.text(trial) : String(column.value(trial) ?? '');
        const inside =
          column.key === 'trial' && options.hrefOf
            ? h(
                'a',
                {href: options.hrefOf(trial), 'data-key': `trial${trial.trial}`},
                trial.trial === 0 ? 'baseline' : text,
              )
            : column.key === 'trial' && trial.trial === 0
              ? 'baseline'
              : text;
        const hover =
          column.title?.(trial) ||
          (column.number ? undefined : column.key === 'state' ? trial.reason || undefined : text);
        return h('td', {class: column.number ? 'n' : undefined, title: hover}, inside);
      }),
    );
  }

  function space(rows) {
    const row = h('tr', {class: 'space', 'aria-hidden': 'true'}, h('td', {colspan: cells}));
    row.style.height = `${rows * kRowHeight}px`;
    return row;
  }

  // Focus stays where it was when rows are made anew.
  function drawRows() {
    frame = 0;
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const first = Math.max(0, Math.floor(box.scrollTop / kRowHeight) - kSpareRows);
    const last = Math.min(
      shown.length,
      Math.ceil((box.scrollTop + Math.max(box.clientHeight, kBoxHeight)) / kRowHeight) + kSpareRows,
    );
    const rows = shown.slice(first, last).map((trial, i) => rowOf(trial, first + i));
    if (first > 0) rows.unshift(space(first));
    if (last < shown.length) rows.push(space(shown.length - last));
    fill(
      body,
      shown.length
        ? rows
        : h('tr', {}, h('td', {colspan: cells, class: 'soft'}, 'No trial is like that. Clear the filter to see all.')),
    );
    if (focused) body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({preventScroll: true});
  }

  // Sorted once a column; a filter then only picks.
  function sortAgain() {
    const column = columns.find((one) => one.key === state.sort) ?? columns[0];
    const order = `${column.key} ${state.down}`;
    if (order !== sortedFor) sorted = sortedBy(all, column.value, state.down);
    sortedFor = order;
    return column;
  }

  function refresh() {
    const matches = filterOf(state.query);
    const column = sortAgain();
    shown = sorted.filter((trial) => (!state.states.size || state.states.has(trial.state)) && matches(trial));
    for (const [key, head] of heads) {
      if (key === column.key) head.setAttribute('aria-sort', state.down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
    grid.setAttribute('aria-rowcount', String(shown.length + 1));
    count.textContent =
      shown.length === all.length ? plural(all.length, 'trial') : `${shown.length} of ${plural(all.length, 'trial')}`;
    drawRows();
  }

  return {
    box,
    count,
    refresh,
    shown: () => shown,
    setTrials: (trials) => {
      all = trials;
      sortedFor = '';
      refresh();
    },
  };
}

// What is shown of the table that grid() gives: a search and the states.
export function filterBar(state, grid, changed) {
  const search = h('input', {
    type: 'search',
    'aria-label': 'Filter trials',
    placeholder: 'int8 latency_ms_p50<5',
    value: state.query,
    spellcheck: 'false',
    autocomplete: 'off',
    oninput: () => {
      state.query = search.value;
      grid().refresh();
      changed();
    },
  });
  const boxes = kStates.map((name) =>
    h(
      'label',
      {},
      h('input', {
        type: 'checkbox',
        checked: state.states.has(name),
        onchange: (event) => {
          event.target.checked ? state.states.add(name) : state.states.delete(name);
          grid().refresh();
          changed();
        },
      }),
      ` ${name}`,
    ),
  );
  return {
    search,
    node: h(
      'div',
      {class: 'controls'},
      search,
      h('span', {role: 'group', class: 'controls', 'aria-label': 'Only trials that are'}, boxes),
    ),
  };
}
