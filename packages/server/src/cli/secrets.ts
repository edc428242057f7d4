/** `doorbuster secrets rotate`: new keys in the secrets file, for the next start of the server. */
import { type Command, Option } from 'commander';
import { secretsPath } from '../paths.ts';
import { type Rotation, rotateSecrets } from '../secrets.ts';
import { contextOf } from './context.ts';

const effects: Record<Rotation, string> = {
  sessions: 'New sessions are signed with a new key; those already given stay valid until they end.',
  signing:
    'New receipts are signed with a new key; the older public keys stay published, so older receipts verify.',
  token: 'The shop must use the new shared secret from the next start on.',
};

export function registerSecrets(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('secrets')
    .description('rotate what the secrets file holds')
    .command('rotate')
    .description('make a new key; takes effect at the next start of the server')
    .addOption(
      new Option('--what <what>', 'which').choices(['sessions', 'signing', 'token']).makeOptionMandatory(),
    )
    .action((options: { what: Rotation }, command: Command) => {
      const context = contextOf(command, env);
      rotateSecrets(secretsPath(context.config()), options.what, Date.now());
      context.terminal.data({ rotated: options.what }, `rotated: ${options.what}`);
      context.terminal.say(`${effects[options.what]} Restart the server for it to take effect.`);
    });
}
