/** `doorbuster member ...`: what concerns one member. */
import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { checked, confirmIrreversible, outcome } from './options.ts';

interface Erasure {
  readonly confirm?: string;
  readonly dryRun?: boolean;
}

export function registerMember(program: Command, env: NodeJS.ProcessEnv): void {
  const group = program.command('member').description("erase a member's personal data, or bar a member");
  group
    .command('erase <campaign> <memberId>')
    .description('remove contact, attributes and answers; the entry and the chain of records stay')
    .option('--confirm <memberId>', 'the member id, typed again: this cannot be undone')
    .option('--dry-run', 'only look whether there is anything to erase')
    .action(async (id: string, memberId: string, options: Erasure, command: Command) => {
      const context = contextOf(command, env);
      if (!options.dryRun)
        await confirmIrreversible(
          context,
          memberId,
          options.confirm,
          'What is erased cannot be brought back.',
        );
      const path = checked(`/v1/campaigns/${encodeURIComponent(id)}/erasures`, options);
      const reply = await context.client().call('POST', path, { body: { memberId } });
      context.terminal.data(reply.json, `${id}  ${outcome(options, 'erased')}`);
    });
  group
    .command('ban <campaign> <memberId>')
    .description('refuse further entries of a member')
    .option('--lift', 'allow them again')
    .action(async (id: string, memberId: string, options: { lift?: boolean }, command: Command) => {
      const context = contextOf(command, env);
      const client = context.client();
      const at = `/v1/campaigns/${encodeURIComponent(id)}`;
      // A member id never goes into an address: banning again answers with the member's key.
      const lift = async () => {
        const { memberKey } = (await client.call('POST', `${at}/bans`, { body: { memberId } })).json;
        return client.call('DELETE', `${at}/bans/${String(memberKey)}`);
      };
      const reply = options.lift
        ? await lift()
        : await client.call('POST', `${at}/bans`, { body: { memberId } });
      context.terminal.data(reply.json, `${id}  ${options.lift ? 'ban lifted' : 'banned'}`);
    });
}
