/** Dark, light, or as the system says. */

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'devmesh.theme';
const system = matchMedia('(prefers-color-scheme: dark)');

function stored(): Theme {
  const value = localStorage.getItem(KEY);
  return value === 'light' || value === 'dark' ? value : 'system';
}

let chosen = $state<Theme>(stored());
let systemDark = $state(system.matches);
system.addEventListener('change', () => {
  systemDark = system.matches;
});

function apply(): void {
  if (chosen === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = chosen;
}
apply();

export const theme = {
  get chosen() {
    return chosen;
  },
  /** Whether it is dark now; charts and the editor are drawn anew when it changes. */
  get dark() {
    return chosen === 'system' ? systemDark : chosen === 'dark';
  },
  /** The other one of dark and light; back to the system's where that is the same. */
  toggle() {
    const dark = !this.dark;
    chosen = dark === systemDark ? 'system' : dark ? 'dark' : 'light';
    if (chosen === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
    apply();
  },
};
