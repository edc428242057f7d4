// What each server of this folder says about itself: which programs and packages it needs, which processes it consists of, and when one of
// them is ready. Nothing here touches the machine, so that a test can read the whole plan without any server; processes.ts starts what is planned here.

import type { Buffer } from 'node:buffer';
import type { Programs } from './programs.ts';

export const serverNames = ['postgres', 'mariadb', 'redis', 'rabbitmq', 'kafka', 'zookeeper'] as const;
export type ServerName = (typeof serverNames)[number];

export const isServerName = (name: string): name is ServerName =>
  (serverNames as readonly string[]).includes(name);

/** Where servers are put. Two layouts with another folder and other ports never meet. */
export interface Layout {
  /** Absolute; holds data, logs, pid files and `env`. */
  readonly folder: string;
  /** The first of a thousand ports; each server has its own distance from it (ports.ts). */
  readonly firstPort: number;
  /** Three nodes of RabbitMQ and of Kafka instead of one. */
  readonly cluster: boolean;
  /** A server that refuses to run as root is started as the user its package made. */
  readonly asRoot: boolean;
}

/** Asks one port one thing: the server is ready when `isReady` likes the first bytes it answers. */
export interface Probe {
  readonly port: number;
  /** Empty where the server speaks first. */
  readonly send: Buffer;
  readonly isReady: (reply: Buffer) => boolean;
}

/** One command that has to end well before the process is started, for instance the one that makes an empty database. */
export interface Preparation {
  readonly program: string;
  readonly args: readonly string[];
}

/** One process, as it will be started. */
export interface ProcessPlan {
  /** Also the name of its pid file, its log and its data folder. */
  readonly name: string;
  readonly server: ServerName;
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Every port it listens on. */
  readonly ports: readonly number[];
  /** Owns its data where `asRoot`, and runs it; undefined: whoever starts it. */
  readonly user?: string;
  /** Started as root it changes to that user by itself, and insists on doing so. */
  readonly changesUserItself?: boolean;
  /** Ends it in order without waiting for its clients. */
  readonly stopSignal: 'SIGTERM' | 'SIGINT';
  /** Files written before each start, by absolute path. */
  readonly files?: Readonly<Record<string, string>>;
  /** Run once: while its data folder does not hold `mark` yet. */
  readonly preparation?: { readonly mark: string; readonly steps: readonly Preparation[] };
  readonly probe?: Probe;
  /** Stopped after the others of its server, because they need it. */
  readonly isAuxiliary?: boolean;
}

/** Processes that are started side by side; the next wave waits until all of them are ready. */
export type Wave = readonly ProcessPlan[];

export interface Server {
  readonly name: ServerName;
  /** How Debian calls what has to be installed. */
  readonly packages: readonly string[];
  /** Programs it needs, with the folders beside PATH where Debian puts them (`*` stands for a version, the highest is taken). */
  readonly programs: Readonly<Record<string, readonly string[]>>;
  /** The environment variables by which tests find it. */
  readonly urls: (layout: Layout) => Readonly<Record<string, string>>;
  /** `hasData`: it was started before, and has to come again as what it was. */
  readonly waves: (layout: Layout, programs: Programs, hasData: boolean) => readonly Wave[];
  /** Whether `--cluster` makes three of it; the others stay single. */
  readonly canCluster: boolean;
  /** A command that ends well once the nodes have found each other; only asked for a cluster. */
  readonly joined?: (
    layout: Layout,
    programs: Programs,
  ) => Preparation & { readonly env: ProcessPlan['env'] };
}
