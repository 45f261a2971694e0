/** Log records as they arrive, by server-sent events. */

import { type Log, refusal } from '../api.ts';
import { LEVELS, levelOf } from '../colour.ts';
import type { LogFilter } from '../query.ts';
import { readLog } from './read.ts';

/** Milliseconds until a tail that was refused is asked for again. */
const AGAIN = 5000;

/** Whether a record passes the parts of a filter that the server's tail does not know. */
export function passes(log: Log, filter: LogFilter): boolean {
  const chosen = filter.levels;
  if (chosen.length > 0 && chosen.length < LEVELS.length && !chosen.includes(levelOf(log.level))) return false;
  if (filter.traceId && log.trace_id !== filter.traceId) return false;
  return filter.attributes.every(({ map, key, value, not }) => (log[map][key] === value) !== not);
}

/** Who hears of what becomes of a tail. */
export interface Listener {
  /** What arrived since the last frame, newest first. */
  onlogs: (logs: Log[]) => void;
  /** Whether the tail is open; where it was refused, why. */
  onstate: (open: boolean, refused: string) => void;
  /** The server went on without us. */
  ondropped: () => void;
}

/** Opens the tail, again and again where it is refused or cut. The answer closes it. */
export function tail(filter: LogFilter, { onlogs, onstate, ondropped }: Listener): () => void {
  const query = new URLSearchParams();
  if (filter.service) query.set('service', filter.service);
  if (filter.text) query.set('q', filter.text);
  const path = `/tail/logs?${query}`;
  const stop = new AbortController();
  let source: EventSource;
  let waiting: Log[] = [];
  let frame = 0;
  let timer = 0;

  function hand(): void {
    frame = 0;
    const logs = waiting;
    waiting = [];
    onlogs(logs);
  }

  function receive(event: MessageEvent<string>): void {
    const log = readLog(JSON.parse(event.data) as Record<string, unknown>);
    if (!passes(log, filter)) return;
    waiting.unshift(log);
    frame ||= requestAnimationFrame(hand);
  }

  async function lost(): Promise<void> {
    // While the browser tries again by itself, nothing was refused.
    if (source.readyState !== EventSource.CLOSED) return onstate(false, '');
    const why = await refusal(path, stop.signal).catch(() => '');
    if (stop.signal.aborted) return;
    onstate(false, why);
    timer = window.setTimeout(open, AGAIN);
  }

  function open(): void {
    source = new EventSource(path);
    source.addEventListener('message', receive);
    source.addEventListener('dropped', ondropped);
    source.addEventListener('open', () => onstate(true, ''));
    source.addEventListener('error', () => void lost());
  }

  open();
  return () => {
    stop.abort();
    source.close();
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };
}
