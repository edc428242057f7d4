/** `doorbuster member ...`: what concerns one member. */
import type { Command } from 'commander';
import { contextOf } from './context.ts';
import { confirmIrreversible } from './options.ts';

export function registerMember(program: Command, env: NodeJS.ProcessEnv): void {
  const group = program.command('member').description("erase a member's personal data, or bar a member");
  group
    .command('erase <campaign> <memberId>')
    .description('remove contact, attributes and answers; the entry and the chain of records stay')
    .option('--confirm <memberId>', 'the member id, typed again: this cannot be undone')
    .action(async (id: string, memberId: string, options: { confirm?: string }, command: Command) => {
      const context = contextOf(command, env);
      await confirmIrreversible(context, memberId, options.confirm, 'What is erased cannot be brought back.');
      const reply = await context
        .client()
        .call('POST', `/v1/campaigns/${encodeURIComponent(id)}/erasures`, { body: { memberId } });
      context.terminal.data(reply.json, `${id}  erased`);
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
