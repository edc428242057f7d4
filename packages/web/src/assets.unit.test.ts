import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compactScript } from './assets.ts';

const folder = new URL('./browser/', import.meta.url);
const sources = readdirSync(folder).map((name) => ({
  name,
  text: readFileSync(new URL(name, folder), 'utf8'),
}));

/** What would break `compactScript`, by line. */
function faultsOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => {
    const code = line.trim();
    if (/^(?:\/\/|\/\*|\*)/.test(code)) return false;
    const bare = code.replace(/'[^']*'|`[^`]*`/g, '');
    return bare.includes('/*') || bare.includes('//') || /['"`]/.test(bare);
  });
}

describe('the browser script', () => {
  it.each(sources)('$name keeps the rules that let it be delivered without a bundler', ({ text }) => {
    expect(faultsOf(text)).toEqual([]);
  });

  it.each([
    ['a comment behind code', 'const a = 1; // why'],
    ['a comment inside code', 'const a = /* why */ 1;'],
    ['a template over lines', 'const a = `one'],
    ['a text with an escaped quote', String.raw`const a = 'it\'s';`],
    ['a text in double quotes', 'const a = "b";'],
  ])('control: %s is seen', (_, line) => {
    expect(faultsOf(line)).toEqual([line]);
  });

  it('loses comments and indentation only', () => {
    expect(
      compactScript("/**\n * Why.\n */\n\nconst f = (a        ) => {\n  // so\n  return a  + ' ( ';\n};\n"),
    ).toBe("const f=(a)=>{\nreturn a+' ( ';\n};");
  });
});
