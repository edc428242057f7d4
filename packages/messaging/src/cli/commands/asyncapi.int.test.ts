/** `asyncapi`, as a process. */
import { expect, it } from 'vitest';
import { cli, module } from '../testing/fixture.ts';

it('writes the document of the module without asking an engine', async () => {
  const written = await cli('asyncapi', '--channels', module, '--service-version', '2.0.0');
  expect(written.code).toBe(0);
  expect(JSON.parse(written.out)).toMatchObject({
    asyncapi: '3.1.0',
    info: { title: 'Shop', version: '2.0.0' },
    channels: { 'order.placed': {}, 'price.asked.reply': { address: null } },
    operations: { 'receive.order.placed.mailer': { action: 'receive' } },
  });
});
