/** Queries that were run, the last first, kept in this browser. */

const KEY = 'devmesh.queries';
const MOST = 50;

export function past(): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(stored) ? stored.filter((one): one is string => typeof one === 'string') : [];
  } catch {
    return [];
  }
}

export function remember(query: string): string[] {
  const text = query.trim();
  const all = [text, ...past().filter((one) => one !== text)].slice(0, MOST);
  localStorage.setItem(KEY, JSON.stringify(all));
  return all;
}
