import { expect, test } from 'vitest';
import { matches, otherLabels, queryLink } from '../src/alerts/fetch.ts';

test('a rule leads to the page of its language, with its query', () => {
  expect(queryLink({ expr: 'up == 0 & 1' })).toBe('/promql?q=up+%3D%3D+0+%26+1');
  expect(queryLink({ sql: "SELECT 'a'" })).toBe('/sql?q=SELECT+%27a%27');
});

test('all words have to stand somewhere', () => {
  expect(matches('CART page', 'Slow', { service: 'cart', severity: 'page' })).toBe(true);
  expect(matches('cart db', 'Slow', { service: 'cart' })).toBe(false);
  expect(matches('', undefined)).toBe(true);
});

test('what the row says already is no further label', () => {
  expect(otherLabels({ labels: { alertname: 'A', host: 'x', severity: 'page' } })).toEqual([['host', 'x']]);
});
