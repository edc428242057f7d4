/** `asyncapi`: the document of the service that a module of channels describes. No engine is asked. */
import { asyncApiOf, type AsyncApiServer } from '../../asyncapi/document.ts';
import type { Command } from '../command.ts';
import { exitMeanings } from '../exits.ts';
import { exitCodes, usage } from '../failure.ts';

export const asyncapi: Command = {
  name: 'asyncapi',
  summary: 'writes the AsyncAPI 3.1 document of the channels in --channels',
  details:
    'The module may export "publishes", "subscriptions" and "service" ({ title, version, description, servers }); options stand before it.',
  arguments: [],
  options: {
    title: { value: '<text>', description: 'name of the service' },
    'service-version': { value: '<text>', description: 'version of the service' },
    server: {
      value: '<name=url>',
      description: 'a server; may be given more than once. Credentials are left out',
      isMultiple: true,
    },
    prefix: { value: '<text>', description: 'of topics and exchanges', standard: 'doorbuster.' },
  },
  exits: {
    0: 'It wrote the document.',
    1: exitMeanings[1],
    2: 'Wrong command line, a file that is not there, or no title or version. Nothing was written.',
  },
  examples: [
    'asyncapi --channels ./channels.ts --title Shop --service-version 1.4.0 --server main=amqp://broker',
  ],
  async run({ module, values, terminal }) {
    const { channels, subscriptions, publishes, service } = await module();
    const title = values.text('title') ?? service.title;
    const version = values.text('service-version') ?? service.version;
    if (title === undefined || version === undefined)
      throw usage(
        'the service has no title or no version',
        'Give --title and --service-version, or export service = { title, version } from the module.',
      );
    const given = values.texts('server').map(serverOf);
    const prefix = values.text('prefix');
    const { description } = service;
    const document = asyncApiOf({
      title,
      version,
      ...(description === undefined ? {} : { description }),
      servers: given.length > 0 ? Object.fromEntries(given) : (service.servers ?? {}),
      channels,
      publishes,
      subscribes: subscriptions,
      ...(prefix === undefined ? {} : { prefix }),
    });
    terminal.data(document, () => JSON.stringify(document, null, 2));
    return exitCodes.ok;
  },
};

function serverOf(text: string): [string, AsyncApiServer] {
  const at = text.indexOf('=');
  if (at < 1) throw usage(`--server ${text}: not name=url`, 'Write it as --server main=amqp://broker.');
  return [text.slice(0, at), { url: text.slice(at + 1) }];
}
