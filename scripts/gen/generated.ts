// The contract of a generator: a file of this folder that exports `generate`. It derives pages from what the product
// itself holds (schemas, catalogues, results), so that the two cannot drift apart.

/** One generated file. `path` is relative to the repository. */
export type Generated = { readonly path: string; readonly text: string };

export type Generator = () => Generated[] | Promise<Generated[]>;

/** The first line of every generated page. */
export const notice = '<!-- Made by "npm run gen". Edit the source named there, not this file. -->';
