/**
 * The SMTP messenger: plain-text e-mail over pooled connections, with a Message-ID that is the same for every sending of a delivery.
 *
 * What a failure means hangs on one fact: had the server begun to read the message? nodemailer streams the body only after the server
 * has said "354, go ahead", so a body nobody has read is a message nobody has.
 *
 *   the server answered 4xx             refused, for now       (also to the final dot: it says it did not take it)
 *   the server answered 5xx             refused; for good when it is about this recipient or content (MAIL, RCPT, DATA), not about us
 *   no answer, body not read            refused, for now       (no connection, TLS, login, a stale pooled connection)
 *   no answer, body read                unknown                (the mail may be on its way)
 *
 * nodemailer's own requeueing is off: a second sending is the saga's decision, because it counts them.
 */
import type { Readable } from 'node:stream';
import { createTransport } from 'nodemailer';
import type { Messenger, OutgoingMessage, SendResult } from '../messenger.ts';

export interface SmtpMessengerOptions {
  readonly name: string;
  /** `smtp://host:587`, `smtps://user:password@host:465`. */
  readonly url: string;
  /** `Shop <vouchers@shop.example>` */
  readonly from: string;
  /** Connections at the same time. Default 16. */
  readonly connections?: number;
  /** Silence of the server after which a connection counts as dead, ms. Default 10,000. */
  readonly timeoutMs?: number;
}

const MESSAGES_PER_CONNECTION = 500;

export function createSmtpMessenger(options: SmtpMessengerOptions): Messenger {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const transport = createTransport({
    pool: true,
    url: options.url,
    maxConnections: options.connections ?? 16,
    maxMessages: MESSAGES_PER_CONNECTION,
    maxRequeues: 0,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  transport.use('stream', (mail, done) => {
    const { onBody } = mail.data as unknown as { onBody?: (body: Readable) => void };
    mail.message.processFunc((input) => {
      onBody?.(input as Readable);
      return input;
    });
    done();
  });

  return {
    name: options.name,
    canReach: (contact) => contact.email !== undefined,
    async send(message) {
      const bodies: Readable[] = [];
      const mail = { ...mailOf(options.from, message), onBody: (body: Readable) => void bodies.push(body) };
      try {
        const info = await transport.sendMail(mail);
        return { result: 'sent', providerRef: String(info.response ?? '').slice(0, 200) };
      } catch (error) {
        return resultOf(
          error as SmtpError,
          bodies.some((body) => body.readableDidRead),
        );
      }
    },
    async check(testAddress) {
      try {
        await transport.verify();
        if (testAddress !== undefined) await transport.sendMail(testMail(options.from, testAddress));
        return [];
      } catch (error) {
        return [`The SMTP server of "${options.name}" cannot be used: ${(error as Error).message}`];
      }
    },
    async close() {
      transport.close();
    },
  };
}

/** What nodemailer adds to an Error. */
interface SmtpError extends Error {
  readonly code?: string;
  readonly responseCode?: number;
  readonly command?: string;
}

export function resultOf(error: SmtpError, bodyRead: boolean): SendResult {
  const detail = error.message;
  if (error.responseCode !== undefined && error.responseCode >= 400) {
    const aboutThisMail = error.code === 'EENVELOPE' || error.code === 'EMESSAGE';
    return {
      result: 'refused',
      errorCode: `smtp-${error.responseCode}`,
      detail,
      permanent: error.responseCode >= 500 && aboutThisMail,
    };
  }
  const condition = (error.code ?? 'failed').toLowerCase();
  if (bodyRead) return { result: 'unknown', errorCode: `smtp-${condition}`, detail };
  return { result: 'refused', errorCode: `smtp-${condition}`, detail, permanent: error.code === 'EENVELOPE' };
}

function mailOf(from: string, message: OutgoingMessage) {
  return {
    from,
    // As an object, so that an address is never parsed as a list of addresses.
    to: { name: '', address: message.contact.email ?? '' },
    messageId: `<${message.messageId}>`,
    subject: message.subject,
    text: message.text,
    headers: { 'Auto-Submitted': 'auto-generated', 'Content-Language': message.locale },
    signal: message.signal,
  };
}

function testMail(from: string, to: string) {
  return {
    from,
    to: { name: '', address: to },
    subject: 'Doorbuster test',
    text: 'This is a test of the messenger. Nothing was given away.',
  };
}
