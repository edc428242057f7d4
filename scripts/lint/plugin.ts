// The linter's side of boundaries.ts: finds every import, export-from and import() of a file and asks whether it is
// allowed. It holds no rule of its own.

import { relative, sep } from 'node:path';
import { refusalOf } from './boundaries.ts';

/** The little of the linter's plugin interface that is used here. */
type Source = { readonly type: string; readonly value?: unknown };
type Node = { readonly source?: Source | null };
type Context = {
  readonly cwd: string;
  readonly filename: string;
  report(finding: { node: Node; message: string }): void;
};

function visitor(context: Context) {
  const from = relative(context.cwd, context.filename).split(sep).join('/');
  const judge = (node: Node): void => {
    const specifier = node.source?.value;
    if (typeof specifier !== 'string') return;
    const message = refusalOf(from, specifier);
    if (message) context.report({ node, message });
  };
  return {
    ImportDeclaration: judge,
    ImportExpression: judge,
    ExportNamedDeclaration: judge,
    ExportAllDeclaration: judge,
    TSImportType: judge,
  };
}

const plugin = { meta: { name: 'doorbuster' }, rules: { boundaries: { create: visitor } } };

// The linter loads plugins by their default export.
export default plugin;
