/** Keys of the whole application. Pages add theirs with `svelte:window`. */

/** Whether the reader is writing somewhere, so that letters are no commands. */
export function writing(event: KeyboardEvent): boolean {
  const element = event.target as HTMLElement | null;
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  return !!element?.closest?.('input, textarea, select, [contenteditable], .monaco-editor');
}

export const HELP: readonly [string, string][] = [
  ['g then o, l, f, t, g, m, a, s', 'Overview, logs, search, traces, map, metrics, alerts, SQL'],
  ['/', 'Search on this page'],
  ['j k or ↓ ↑', 'Next and previous row'],
  ['Enter', 'Open the row'],
  ['Esc', 'Close, leave the field'],
  ['l', 'Live tail of logs on and off'],
  ['e', 'Next error in a trace'],
  ['Ctrl Enter', 'Run the query'],
  ['d', 'Dark or light'],
  ['?', 'These keys'],
];
