/** Asks again and again while the page is in sight, and never faster than the server answers with ease. */

/** Runs `ask` at once and then every `interval` ms, or ten times as long as it took; the answer stops it. */
export function poll(ask: (signal: AbortSignal) => Promise<void>, interval: number): () => void {
  const stop = new AbortController();
  let timer = 0;
  let asking = false;

  async function round(): Promise<void> {
    window.clearTimeout(timer);
    if (asking || document.hidden || stop.signal.aborted) return;
    asking = true;
    const started = performance.now();
    await ask(stop.signal);
    asking = false;
    if (stop.signal.aborted) return;
    timer = window.setTimeout(round, Math.max(interval, 10 * (performance.now() - started)));
  }

  document.addEventListener('visibilitychange', () => void round(), { signal: stop.signal });
  void round();
  return () => {
    stop.abort();
    window.clearTimeout(timer);
  };
}
