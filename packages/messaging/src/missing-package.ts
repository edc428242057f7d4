/** What `import` says, and what `require` says. */
const NOT_FOUND: ReadonlySet<unknown> = new Set(['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND']);

/** Whether it is this package that could not be loaded, by the name in quotes: the paths in Node's message name others, too. */
export function isMissingPackage(error: unknown, name: string): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return NOT_FOUND.has(code) && String(message).includes(`'${name}'`);
}
