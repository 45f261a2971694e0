/** Where the reader is: the path names the page, the query its state, so that an address can be handed to a colleague. */

interface Place {
  path: string;
  query: URLSearchParams;
}

const read = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search) });

let place = $state.raw<Place>(read());

window.addEventListener('popstate', () => {
  place = read();
});

export const route = {
  get path() {
    return place.path;
  },
  get query() {
    return place.query;
  },
};

/** Goes to another page. */
export function go(address: string): void {
  history.pushState(null, '', address);
  place = read();
}

/** Changes the state of this page; an empty value takes a name away. */
export function change(values: Record<string, string | string[]>, replace = false): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    query.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) if (one) query.append(name, one);
  }
  const search = query.toString();
  const address = search ? `${location.pathname}?${search}` : location.pathname;
  if (replace) history.replaceState(null, '', address);
  else history.pushState(null, '', address);
  place = read();
}

/** Links inside the application go without loading the page anew. */
export function follow(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const anchor = (event.target as Element).closest?.('a');
  if (!anchor || anchor.target || anchor.hasAttribute('download') || anchor.origin !== location.origin) return;
  if (!anchor.hasAttribute('data-app')) return;
  event.preventDefault();
  go(anchor.pathname + anchor.search);
}
