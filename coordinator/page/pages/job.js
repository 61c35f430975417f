// One job, live: the choice and why, the plots, the trials.
import {card, command, fill, h, notice, plotBox, say, stateBadge, timeAgo} from '../dom.js';
import {agoText, durationText, metricName, metricText, plural, timesText} from '../plots/format.js';
import {
  axesOf,
  choiceOf,
  choiceText,
  importancesOf,
  isMore,
  limitOf,
  metricOf,
  pipelineText,
  textOf,
  backendText,
  viewOf,
} from '../plots/model.js';
import {
  hasEnded,
  importanceFigure,
  parallelFigure,
  parallelParts,
  paretoParts,
  timelineFigure,
} from '../plots/figures.js';
import {goalText, headFigures, kEnds, reasonsOf} from '../job_head.js';
import {layoutScatter, scatter} from '../plots/scatter.js';
import {emptyPlot} from '../plots/svg.js';
import {columnsOf, filterBar, trialTable} from '../trial_table.js';

// The plot that can be asked: the pointer and the arrow keys find the nearest trial, Enter opens it, the dial is a line
// and a slider.
function paretoCard(state) {
  const {context} = state;
  const said = h('p', {class: 'said small', 'aria-live': 'polite'});
  const selects = ['x', 'y'].map((axis) =>
    h('select', {
      'data-axis-choice': axis,
      onchange: (event) => {
        state.axes[axis] = event.target.value;
        if (axis === 'y') state.dial = undefined;
        draw();
        context.keep({[axis]: event.target.value});
      },
    }),
  );
  const slider = h('input', {
    type: 'range',
    min: 0,
    max: 1000,
    value: 1000,
    oninput: () => setDial(Number(slider.value) / 1000),
  });
  const dialValue = h('output', {class: 'small'});
  const advice = h('div', {});
  let parts;
  let layout;
  const box = plotBox((width) => {
    parts = paretoParts(state.view, {
      width,
      height: Math.round(Math.min(440, Math.max(300, width * 0.58))),
      ...state.axes,
      dial: state.dial,
      selected: state.selected,
    });
    layout = layoutScatter(parts.points, parts.settings);
    return scatter(parts.points, parts.settings);
  }, 'Trials by two metrics. Arrow keys walk along the horizontal axis, Enter opens the trial.');
  box.setAttribute('data-plot', 'pareto');

  function range() {
    const values = state.view.trials
      .filter((trial) => trial.state === 'complete')
      .map((trial) => metricOf(trial, axis('y')))
      .filter((value) => value !== undefined);
    const high = Math.max(...values, limitOf(state.view.job, axis('y'))?.max ?? -Infinity);
    return [Math.min(...values, high), high];
  }
  function axis(name) {
    return state.axes[name] ?? axesOf(state.view)[name];
  }
  function setDial(share) {
    const [low, high] = range();
    if (!Number.isFinite(high)) return;
    state.dial = share >= 1 ? undefined : low + share * (high - low);
    box.redraw();
    advise();
  }
  function advise() {
    const y = axis('y');
    const choice = choiceOf(state.view, state.dial === undefined ? undefined : {metric: y, max: state.dial}, y);
    dialValue.textContent = state.dial === undefined ? 'as the job says' : `≤ ${metricText(y, state.dial)}`;
    fill(
      advice,
      choice.advised
        ? [
            h(
              'p',
              {class: 'small'},
              state.dial === undefined
                ? choiceText(state.view, choice)
                : `Within ${metricName(y)} ≤ ${metricText(y, state.dial)}: ${choiceText(state.view, choice)}`,
            ),
            command(`hone get ${state.view.job.job}/${choice.advised.trial} -o out/`),
          ]
        : h('p', {class: 'small'}, choiceText(state.view, choice)),
    );
  }
  function nearest(event) {
    const rect = box.querySelector('svg')?.getBoundingClientRect();
    if (!rect || !layout) return undefined;
    const [px, py] = [event.clientX - rect.left, event.clientY - rect.top];
    let found;
    let least = 15 * 15;
    for (const mark of layout.marks) {
      const distance = (mark.cx - px) ** 2 + (mark.cy - py) ** 2;
      if (distance < least) [found, least] = [mark, distance];
    }
    return found;
  }
  function tell(mark) {
    const trial = mark && state.view.byNumber.get(Number(mark.point.id));
    if (!trial) return;
    said.textContent =
      `${trial.trial === 0 ? 'baseline' : `trial ${trial.trial}`} (${trial.state}): ` +
      `${metricText(axis('x'), metricOf(trial, axis('x')))}, ` +
      `${metricName(axis('y'))} ${metricText(axis('y'), metricOf(trial, axis('y')))}, ` +
      `${timesText(trial.speedup?.median)}. ${pipelineText(trial)} on ${backendText(trial)}`;
  }
  box.addEventListener('pointermove', (event) => {
    const mark = nearest(event);
    box.style.cursor = mark ? 'pointer' : '';
    if (mark && mark.point.id !== state.hovered) tell(mark);
    state.hovered = mark?.point.id;
    if (event.buttons === 1 && state.dragging) {
      const rect = box.querySelector('svg').getBoundingClientRect();
      const {frame, y} = layout;
      const value =
        y.low + ((frame.bottom - (event.clientY - rect.top)) / (frame.bottom - frame.top)) * (y.high - y.low);
      const [low, high] = range();
      const share = Math.min(1, Math.max(0, (value / parts.factor - low) / (high - low || 1)));
      slider.value = String(Math.round(share * 1000));
      setDial(share);
    }
  });
  box.addEventListener('pointerdown', (event) => {
    const rect = box.querySelector('svg')?.getBoundingClientRect();
    const bound = state.dial ?? limitOf(state.view.job, axis('y'))?.max;
    if (!rect || bound === undefined) return;
    state.dragging = Math.abs(event.clientY - rect.top - layout.y(bound * parts.factor)) < 8 && !nearest(event);
    if (state.dragging) event.preventDefault();
  });
  addEventListener(
    'pointerup',
    () => {
      state.dragging = false;
    },
    {signal: context.signal},
  );
  box.addEventListener('click', (event) => {
    const mark = nearest(event);
    if (mark) location.hash = trialHref(state, mark.point.id);
  });
  box.addEventListener('keydown', (event) => {
    if (!layout || !layout.marks.length) return;
    const marks = [...layout.marks].sort((a, b) => a.cx - b.cx || a.cy - b.cy);
    const now = marks.findIndex((mark) => Number(mark.point.id) === state.selected);
    const next = {ArrowRight: now + 1, ArrowLeft: now < 0 ? marks.length - 1 : now - 1, Home: 0, End: marks.length - 1}[
      event.key
    ];
    if (next !== undefined) {
      event.preventDefault();
      const mark = marks[Math.min(marks.length - 1, Math.max(0, next))];
      state.selected = Number(mark.point.id);
      box.redraw();
      tell(mark);
    } else if (event.key === 'Enter' && state.selected !== undefined) {
      location.hash = trialHref(state, state.selected);
    }
  });
  const dialBox = h('label', {}, 'what I allow', slider, ' ', dialValue);
  function draw() {
    for (const [i, name] of ['x', 'y'].entries()) {
      const wanted = [...new Set([...state.view.metrics, axis(name)])];
      if (selects[i].children.length !== wanted.length)
        fill(
          selects[i],
          wanted.map((metric) => h('option', {value: metric}, metricName(metric))),
        );
      selects[i].value = axis(name);
    }
    dialBox.hidden =
      isMore(state.view.job, axis('y')) || !state.view.trials.some((trial) => metricOf(trial, axis('y')) !== undefined);
    box.redraw();
    advise();
  }
  const section = card(
    'Trade-off',
    h('div', {class: 'controls'}, h('label', {}, 'across', selects[0]), h('label', {}, 'up', selects[1]), dialBox),
    box,
    said,
    advice,
  );
  return {section, draw};
}

