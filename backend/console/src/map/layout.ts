/** Where the services of the map stand: callers to the left of what they call, and lines that cross as seldom as is cheap. */

export interface Calls {
  client: string;
  server: string;
}

export interface Placed {
  name: string;
  x: number;
  y: number;
}

export interface Layout {
  nodes: Map<string, Placed>;
  width: number;
  height: number;
}

export const BOX = { width: 176, height: 54 };
const GAP = { x: 116, y: 26 };
const MARGIN = 24;
/** Rounds of putting each service beside those that it calls and that call it. */
const ROUNDS = 6;

/** How many calls away from the outside each service stands, at most; calls that go round in a circle do not count. */
export function ranks(names: readonly string[], edges: readonly Calls[]): Map<string, number> {
  const out = new Map<string, string[]>(names.map((name) => [name, []]));
  const called = new Set<string>();
  for (const { client, server } of edges) {
    if (client === server) continue;
    out.get(client)?.push(server);
    called.add(server);
  }
  // Callers that nobody calls come first, so that a circle is entered where it is entered from outside.
  const order = [...names].sort((a, b) => Number(called.has(a)) - Number(called.has(b)) || (a < b ? -1 : 1));
  const state = new Map<string, 'open' | 'done'>();
  const forward = new Map<string, string[]>();
  const sorted: string[] = [];
  for (const root of order) {
    if (state.has(root)) continue;
    state.set(root, 'open');
    const path = [{ name: root, next: 0 }];
    while (path.length > 0) {
      const top = path[path.length - 1]!;
      const server = out.get(top.name)?.[top.next];
      top.next += 1;
      if (server === undefined) {
        state.set(top.name, 'done');
        sorted.push(top.name);
        path.pop();
      } else if (state.get(server) !== 'open') {
        forward.set(top.name, [...(forward.get(top.name) ?? []), server]);
        if (!state.has(server)) {
          state.set(server, 'open');
          path.push({ name: server, next: 0 });
        }
      }
    }
  }
  const rank = new Map<string, number>(names.map((name) => [name, 0]));
  for (const name of sorted.reverse()) {
    for (const server of forward.get(name) ?? []) rank.set(server, Math.max(rank.get(server) ?? 0, (rank.get(name) ?? 0) + 1));
  }
  return rank;
}

/** Places the services in columns. */
export function layout(names: readonly string[], edges: readonly Calls[]): Layout {
  const rank = ranks(names, edges);
  const columns: string[][] = [];
  for (const name of [...names].sort()) (columns[rank.get(name) ?? 0] ??= []).push(name);
  const beside = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const { client, server } of edges) {
    if (client === server || !beside.has(client) || !beside.has(server)) continue;
    beside.get(client)?.push(server);
    beside.get(server)?.push(client);
  }
  const place = new Map<string, number>();
  const number = (column: string[]) => column.forEach((name, at) => place.set(name, at - (column.length - 1) / 2));
  columns.forEach(number);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const column of round % 2 === 0 ? columns : columns.toReversed()) {
      const wanted = new Map(
        column.map((name) => {
          const others = beside.get(name) ?? [];
          const sum = others.reduce((total, other) => total + (place.get(other) ?? 0), 0);
          return [name, others.length > 0 ? sum / others.length : (place.get(name) ?? 0)];
        }),
      );
      column.sort((a, b) => (wanted.get(a) ?? 0) - (wanted.get(b) ?? 0) || (a < b ? -1 : 1));
      number(column);
    }
  }
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const height = tallest * (BOX.height + GAP.y) - GAP.y + 2 * MARGIN;
  const nodes = new Map<string, Placed>();
  columns.forEach((column, at) => {
    const top = (height - (column.length * (BOX.height + GAP.y) - GAP.y)) / 2;
    column.forEach((name, row) => {
      nodes.set(name, { name, x: MARGIN + at * (BOX.width + GAP.x), y: top + row * (BOX.height + GAP.y) });
    });
  });
  const width = Math.max(1, columns.length) * (BOX.width + GAP.x) - GAP.x + 2 * MARGIN;
  return { nodes, width, height };
}

/** The line from a box to another: to the right out of the one and into the other; back underneath, where it leads back. */
export function line(from: Placed, to: Placed): string {
  const [y1, y2] = [from.y + BOX.height / 2, to.y + BOX.height / 2];
  if (to.x > from.x) {
    const [x1, x2] = [from.x + BOX.width, to.x];
    const bend = Math.max(40, (x2 - x1) / 2);
    return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  }
  const [x1, x2] = [from.x + BOX.width / 2, to.x + BOX.width / 2];
  const [b1, b2] = [from.y + BOX.height, to.y + BOX.height];
  const low = Math.max(b1, b2) + 30;
  return `M${x1} ${b1}C${x1} ${low} ${x2} ${low} ${x2} ${b2}`;
}

/** The middle of that line, for its label. */
export function middle(from: Placed, to: Placed): { x: number; y: number } {
  if (to.x > from.x) return { x: (from.x + BOX.width + to.x) / 2, y: (from.y + to.y + BOX.height) / 2 };
  return { x: (from.x + to.x + BOX.width) / 2, y: Math.max(from.y, to.y) + BOX.height + 22 };
}
