/** Alerts and rules, as the page shows them. */

export type Texts = Record<string, string>;

export interface Alert {
  id: string;
  name: string;
  state: 'pending' | 'firing' | 'resolved';
  severity: string;
  server_id: string;
  summary: string;
  /** A text where it is no number that JSON has. */
  value: number | string;
  active_at: string;
  fired_at: string | null;
  resolved_at: string | null;
  rule: string;
  group: string;
  /** The rule's file, or /v1/alert-rules. */
  source: string;
  labels: Texts;
  annotations: Texts;
}

export interface Rule {
  id: string;
  name: string;
  source: 'api' | 'file';
  expr?: string;
  sql?: string;
  for: string;
  keep_firing_for: string;
  interval: string;
  labels: Texts;
  annotations: Texts;
  state: 'inactive' | 'pending' | 'firing';
  alerts: number;
  health: 'ok' | 'err' | 'unknown';
  last_error: string | null;
  last_evaluation: string | null;
  file?: string;
  group?: string;
}

/** The page that asks a rule's query. */
export function queryLink(rule: Pick<Rule, 'expr' | 'sql'>): string {
  return rule.sql === undefined ? `/promql?${new URLSearchParams({ q: rule.expr ?? '' })}` : `/sql?${new URLSearchParams({ q: rule.sql })}`;
}

/** Whether all words stand in what there is to read of it. */
export function matches(words: string, ...texts: (string | undefined | Texts)[]): boolean {
  const text = texts.map((one) => (typeof one === 'object' ? Object.entries(one).flat().join(' ') : (one ?? ''))).join(' ').toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** The labels that say more than the row does already. */
export function otherLabels(alert: Pick<Alert, 'labels'>): [string, string][] {
  return Object.entries(alert.labels).filter(([name]) => name !== 'alertname' && name !== 'severity');
}