function trialHref(state, number) {
  return `#/jobs/${state.view.job.job}/${number}${state.studyIndex ? `?study=${state.studyIndex}` : ''}`;
}

function eventList() {
  const list = h('ol', {class: 'events', tabindex: '0', 'aria-label': 'Events, newest first'});
  return {
    list,
    add: (event) => {
      list.prepend(h('li', {}, timeAgo(Date.parse(event.time), agoText), h('span', {}, event.text)));
      while (list.children.length > 60) list.lastChild.remove();
    },
  };
}

// Values of the parallel plot's axes narrow the table.
function parallelCard(state, search, refresh) {
  const box = plotBox(
    (width) => parallelFigure(state.view, {width, height: 330, importances: state.importances}),
    'Parameters of the trials, one line each',
  );
  box.addEventListener('click', (event) => {
    const value = event.target.closest?.('[data-value]');
    if (!value) return;
    const {axes} = parallelParts(state.view, {importances: state.importances});
    const wanted = String(JSON.parse(value.dataset.value));
    const term = `${axes[Number(value.dataset.axis)].name}=${wanted}`;
    const quoted = /\s/.test(term) ? `"${term}"` : term;
    state.table.query = state.table.query.includes(quoted)
      ? state.table.query.replace(quoted, '').trim()
      : `${state.table.query} ${quoted}`.trim();
    search.value = state.table.query;
    refresh();
    say(`filter: ${state.table.query || 'none'}`);
  });
  const section = card(
    'Parameters',
    h(
      'p',
      {class: 'soft small'},
      'One line a trial, those that matter first. Click a value to narrow the table to it.',
    ),
    box,
  );
  section.classList.add('wide');
  return {section, box};
}

