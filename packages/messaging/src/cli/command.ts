/** What a command is: the table of them is the parser's input, the help, and the page of the documentation. */
import type { DecisionLog } from '../dead-letter-decisions.ts';
import type { DeadLetters } from '../dead-letter-desk.ts';
import type { Channel } from '../channel.ts';
import type { Clock } from '../clock.ts';
import type { EngineConnection } from '../engine.ts';
import type { MessageParts } from '../outgoing.ts';
import type { Exits } from './exits.ts';
import type { ExitCode } from './failure.ts';
import type { ChannelsModule } from './channels-module.ts';
import type { Terminal } from './terminal.ts';
import type { Unawaited } from './unawaited.ts';

export interface OptionSpec {
  /** Name of the value as help shows it; without one the option is a flag. */
  readonly value?: string;
  readonly description: string;
  readonly isRequired?: boolean;
  readonly isMultiple?: boolean;
  /** Shown in help; the command applies it. */
  readonly standard?: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

export interface Command {
  /** `dead-letters list`. */
  readonly name: string;
  readonly summary: string;
  /** Sentences below the summary, where there is more to know. */
  readonly details?: string;
  readonly arguments: readonly { readonly name: string; readonly description: string }[];
  readonly options: OptionSpecs;
  /** When it ends with which code. */
  readonly exits: Exits;
  /** Without `doorbuster-bus`. */
  readonly examples: readonly string[];
  run(context: CommandContext): Promise<ExitCode>;
}

/** Commands with one first word: what is said of that word alone. */
export interface Family {
  readonly name: string;
  readonly summary: string;
  readonly details: string;
}

export interface Session {
  readonly engine: string;
  readonly connection: EngineConnection;
  readonly deadLetters: DeadLetters;
  readonly module: ChannelsModule;
  readonly messageParts: MessageParts;
  /** What of the module was told as not there when the session began. */
  readonly absent: readonly string[];
  /** The server, which cannot list, has no channel of the module: what is not found may well be there under another name. */
  readonly nothingThere: boolean;
  readonly channel: (name: string) => Channel | undefined;
  /** Of the module; undefined where it exports none. */
  readonly decisions: () => Promise<DecisionLog | undefined>;
}

export interface CommandContext {
  readonly arguments: readonly string[];
  readonly values: Values;
  readonly terminal: Terminal;
  readonly clock: Clock;
  /** Of the process. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** For what must be told before something that nobody awaits ends the run. */
  readonly unawaited: Unawaited;
  /** Connects, at the first call; closed when the command is over. */
  readonly session: () => Promise<Session>;
  /** The channels of `--channels`, without connecting. */
  readonly module: () => Promise<ChannelsModule>;
  /** A file's text, or of `-` that of stdin. */
  readonly read: (path: string) => Promise<string>;
}

/** What was given on the command line. */
export class Values {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  texts(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.map(String) : [];
  }
}
