// Trials and attempts from columns (docs/openapi.yaml: TrialColumns, AttemptColumns) as objects like those of `hone
// trials --json`.

function pickFinite(columns, i) {
  const values = {};
  for (const [name, column] of Object.entries(columns)) {
    if (name !== 'speedup' && column[i] !== null && column[i] !== undefined) values[name] = column[i];
  }
  return values;
}

function intervalAt(document, name, i) {
  const low = document.low?.[name]?.[i];
  const high = document.high?.[name]?.[i];
  return typeof low === 'number' && typeof high === 'number' ? [low, high] : null;
}

function wordAt(document, column, i) {
  const number = document[column]?.[i];
  return number === null || number === undefined ? null : document.words[number];
}

export function trialsFromColumns(document) {
  const trials = [];
  const bounded = Object.keys(document.low ?? {}).filter((name) => name !== 'speedup');
  for (let i = 0; i < document.rows; ++i) {
    const intervals = {};
    for (const name of bounded) {
      const ci99 = intervalAt(document, name, i);
      if (ci99) intervals[name] = {ci99};
    }
    const median = document.metrics.speedup?.[i];
    trials.push({
      trial: document.trial[i],
      study: document.study[i],
      state: wordAt(document, 'trial_state', i),
      phase: wordAt(document, 'phase', i),
      pipeline: document.pipelines[document.pipeline[i]] ?? [],
      backend: wordAt(document, 'backend', i),
      settings: document.settings_list[document.settings[i]] ?? {},
      worker: wordAt(document, 'worker', i),
      reason: wordAt(document, 'reason', i),
      attempts: document.attempts?.[i] ?? 0,
      wall_s: document.wall_s?.[i] ?? 0,
      metrics: pickFinite(document.metrics, i),
      intervals,
      speedup: typeof median === 'number' ? {median, ci99: intervalAt(document, 'speedup', i)} : null,
    });
  }
  return trials;
}

export function attemptsFromColumns(document) {
  const attempts = [];
  for (let i = 0; i < document.rows; ++i) {
    attempts.push({
      attempt: document.attempt[i],
      kind: wordAt(document, 'kind', i),
      worker: wordAt(document, 'worker', i),
      outcome: wordAt(document, 'outcome', i),
      pass: wordAt(document, 'pass', i),
      study: document.study[i],
      trial: document.trial[i],
      started_unix_ms: (document.started_s[i] ?? 0) * 1000,
      ended_unix_ms: (document.ended_s[i] ?? 0) * 1000,
    });
  }
  return attempts;
}
