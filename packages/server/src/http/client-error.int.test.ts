import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { onClientError } from './client-error.ts';

it('answers broken HTTP and lets go of the socket, though the sender never closes it', async () => {
  const server = createServer().on('clientError', (error, socket) => onClientError(error, socket as Socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  // Half open: the server's end of the conversation does not end this one's.
  const sender = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [held] = (await once(server, 'connection')) as [Socket];
  const released = once(held, 'close');
  sender.write('GET / HTTP/1.1\r\nno header\r\n\r\n');
  // Read by hand: the consumers of streams destroy what they have read to its end.
  let answer = '';
  sender.on('data', (chunk: Buffer) => {
    answer += chunk.toString();
  });
  await once(sender, 'end');
  expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
  expect(answer).toContain('"code":"request-invalid"');
  await released;
  sender.destroy();
  server.close();
});

it('never calls a whole request refused for what follows it: its answer comes, and the connection ends', async () => {
  let answer = (): void => {};
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      answer = () => void response.writeHead(201, { 'content-length': 4 }).end('kept');
      server.emit('asked');
    });
  }).on('clientError', (error, socket) => {
    onClientError(error, socket as Socket);
    server.emit('broken');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const sender = connect({ port, host: '127.0.0.1' });
  const all = Promise.all([once(server, 'asked'), once(server, 'broken')]);
  sender.write('POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}}');
  await all;
  answer();
  let text = '';
  for await (const chunk of sender) text += String(chunk);
  expect(text).toMatch(/^HTTP\/1\.1 201 /);
  expect(text).not.toContain('400');
  expect(text.endsWith('kept')).toBe(true);
  server.close();
});
