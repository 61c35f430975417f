// A real coordinator with a filled store, and a worker when a job shall run. Ports are the kernel's choice.
import {spawn, spawnSync} from 'node:child_process';
import {existsSync, openSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

const kDeadlineMs = 60000;
const kLiveRecipe = fileURLToPath(new URL('live.yaml', import.meta.url));

async function eventually(condition, what) {
  const end = Date.now() + kDeadlineMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

function ended(child) {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once('exit', resolve));
}

export class Service {
  #folder;
  #http = '127.0.0.1:0';
  #listen = 'tcp://127.0.0.1:0';
  #nights;
  #children = [];

  // `filled`: with the made-up jobs of fill_store.cc.
  static async start(folder, {filled = true} = {}) {
    const service = new Service();
    service.#folder = folder;
    if (filled) {
      service.#nights = join(folder, 'nights.db');
      const made = spawnSync(service.program('page_fixture'), [join(folder, 'data'), service.#nights], {
        encoding: 'utf8',
      });
      if (made.status !== 0) throw new Error(made.stderr || String(made.error));
    }
    await service.startCoordinator();
    return service;
  }

  program(name) {
    return join(process.env.HONE_BIN_DIR, name);
  }

  #run(name, words) {
    const log = openSync(join(this.#folder, `${name}.log`), 'a');
    const child = spawn(this.program(name), words, {stdio: ['ignore', log, log], env: {...process.env, HONE_KEYS: ''}});
    this.#children.push(child);
    return child;
  }

  async startCoordinator() {
    const ready = join(this.#folder, 'ready');
    rmSync(ready, {force: true});
    const history = this.#nights ? ['--nightly', this.#nights] : [];
    this.coordinator = this.#run('hone-coordinator', [
      '--listen',
      this.#listen,
      '--http',
      this.#http,
      '--data',
      join(this.#folder, 'data'),
      '--ready-file',
      ready,
      ...history,
    ]);
    await eventually(() => existsSync(ready) || this.coordinator.exitCode !== null, 'the coordinator is ready');
    if (!existsSync(ready))
      throw new Error(readFileSync(join(this.#folder, 'hone-coordinator.log'), 'utf8').slice(-2000));
    const told = JSON.parse(readFileSync(ready, 'utf8'));
    this.endpoint = this.#listen = told.endpoint;
    this.url = told.http.replace(/\/$/, '');
    this.#http = new URL(this.url).host;
  }

  // Goes away, waits for `meanwhile`, comes back at the same place.
  async restartCoordinator(meanwhile) {
    this.coordinator.kill('SIGTERM');
    await ended(this.coordinator);
    await meanwhile();
    await this.startCoordinator();
  }

  // A worker comes, a job on a real model begins. Its number. Without a recipe: the few trials of live.yaml.
  async submitRealJob({model = 'text_angle.onnx', recipe = kLiveRecipe, data, trials} = {}) {
    this.worker ??= this.#run('hone-worker', [
      ...['--coordinator', this.endpoint, '--data', join(this.#folder, 'worker'), '--name', 'page-worker'],
    ]);
    const isReady = (worker) => worker.name === 'page-worker' && worker.state === 'ready';
    await eventually(() => this.hone(['workers', '--json']).workers?.some(isReady), 'a worker is ready');
    const models = process.env.HONE_MODELS;
    const samples = data ? ['--calibration', join(models, data), '--data', join(models, data)] : [];
    const bound = trials ? ['--trials', String(trials)] : [];
    return this.hone(['submit', join(models, model), '--recipe', recipe, ...samples, ...bound, '--json']).job;
  }

  hone(words) {
    const ran = spawnSync(this.program('hone'), [...words, '--coordinator', this.endpoint], {
      encoding: 'utf8',
      env: {...process.env, HONE_KEYS: ''},
    });
    if (ran.status !== 0) throw new Error(`hone ${words.join(' ')}: ${ran.stderr}`);
    return JSON.parse(ran.stdout);
  }

  async stop() {
    for (const child of this.#children) child.kill('SIGTERM');
    const timer = setTimeout(() => this.#children.forEach((child) => child.kill('SIGKILL')), 15000);
    await Promise.all(this.#children.map(ended));
    clearTimeout(timer);
  }
}
