// The page: which view the address names, the line to the coordinator, the theme. Views keep their state in the
// address, so that it can be shared.
import {api, ApiError, eventsUrl, logIn} from './api.js';
import {fill, h, notice, refreshTimes, command} from './dom.js';
import {agoText} from './plots/format.js';
import {follow} from './live.js';
import {jobsPage} from './pages/jobs.js';
import {jobPage} from './pages/job.js';
import {trialPage} from './pages/trial.js';
import {comparePage} from './pages/compare.js';
import {fleetPage} from './pages/fleet.js';
import {nightlyPage} from './pages/nightly.js';

const kRoutes = [
  [/^\/?$/, jobsPage, '#/'],
  [/^\/jobs\/(\d+)$/, jobPage, '#/'],
  [/^\/jobs\/(\d+)\/(\d+|baseline)$/, trialPage, '#/'],
  [/^\/compare$/, comparePage, '#/'],
  [/^\/fleet$/, fleetPage, '#/fleet'],
  [/^\/nightly$/, nightlyPage, '#/nightly'],
];

const kShownEvents = 40;

const main = document.getElementById('main');
const link = document.getElementById('link');
let ending = new AbortController();
let shownPath = '';

function tellLink(state, text = state) {
  link.dataset.state = state;
  if (link.textContent !== text) link.textContent = text;
}

function address() {
  const hash = location.hash.replace(/^#/, '') || '/';
  const mark = hash.indexOf('?');
  return {
    path: mark < 0 ? hash : hash.slice(0, mark),
    query: new URLSearchParams(mark < 0 ? '' : hash.slice(mark + 1)),
  };
}

// Changes the query without a new entry in the history and without drawing anew.
function keep(changes) {
  const {path, query} = address();
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  history.replaceState(null, '', `#${path}${text ? `?${text}` : ''}`);
}

function tokenForm(message) {
  const input = h('input', {type: 'password', autocomplete: 'off', 'aria-label': 'token', required: true});
  return h(
    'form',
    {
      class: 'card empty',
      onsubmit: (event) => {
        event.preventDefault();
        logIn(input.value.trim()).then(show, tellError);
      },
    },
    h('p', {}, message),
    h('label', {}, 'token ', input),
    ' ',
    h('button', {}, 'Open'),
    command('hone token create NAME --role client'),
  );
}

function tellError(error) {
  if (ending.signal.aborted && error?.name === 'AbortError') return;
  if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
    tellLink('refused', 'token needed');
    fill(main, h('h1', {}, 'This coordinator asks for a token'), tokenForm(error.message));
    return;
  }
  if (error instanceof ApiError && error.status === 404) {
    fill(
      main,
      h('h1', {}, 'Not found'),
      notice(error.message, 'bad'),
      error.remedy ? h('p', {}, error.remedy) : null,
      h('p', {}, h('a', {href: '#/'}, 'All jobs')),
    );
    return;
  }
  tellLink('reconnecting', 'coordinator unreachable');
  fill(
    main,
    h('h1', {}, 'Nothing to show'),
    notice(String(error?.message ?? error), 'bad'),
    h('p', {}, 'Is the coordinator running? On its machine: ', h('code', {}, 'hone doctor')),
    h('button', {type: 'button', onclick: show}, 'Try again'),
  );
}

// What a view gets beside its place. Everything ends with the view.
function contextOf(query) {
  const {signal} = ending;
  const guard = (promise) =>
    Promise.resolve(promise).catch((error) => {
      if (!signal.aborted) tellError(error);
    });
  return {
    api: api(signal),
    query,
    signal,
    keep,
    guard,
    reload: show,
    endpoint: () => `tcp://${location.hostname}:5710`,
    finished: (text) => tellLink('finished', text),
    every: (ms, work) => {
      const timer = setInterval(() => guard(work()), ms);
      signal.addEventListener('abort', () => clearInterval(timer));
    },
    // Draws again when events come, not more often than every `ms`, and longer apart where drawing takes long. job 0:
    // all jobs and the fleet. `known`: the newest event that what is drawn already has in it; some before it are asked
    // for, for `take` to list.
    onEvents: (job, refresh, ms, {take, known} = {}) => {
      let wanted = false;
      let busy = false;
      let lost = false;
      const run = async () => {
        if (busy || !wanted || signal.aborted) return;
        busy = true;
        wanted = false;
        const began = performance.now();
        await refresh().catch(() => {
          wanted = true;
        });
        setTimeout(
          () => {
            busy = false;
            run();
          },
          Math.max(ms, 4 * (performance.now() - began)),
        );
      };
      follow(eventsUrl(job), {
        signal,
        after: known === undefined ? undefined : Math.max(0, known - kShownEvents),
        state: (state) => {
          tellLink(state, state === 'live' ? 'live' : state === 'refused' ? 'token needed' : 'reconnecting …');
          if (state === 'live' && lost) {
            wanted = true;
            run();
          }
          lost = state === 'reconnecting';
        },
        take: (message) => {
          const event = message.event === 'bye' || message.event === 'gap' ? undefined : JSON.parse(message.data);
          if (event && take) take(event);
          if (event && known !== undefined && event.seq <= known) return;
          wanted = true;
          run();
        },
      });
    },
  };
}

async function show() {
  ending.abort();
  ending = new AbortController();
  const {path, query} = address();
  const found = kRoutes
    .map(([form, page, place]) => ({words: form.exec(path), page, place}))
    .find((route) => route.words);
  for (const entry of document.querySelectorAll('.bar nav a')) {
    if (found && entry.getAttribute('href') === found.place) entry.setAttribute('aria-current', 'page');
    else entry.removeAttribute('aria-current');
  }
  document.title = 'hone';
  if (!found) {
    fill(
      main,
      h('h1', {}, 'Not found'),
      notice(`There is no page ${path}.`, 'bad'),
      h('p', {}, h('a', {href: '#/'}, 'All jobs')),
    );
    return;
  }
  const mine = ending;
  tellLink('connecting');
  const root = h('div');
  fill(main, root);
  if (shownPath && shownPath !== path) {
    main.focus({preventScroll: true});
    scrollTo(0, 0);
  }
  shownPath = path;
  try {
    await found.page(root, contextOf(query), found.words.slice(1));
    main.dataset.ready = path;
  } catch (error) {
    if (!mine.signal.aborted) tellError(error);
  }
}

function themeButton() {
  const button = document.getElementById('theme');
  const isDark = () =>
    (document.documentElement.dataset.theme ??
      (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  const tell = () => button.setAttribute('aria-pressed', String(isDark()));
  button.addEventListener('click', () => {
    const theme = isDark() ? 'light' : 'dark';
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem('hone.theme', theme);
    } catch {
      // It holds as long as the page is open.
    }
    tell();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', tell);
  tell();
}

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
themeButton();
addEventListener('hashchange', show);
setInterval(() => refreshTimes(agoText), 5000);
show();