function compareBar(state) {
  const link = h('a', {hidden: true});
  return {
    link,
    draw: () => {
      const picked = [...state.table.picked];
      link.hidden = picked.length < 2;
      link.href = `#/compare?job=${state.view.job.job}&study=${state.studyIndex}&trials=${picked.join(',')}`;
      link.textContent = `Compare ${picked.length} trials`;
    },
  };
}

function headOf(state, targets) {
  const {job} = state.view;
  const progress =
    state.view.study.budget && job.state === 'running'
      ? h('progress', {
          max: state.view.study.budget,
          value: Math.min(state.view.study.budget, state.view.trials.filter(hasEnded).length),
          'aria-label': 'trials done',
        })
      : null;
  const took = job.finished ? durationText((Date.parse(job.finished) - Date.parse(job.created)) / 1000) : null;
  return [
    h(
      'div',
      {class: 'head'},
      h('h1', {}, `Job ${job.job}`, job.name ? ` ${job.name}` : ''),
      stateBadge(job.state),
      h(
        'span',
        {class: 'soft small'},
        'submitted ',
        timeAgo(Date.parse(job.created), agoText),
        took ? `, took ${took}` : '',
        job.owner ? ` by ${job.owner}` : '',
      ),
      targets,
    ),
    h(
      'p',
      {class: 'soft small'},
      goalText(job),
      state.view.study.ended_by
        ? `. The search ended: ${kEnds[state.view.study.ended_by] ?? state.view.study.ended_by}.`
        : '.',
    ),
    progress,
    job.error ? notice(job.error, 'bad') : null,
    reasonsOf(state.view.trials)
      .slice(0, 3)
      .map(([reason, {count, first}]) =>
        h(
          'p',
          {class: 'notice bad'},
          `${plural(count, 'trial')} failed: ${reason} `,
          h('a', {href: trialHref(state, first)}, `trial ${first}`),
        ),
      ),
  ];
}

function targetChoice(state, change) {
  const studies = state.job.studies ?? [];
  if (studies.length < 2) return null;
  const select = h(
    'select',
    {onchange: (event) => change(Number(event.target.value))},
    studies.map((study) =>
      h('option', {value: study.study}, (study.target?.tags ?? []).join(' ') || `target ${study.study + 1}`),
    ),
  );
  select.value = String(state.studyIndex);
  return h('label', {class: 'small'}, 'target ', select);
}

// The table with its filter; made anew when trials bring metrics that no column shows yet.
function tableCard(state) {
  const compare = compareBar(state);
  const changed = () => {
    compare.draw();
    const {query, states, sort, down} = state.table;
    state.context.keep({
      q: query,
      state: [...states].join(','),
      sort: sort === 'trial' ? '' : sort,
      down: down ? '1' : '',
    });
  };
  let grid;
  const filter = filterBar(state.table, () => grid, changed);
  const section = h('section', {class: 'card wide', 'aria-labelledby': 'trials-title'});
  let shownColumns = '';
  return {
    section,
    search: filter.search,
    narrow: () => {
      grid.refresh();
      changed();
    },
    draw: () => {
      const columns = columnsOf(state.view.metrics);
      const names = columns.map((column) => column.key).join();
      if (names !== shownColumns) {
        shownColumns = names;
        const hrefOf = (trial) => trialHref(state, trial.trial);
        grid = trialTable({columns, state: state.table, hrefOf, changed, best: () => state.view.best?.trial});
        const title = h('h2', {id: 'trials-title'}, 'Trials');
        fill(section, h('div', {class: 'head'}, title, grid.count, compare.link), filter.node, grid.box);
      }
      grid.setTrials(state.view.trials);
      compare.draw();
    },
  };
}

