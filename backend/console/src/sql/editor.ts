/** The editor. This file is loaded when the SQL page opens: Monaco is large. */

import * as monaco from 'monaco-editor/esm/vs/editor/editor.api';
import 'monaco-editor/esm/vs/basic-languages/sql/sql.contribution';
import 'monaco-editor/esm/vs/editor/contrib/bracketMatching/browser/bracketMatching';
import 'monaco-editor/esm/vs/editor/contrib/clipboard/browser/clipboard';
import 'monaco-editor/esm/vs/editor/contrib/comment/browser/comment';
import 'monaco-editor/esm/vs/editor/contrib/find/browser/findController';
import 'monaco-editor/esm/vs/editor/contrib/hover/browser/hoverContribution';
import 'monaco-editor/esm/vs/editor/contrib/linesOperations/browser/linesOperations';
import 'monaco-editor/esm/vs/editor/contrib/multicursor/browser/multicursor';
import 'monaco-editor/esm/vs/editor/contrib/suggest/browser/suggestController';
import 'monaco-editor/esm/vs/editor/contrib/wordOperations/browser/wordOperations';
import editorWorker from 'monaco-editor/esm/vs/editor/editor.worker?worker&url';
import type { TableDoc } from '../api.ts';
import { openKey, position, suggest, type Suggestion } from './complete.ts';

/** What the browser has of Trusted Types; TypeScript does not know them. */
interface TrustedTypes {
  createPolicy: (name: string, rules: { createScriptURL: () => string }) => { createScriptURL: (text: string) => unknown };
}

// The server's policy takes no text for the address of a script: this one is known when the console is built.
const { trustedTypes } = self as unknown as { trustedTypes?: TrustedTypes };
const scripts = trustedTypes?.createPolicy('devmesh', { createScriptURL: () => editorWorker });

self.MonacoEnvironment = {
  getWorker: () => new Worker((scripts?.createScriptURL('') ?? editorWorker) as string, { type: 'module' }),
};

/** What the completions know. */
export interface Knowledge {
  tables: TableDoc[];
  /** The keys of a map in the tables that a query names. */
  keys: (query: string, map: string) => Promise<string[]>;
}

export interface Editor {
  text: () => string;
  setText: (text: string) => void;
  insert: (text: string) => void;
  /** Underlines what an error names; null takes the mark away. */
  mark: (message: string | null) => void;
  setDark: (dark: boolean) => void;
  focus: () => void;
  dispose: () => void;
}

const KINDS: Record<Suggestion['kind'], monaco.languages.CompletionItemKind> = {
  table: monaco.languages.CompletionItemKind.Struct,
  column: monaco.languages.CompletionItemKind.Field,
  function: monaco.languages.CompletionItemKind.Function,
  keyword: monaco.languages.CompletionItemKind.Keyword,
  attribute: monaco.languages.CompletionItemKind.Property,
};

const escaped = (text: string) => text.replaceAll("'", "''");

function provider(knowledge: Knowledge): monaco.languages.CompletionItemProvider {
  return {
    triggerCharacters: [' ', '.', "'"],
    async provideCompletionItems(model, at) {
      const query = model.getValue();
      const before = query.slice(0, model.getOffsetAt(at));
      const key = openKey(before);
      if (key) {
        const found = await knowledge.keys(query, key.map);
        const range = new monaco.Range(at.lineNumber, at.column - key.written.length, at.lineNumber, at.column);
        return { suggestions: found.map((label) => ({ label, kind: KINDS.attribute, insertText: escaped(label), range })) };
      }
      const word = model.getWordUntilPosition(at);
      const range = new monaco.Range(at.lineNumber, word.startColumn, at.lineNumber, word.endColumn);
      const suggestions = suggest(query, before, knowledge.tables).map(({ kind, label, insert, detail, doc, order }) => ({
        label,
        kind: KINDS[kind],
        insertText: insert,
        detail,
        documentation: doc,
        sortText: `${order}${label}`,
        range,
      }));
      return { suggestions };
    },
  };
}

function themes(): void {
  for (const [name, base, background] of [['devmesh-dark', 'vs-dark', '#151a21'], ['devmesh-light', 'vs', '#ffffff']] as const) {
    monaco.editor.defineTheme(name, { base, inherit: true, rules: [], colors: { 'editor.background': background } });
  }
}

/** Puts an editor into `host`. */
export function open(host: HTMLElement, text: string, dark: boolean, knowledge: Knowledge, onrun: () => void, onchange: (text: string) => void): Editor {
  themes();
  const completion = monaco.languages.registerCompletionItemProvider('sql', provider(knowledge));
  const editor = monaco.editor.create(host, {
    value: text,
    language: 'sql',
    theme: dark ? 'devmesh-dark' : 'devmesh-light',
    automaticLayout: true,
    ariaLabel: 'Query',
    fontSize: 13,
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue('--mono'),
    lineNumbersMinChars: 3,
    minimap: { enabled: false },
    scrollBeyondLastLine: false,
    renderLineHighlight: 'none',
    overviewRulerLanes: 0,
    padding: { top: 8, bottom: 8 },
    wordBasedSuggestions: 'off',
    fixedOverflowWidgets: true,
    tabSize: 2,
  });
  const model = editor.getModel();
  if (model) editor.setPosition(model.getFullModelRange().getEndPosition());
  editor.addCommand(monaco.KeyMod.CtrlCmd | monaco.KeyCode.Enter, onrun);
  editor.onDidChangeModelContent(() => {
    if (model) monaco.editor.setModelMarkers(model, 'devmesh', []);
    onchange(editor.getValue());
  });

  return {
    text: () => {
      const selection = editor.getSelection();
      const chosen = selection && model ? model.getValueInRange(selection).trim() : '';
      return chosen || editor.getValue();
    },
    setText: (wanted) => editor.setValue(wanted),
    insert: (wanted) => {
      editor.trigger('console', 'type', { text: wanted });
      editor.focus();
    },
    mark: (message) => {
      const at = message ? position(message) : null;
      if (!model) return;
      if (!message || !at || at.line > model.getLineCount()) return monaco.editor.setModelMarkers(model, 'devmesh', []);
      const word = model.getWordAtPosition({ lineNumber: at.line, column: at.column });
      const marker = {
        severity: monaco.MarkerSeverity.Error,
        message,
        startLineNumber: at.line,
        startColumn: word?.startColumn ?? at.column,
        endLineNumber: at.line,
        endColumn: word?.endColumn ?? at.column + 1,
      };
      monaco.editor.setModelMarkers(model, 'devmesh', [marker]);
    },
    setDark: (now) => monaco.editor.setTheme(now ? 'devmesh-dark' : 'devmesh-light'),
    focus: () => editor.focus(),
    dispose: () => {
      completion.dispose();
      model?.dispose();
      editor.dispose();
    },
  };
}
