/** Colours that mean something: the level of a log record, the service of a span. */

export type Level = 'fatal' | 'error' | 'warn' | 'info' | 'debug';

/** From the gravest to the least. */
export const LEVELS: readonly Level[] = ['fatal', 'error', 'warn', 'info', 'debug'];

/** The levels of the table `logs` in each group. */
export const LEVEL_NAMES: Record<Level, readonly string[]> = {
  fatal: ['FATAL', 'CRITICAL'],
  error: ['ERROR'],
  warn: ['WARN', 'WARNING'],
  info: ['INFO'],
  debug: ['DEBUG'],
};

/** The group of a level; what is unknown counts as debug. */
export function levelOf(name: string): Level {
  return LEVELS.find((level) => LEVEL_NAMES[level].includes(name)) ?? 'debug';
}

/** How many colours app.css has for services. */
const HUES = 12;

const taken = new Map<string, number>();

/**
 * The number of a service's colour. It comes from the name; where another service of this session has that colour
 * already, the next free one is taken, so that a dozen services can be told apart.
 */
export function hue(service: string): number {
  const known = taken.get(service);
  if (known !== undefined) return known;
  let hash = 2166136261;
  for (let i = 0; i < service.length; i += 1) hash = Math.imul(hash ^ service.charCodeAt(i), 16777619);
  let found = (hash ^ (hash >>> 15)) >>> 0;
  const used = new Set(taken.values());
  for (let tries = 0; tries < HUES && used.has(found % HUES); tries += 1) found += 1;
  taken.set(service, found % HUES);
  return found % HUES;
}

/** The colour of a service, as a CSS value. */
export function serviceColour(service: string): string {
  return `var(--hue-${hue(service)})`;
}

/** What a CSS variable is now, for a canvas. */
export function resolved(variable: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
