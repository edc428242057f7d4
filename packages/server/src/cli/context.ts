/** What every command is given: the terminal, the environment, the configuration and the way to the server. Made once in `program.ts`. */
import type { Command } from 'commander';
import { type Config, loadConfig } from '../config.ts';
import { type ApiClient, createClient } from './client.ts';
import { createTerminal, type Terminal } from './terminal.ts';

/** The options of the program itself; valid before and behind the command. */
export interface GlobalOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly input?: boolean;
  readonly data?: string;
  readonly config?: string;
  readonly url?: string;
  readonly apiKey?: string;
}

export interface Context {
  readonly terminal: Terminal;
  readonly env: NodeJS.ProcessEnv;
  readonly options: GlobalOptions;
  /** Reads the configuration; flags of the command come last. */
  config(flags?: Readonly<Record<string, unknown>>): Config;
  client(): ApiClient;
}

export function contextOf(command: Command, env: NodeJS.ProcessEnv): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  const config: Context['config'] = (flags = {}) => {
    const file = options.config ?? env.DOORBUSTER_CONFIG;
    return loadConfig({
      ...(file ? { file } : {}),
      environment: env,
      flags: { dataDir: options.data, ...flags },
    });
  };
  return {
    terminal: createTerminal(
      { json: options.json === true, quiet: options.quiet === true, input: options.input !== false },
      env,
    ),
    env,
    options,
    config,
    client: () => createClient({ url: options.url, apiKey: options.apiKey, dataDir: config().dataDir, env }),
  };
}
