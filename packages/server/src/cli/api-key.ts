/** `doorbuster api-key ...`: operator keys with scopes. A secret is shown once. */
import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { instant, whole } from './options.ts';

export function registerApiKey(program: Command, env: NodeJS.ProcessEnv): void {
  const group = program.command('api-key').description('create, list, rotate and revoke operator API keys');
  group
    .command('create <name>')
    .description('make a key; its secret is shown once')
    .option('--scope <scope...>', 'what it may do (default: everything)')
    .option('--expires-at <time>', 'when it stops working: RFC 3339, with its offset', instant)
    .action(async (name: string, options: { scope?: string[]; expiresAt?: number }, command: Command) => {
      const context = contextOf(command, env);
      const body = {
        name,
        scopes: options.scope ?? ['*'],
        ...(options.expiresAt !== undefined ? { expiresAt: new Date(options.expiresAt).toISOString() } : {}),
      };
      const reply = await context.client().call('POST', '/v1/api-keys', { body });
      context.terminal.data(reply.json, String(reply.json.token));
      context.terminal.say('Keep it now: it is not shown again.');
    });
  group
    .command('list')
    .description('list keys, without secrets')
    .action(async (_options, command: Command) => {
      const context = contextOf(command, env);
      const reply = await context.client().call('GET', '/v1/api-keys');
      context.terminal.table((reply.json.items ?? []) as Record<string, unknown>[], [
        'keyId',
        'name',
        'scopes',
        'lastUsedAt',
        'revokedAt',
      ]);
    });
  group
    .command('rotate <keyId>')
    .description('give a key a new secret; it is shown once')
    .option('--grace <seconds>', 'how long the old secret still works, at most a week', whole, 86_400)
    .action(async (keyId: string, options: { grace: number }, command: Command) => {
      const context = contextOf(command, env);
      const reply = await context
        .client()
        .call('POST', `/v1/api-keys/${encodeURIComponent(keyId)}/rotations`, {
          body: { graceSeconds: options.grace },
        });
      context.terminal.data(reply.json, String(reply.json.token));
      context.terminal.say('Keep it now: it is not shown again.');
    });
  group
    .command('revoke <keyId>')
    .description('end a key at once')
    .action(async (keyId: string, _options, command: Command) => {
      const context = contextOf(command, env);
      const reply = await context.client().call('DELETE', `/v1/api-keys/${encodeURIComponent(keyId)}`);
      context.terminal.data(reply.json, `${keyId}  revoked`);
    });
}
