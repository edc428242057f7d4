/** What the examples leave on servers that others use too, and how it goes again. Not for applications: an engine keeps what it is told to keep. */
import { Admin } from '@platformatic/kafka';
import { connect } from 'amqplib';
import { clientOf } from '../engines/kafka/conformance-fixture.ts';
import { createLadder } from '../engines/rabbitmq/delay-ladder.ts';
import { namesOf } from '../engines/rabbitmq/names.ts';
import { openClient } from '../redis/client.ts';
import { deleteAll } from '../redis/testing/keys.ts';

/** Channels and subscriptions of the examples that run on servers. */
const made = [
  ['order.placed', 'mailer'],
  ['image.uploaded', 'thumbnails'],
  ['account.moved', 'ledger'],
  ['sum.wanted', 'calculator'],
] as const;

/** What the RabbitMQ engine made under this prefix, its ladder included, goes again: a shared broker keeps everything. */
export async function cleanRabbit(url: string, prefix: string): Promise<void> {
  const model = await connect(url);
  const channel = await model.createChannel();
  const names = namesOf(prefix, 8);
  for (const [name, subscription] of made) {
    const own = `${prefix}${name}/s/${subscription}`;
    const lanes = Array.from({ length: 8 }, (_, lane) => [`${own}/${lane}`, `${own}/notes/${lane}`]);
    const alone = [own, `${own}/notes`, `${own}/bindings`, names.dead(name, subscription)];
    for (const queue of [names.unclaimed(name), names.partitionMark(name), ...alone, ...lanes.flat()])
      await channel.deleteQueue(queue);
    for (const exchange of [names.exchange(name), names.unclaimed(name)])
      await channel.deleteExchange(exchange);
  }
  await channel.deleteExchange(names.hints);
  await createLadder(prefix).remove(channel);
  await model.close();
}

export async function cleanRedis(url: string, prefix: string): Promise<void> {
  const client = await openClient({ url, name: prefix, connectTimeoutMs: 5_000 });
  await deleteAll(client, prefix);
  client.end();
}

export async function cleanKafka(url: string, prefix: string): Promise<void> {
  const admin = new Admin(clientOf(url));
  try {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix));
    if (topics.length > 0) await admin.deleteTopics({ topics });
  } finally {
    await admin.close();
  }
}
