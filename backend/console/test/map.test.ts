import assert from 'node:assert/strict';
import { test } from 'vitest';
import { BOX, layout, line, ranks } from '../src/map/layout.ts';
import { boxes, state } from '../src/map/service.ts';

const calls = (...pairs: string[]) => pairs.map((pair) => ({ client: pair[0]!, server: pair[1]! }));

test('callers stand to the left of what they call, circles and calls to oneself notwithstanding', () => {
  for (const [edges, wanted] of [
    [calls('ab', 'bc', 'ac'), { a: 0, b: 1, c: 2 }],
    [calls('ab', 'bc', 'cb'), { a: 0, b: 1, c: 2 }],
    [calls('aa', 'ab'), { a: 0, b: 1, c: 0 }],
    [calls('ab', 'ba', 'bc'), { a: 0, b: 1, c: 2 }],
    [[], { a: 0, b: 0, c: 0 }],
  ] as const) {
    assert.deepEqual(Object.fromEntries(ranks(['a', 'b', 'c'], edges)), wanted, JSON.stringify(edges));
  }
});

test('no two services stand in the same place, and all of them inside', () => {
  const names = Array.from({ length: 60 }, (_, n) => `service-${n}`);
  const edges = names.flatMap((client, n) => [1, 2, 3].map((step) => ({ client, server: names[(n * step + step) % 60]! })));
  const { nodes, width, height } = layout(names, edges);
  assert.equal(nodes.size, 60);
  assert.equal(new Set([...nodes.values()].map(({ x, y }) => `${x} ${y}`)).size, 60);
  for (const { x, y } of nodes.values()) assert.ok(x >= 0 && y >= 0 && x + BOX.width <= width && y + BOX.height <= height, `${x} ${y}`);
});

test('a line that leads back goes underneath', () => {
  const [a, b] = [{ name: 'a', x: 0, y: 0 }, { name: 'b', x: 300, y: 0 }];
  assert.ok(line(a, b).startsWith(`M${BOX.width} `));
  assert.ok(line(b, a).startsWith(`M${300 + BOX.width / 2} ${BOX.height}`));
});

test('what is called and sends no spans has a box, with the calls of all who call it', () => {
  const figures = { service: 'a', calls: 10, errors: 1, p50_ms: 1, p95_ms: 2, p99_ms: 3 };
  const edge = (client: string, server: string, connection_type: string) => ({ client, server, connection_type, calls: 5, errors: 1, p95_ms: null });
  const found = boxes([figures], [edge('a', 'redis', 'database'), edge('b', 'redis', 'database'), edge('a', 'api.example', 'virtual_node')]);
  assert.deepEqual(found.map(({ name, sort, calls }) => [name, sort, calls]), [
    ['a', 'service', 10],
    ['redis', 'database', 10],
    ['b', 'service', 0],
    ['api.example', 'outside', 5],
  ]);
  assert.deepEqual([state(0, 0), state(1, 1000), state(1, 100), state(1, 20)], ['ok', 'ok', 'warn', 'error']);
});