// Who worked when is much to send: it is asked for once the plot is near the window.
function workCard(state) {
  const now = () => (state.job.state === 'running' ? Date.now() : undefined);
  let attempts;
  let isNear = false;
  const loading = (width) => emptyPlot(width, 90, 'timeline', 'Loading who worked when …');
  const draw = (width) => (attempts ? timelineFigure(attempts, {width, now: now()}) : loading(width));
  const box = plotBox(draw, 'Work over time');
  const refresh = async () => {
    if (!isNear) return;
    attempts = await state.context.api.attempts(state.job.job);
    box.redraw();
  };
  const watch = new IntersectionObserver(
    (entries) => {
      const wasNear = isNear;
      isNear = entries.some((entry) => entry.isIntersecting);
      if (isNear && !wasNear) state.context.guard(refresh());
    },
    {rootMargin: '150px'},
  );
  watch.observe(box);
  state.context.signal.addEventListener('abort', () => watch.disconnect());
  return {section: Object.assign(card('Work', box), {className: 'card wide'}), refresh};
}

// What the address says of the view.
function stateOf(context, id) {
  const {query} = context;
  const axes = Object.fromEntries(['x', 'y'].map((name) => [name, query.get(name)]).filter(([, metric]) => metric));
  const studyIndex = Number(query.get('study') ?? 0);
  const table = {
    query: query.get('q') ?? '',
    states: new Set((query.get('state') ?? '').split(',').filter(Boolean)),
    sort: query.get('sort') ?? 'trial',
    down: query.get('down') === '1',
    picked: new Set(),
  };
  return {context, axes, studyIndex, table, importances: [], trials: context.api.trialsOf(id, studyIndex)};
}

async function loadInto(state, id) {
  const [job, trials] = await Promise.all([state.context.api.job(id), state.trials.load()]);
  const studies = job.studies ?? [];
  const study = studies.find((one) => one.study === state.studyIndex) ?? studies[0] ?? {trials: {}};
  Object.assign(state, {job, view: viewOf(job, study, trials)});
}

// Says what is new to who only hears the page.
function tellNews(state, before) {
  const {best} = state.view;
  if (best && best.trial !== before.best) say(`new best: trial ${best.trial}, ${timesText(best.speedup?.median)}`);
  if (state.job.state === 'running') return;
  if (before.state === 'running') say(`job ${state.job.job} is ${state.job.state}`);
  state.context.finished(`job ${state.job.state}`);
}

export async function jobPage(root, context, words) {
  const id = words[0];
  const state = stateOf(context, id);
  fill(root, h('p', {class: 'loading'}, `Loading job ${id} …`));
  await loadInto(state, id);
  document.title = `job ${id} – hone`;
  const head = h('div');
  const figures = h('dl', {class: 'figures'});
  const pareto = paretoCard(state);
  const table = tableCard(state);
  const work = workCard(state);
  const events = eventList();
  const parameters = parallelCard(state, table.search, table.narrow);
  const mattered = plotBox(
    (width) => importanceFigure(state.view, {width, importances: state.importances}),
    'What mattered',
  );
  const side = h('div', {class: 'stack'}, card('What mattered', mattered), card('Events', events.list));
  const commands = [`hone watch ${id}`, `hone explain ${id}`, `hone report ${id} --html job-${id}.html`];
  const cards = [pareto.section, side, table.section, parameters.section, work.section];
  const shell = card(
    'On the command line',
    commands.map((one) => command(one)),
  );
  fill(root, head, figures, h('div', {class: 'grid'}, cards), shell);

  const changeTarget = (study) => {
    state.studyIndex = study;
    state.trials = context.api.trialsOf(id, study);
    context.keep({study: study ? String(study) : ''});
    context.guard(refresh());
  };
  function draw() {
    // Who is at a link or at the choice of targets stays there.
    if (!head.contains(document.activeElement)) fill(head, headOf(state, targetChoice(state, changeTarget)));
    fill(figures, headFigures(state.view));
    pareto.draw();
    table.draw();
  }
  async function later() {
    for (const trial of state.view.trials) textOf(trial);
    state.importances = importancesOf(state.view);
    mattered.redraw();
    parameters.box.redraw();
    await work.refresh();
  }
  async function refresh() {
    const before = {best: state.view.best?.trial, state: state.job.state};
    await loadInto(state, id);
    draw();
    await later();
    tellNews(state, before);
  }
  draw();
  performance.mark('hone.first-plot');
  requestAnimationFrame(() => setTimeout(() => context.guard(later()), 0));
  context.onEvents(Number(id), refresh, 700, {take: events.add, known: state.job.last_event ?? undefined});
  if (state.job.state !== 'running') context.finished(`job ${state.job.state}`);
}
