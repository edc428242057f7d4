/** Reads a campaign definition from YAML (or JSON, which is YAML) and says every fault with its line. */
import { readFileSync } from 'node:fs';
import { LineCounter, parseDocument } from 'yaml';
import { CliError, exitCodes } from './failure.ts';

export function readYamlFile(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new CliError(
      exitCodes.usage,
      `${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'error'}).`,
      'Check the path.',
      { cause },
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    const faults = document.errors.map((e) => ({
      pointer: `${path}:${lines.linePos(e.pos[0]).line}`,
      message: e.message.split('\n')[0] ?? e.code,
    }));
    throw new CliError(exitCodes.usage, `${path} is not valid YAML.`, 'Mend the lines listed.', { faults });
  }
  const value = contentOf(document, path);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CliError(
      exitCodes.usage,
      `${path} is not a campaign definition.`,
      'Write a mapping of fields; see examples/giveaway/campaign.yaml.',
    );
  return value as Record<string, unknown>;
}

/** Aliases are bounded, or a small file could grow without end. */
function contentOf(document: ReturnType<typeof parseDocument>, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new CliError(
      exitCodes.usage,
      `${path} has aliases that lead nowhere, or too many of them.`,
      'Write the values out.',
      { cause },
    );
  }
}
