// What the page asks of the coordinator: docs/openapi.yaml. Nothing here asks anybody else.
import {attemptsFromColumns, trialsFromColumns} from './plots/columns.js';

const kRoot = 'api/v1';

// A refusal, with what can be done.
export class ApiError extends Error {
  constructor(status, message, remedy) {
    super(message);
    this.status = status;
    this.remedy = remedy;
  }
}

async function ask(path, options = {}) {
  const response = await fetch(`${kRoot}/${path}`, {
    ...options,
    headers: {Accept: 'application/json', ...options.headers},
  });
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(
    response.status,
    problem.detail ?? problem.title ?? `the coordinator answered ${response.status}`,
    problem.remedy ?? undefined,
  );
}

// A cookie for a token; it is kept by the browser where no script can read it.
export function logIn(token) {
  return ask('session', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({token})});
}

async function allPages(ask1, decode, nameOfNext) {
  const rows = [];
  for (let next = 0; next !== null;) {
    const page = await ask1(`${nameOfNext}=${next}`);
    rows.push(...decode(page));
    next = page.next ?? null;
  }
  return rows;
}

export const kJobsPerPage = 50;

// Everything a page asks; `signal` ends what is under way.
export function api(signal) {
  const get = (path) => ask(path, {signal});
  return {
    jobs: (before) => get(`jobs?limit=${kJobsPerPage}${before ? `&before=${before}` : ''}`),
    // As the list has it: without the front, which the page works out itself, and without the recipe.
    job: async (job) => {
      const {jobs} = await get(`jobs?limit=1&before=${Number(job) + 1}`);
      if (jobs[0]?.job === String(job)) return jobs[0];
      throw new ApiError(404, `there is no job ${job}`, 'see `hone jobs`');
    },
    trial: (job, study, trial) => get(`jobs/${job}/trials/${trial}?study=${study}`),
    attempts: (job) => allPages((page) => get(`jobs/${job}/attempts?${page}`), attemptsFromColumns, 'after'),
    workers: async () => (await get('workers')).workers,
    version: () => ask('../../version', {signal}),
    nightly: async () => {
      const {suites} = await get('nightly');
      return Promise.all(suites.map((suite) => get(`nightly/${encodeURIComponent(suite.suite)}`)));
    },
    trialsOf: (job, study) => new TrialStore(get, job, study),
  };
}

// The trials of a study: everything first, then what changed since.
class TrialStore {
  #get;
  #path;
  #cursor;
  #trials = new Map();

  constructor(get, job, study) {
    this.#get = get;
    this.#path = `jobs/${job}/trials?columns=brief&study=${study}`;
  }

  async load() {
    if (this.#cursor !== undefined) {
      const changes = await this.#get(`${this.#path}&since=${encodeURIComponent(this.#cursor)}`);
      this.#take(changes);
      for (let next = changes.next ?? null; next !== null;) next = await this.#page(next);
    } else {
      for (let next = 0; next !== null;) next = await this.#page(next);
    }
    return [...this.#trials.values()].sort((a, b) => a.trial - b.trial);
  }

  async #page(from) {
    const page = await this.#get(`${this.#path}&from=${from}`);
    this.#take(page, from > 0);
    return page.next ?? null;
  }

  // The first page's cursor: what changed while the others were read is told once more.
  #take(document, isMore = false) {
    if (document.reset && !isMore) this.#trials.clear();
    if (!isMore) this.#cursor = document.cursor;
    for (const trial of trialsFromColumns(document)) this.#trials.set(trial.trial, trial);
  }
}

export function eventsUrl(job) {
  return job ? `${kRoot}/jobs/${job}/events` : `${kRoot}/events`;
}
