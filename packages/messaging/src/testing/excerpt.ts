/**
 * A block of a page as it stands in its example: without the import lines that a page gives it so that it can be pasted (the compiler checks those in
 * snippets.int.test.ts), and in the folder of the example's run instead of the reader's.
 */
export const excerptOf = (block: string): string =>
  block.replaceAll(/^import [^;]*;\n+(?!$)/gm, '').replaceAll("'sqlite:./bus.db'", "inFolder('bus.db')");
