/**
 * The shop's mail provider: an SMTP server on plain sockets that takes every mail and counts it. In life it stands on another machine, so here it is
 * as thin as it can be; what sending costs Doorbuster (nodemailer, pooled connections, five round trips a mail) is all there.
 * It says its port, and answers `mails`.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { say, told } from './child-process.ts';

export interface MailSinkReady {
  readonly port: number;
}
export interface Mails {
  readonly count: number;
  /** ms since the epoch; 0 before the first. */
  readonly lastAt: number;
}

let count = 0;
let lastAt = 0;

const endOfMail = '\r\n.\r\n';

function converse(socket: Socket): void {
  let text = '';
  let inMail = false;
  socket.setEncoding('latin1').setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.write('220 sink\r\n');
  socket.on('data', (piece) => {
    text += String(piece);
    for (;;) {
      const end = inMail ? text.indexOf(endOfMail) : text.indexOf('\r\n');
      if (end < 0) return;
      const line = text.slice(0, end);
      text = text.slice(end + (inMail ? endOfMail.length : 2));
      if (inMail) {
        count += 1;
        lastAt = Date.now();
        inMail = false;
        socket.write('250 taken\r\n');
      } else inMail = answer(socket, line.slice(0, 4).toUpperCase());
    }
  });
}

/** True: what follows is a mail. */
function answer(socket: Socket, command: string): boolean {
  if (command === 'DATA') socket.write('354 go ahead\r\n');
  else if (command === 'QUIT') socket.end('221 bye\r\n');
  else socket.write('250 ok\r\n');
  return command === 'DATA';
}

const server = createServer(converse);
await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
await say({ port: (server.address() as AddressInfo).port } satisfies MailSinkReady);
await told({ mails: (): Mails => ({ count, lastAt }) });
process.exit(0);
