/** Where things lie in a data directory. */
import { join } from 'node:path';
import type { Config } from './config.ts';

export const ledgerPath = (dataDir: string): string => join(dataDir, 'ledger.sqlite');
export const busPath = (dataDir: string): string => join(dataDir, 'bus.sqlite');
/** Address and process id of the running server, for the CLI on the same machine. */
export const serverInfoPath = (dataDir: string): string => join(dataDir, 'server.json');
/** The operator key of the CLI on the same machine; mode 0600. */
export const operatorKeyPath = (dataDir: string): string => join(dataDir, 'operator-key');
export const secretsPath = (config: Config): string =>
  config.secretsFile ?? join(config.dataDir, 'secrets.json');
