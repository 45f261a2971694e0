import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

/**
 * Monaco writes its themes into `<style>` elements, which `style-src 'self'` forbids. Constructed style sheets are
 * under no such rule, so its one factory of style elements is pointed at ours (src/sql/sheet.ts).
 */
function monacoSheets(): Plugin {
  const wanted = "const style = document.createElement('style');";
  return {
    name: 'monaco-constructed-style-sheets',
    enforce: 'pre',
    transform(code, id) {
      if (!id.endsWith('/monaco-editor/esm/vs/base/browser/dom.js')) return null;
      if (!code.includes(wanted)) this.error('monaco creates its style elements elsewhere now: see vite.config.ts');
      const sheet = new URL('./src/sql/sheet.ts', import.meta.url).pathname;
      return {
        code: `import { styleElement } from ${JSON.stringify(sheet)};\n${code.replace(wanted, 'const style = styleElement();')}`,
        map: null,
      };
    },
  };
}

export default defineConfig({
  plugins: [monacoSheets(), svelte()],
  base: '/',
  optimizeDeps: { exclude: ['monaco-editor'] },
  server: {
    proxy: Object.fromEntries(
      ['/query', '/graph', '/search/semantic', '/tail', '/info', '/metrics', '/api/v1', '/health', '/ready'].map((path) => [
        path,
        { target: process.env['DEVMESH_URL'] ?? 'http://127.0.0.1:8000', changeOrigin: true },
      ]),
    ),
  },
  build: {
    target: 'es2022',
    // Data URLs would need `font-src data:` and the like.
    assetsInlineLimit: 0,
    // Monaco, loaded when the SQL page opens.
    chunkSizeWarningLimit: 3500,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
