/**
 * One publish on a confirm channel, with the same frames on the wire as amqplib's own `publish` makes and less work: that one lets its table of headers
 * INHERIT from ours, and to walk what is inherited is slow. 7.6 us of processor against 3.0 for the encoding of a message with six headers, where all of a publish takes some 35.
 *
 * It uses two methods of the client that its documentation does not name. A client without them gets the documented call.
 */
import type { ConfirmChannel } from 'amqplib';
import type { Parcel } from './wire.ts';

type OnConfirm = (error: unknown) => void;

interface Inside {
  readonly sendMessage?: (fields: object, properties: object, content: Buffer) => boolean;
  readonly pushConfirmCallback?: (onConfirm: OnConfirm) => void;
}

const PERSISTENT = 2;
const TRANSIENT = 1;

/** Mandatory in any case. Throws when the channel is closed, and TypeError or RangeError for what AMQP cannot carry; nothing was sent then. */
export function send(
  channel: ConfirmChannel,
  exchange: string,
  routingKey: string,
  { content, options }: Parcel,
  onConfirm: OnConfirm,
): void {
  const inside = channel as ConfirmChannel & Inside;
  if (!inside.sendMessage || !inside.pushConfirmCallback) {
    channel.publish(exchange, routingKey, content, { ...options, mandatory: true }, onConfirm);
    return;
  }
  // The fields of the method and the properties of the message, which the client reads from one object each by their names.
  const fields = {
    exchange,
    routingKey,
    mandatory: true,
    contentType: options.contentType,
    headers: options.headers ?? {},
    deliveryMode: options.persistent === true ? PERSISTENT : TRANSIENT,
    priority: options.priority,
    messageId: options.messageId,
  };
  inside.sendMessage(fields, fields, content);
  inside.pushConfirmCallback(onConfirm);
}
