// Starts the real program on free ports, with an empty data directory.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.DEVMESH_BIN ?? fileURLToPath(new URL('../../../target/debug/devmesh', import.meta.url));
/** The directory of models that tests/install.sh fills. */
export const MODELS = fileURLToPath(new URL('../../../target/test-tools/models', import.meta.url));
/** Milliseconds until the doors must be open. */
const START_LIMIT = 90_000;

/** A running server, with further arguments: `url` of its API, `stop()`. */
export async function serve(more = []) {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'devmesh-browser-'));
  const args = ['serve', '--data-dir', path.join(dir, 'data'), '--http', '127.0.0.1:0', '--otlp-http', '127.0.0.1:0', '--otlp-grpc', '127.0.0.1:0', '--postgres', 'off', ...more];
  // What this shell has set for a server is not for this one, and DEVMESH_BIN is no setting of it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(DEVMESH|OTEL|DB|API)_/.test(name)));
  const child = spawn(BINARY, args, { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (text) => (log = (log + text).slice(-20_000)));
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  const limit = setTimeout(kill, START_LIMIT);
  const doors = {};
  let ready = false;
  try {
    for await (const line of readline.createInterface({ input: child.stdout })) {
      const door = /^listening (\S+) (\S+)$/.exec(line);
      if (door) doors[door[1]] = door[2];
      ready = line === 'ready';
      if (ready) break;
    }
  } finally {
    clearTimeout(limit);
  }
  if (!ready) throw new Error(`${BINARY} did not become ready:\n${log}`);
  child.stdout.resume();
  return {
    url: `http://${doors.http}`,
    doors,
    async stop() {
      if (child.exitCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      process.off('exit', kill);
      if (process.env.SERVER_LOG) process.stderr.write(log);
      await rm(dir, { recursive: true, force: true });
    },
  };
}
