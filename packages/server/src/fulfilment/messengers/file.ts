/**
 * The `file` messenger, for development: each message is one line of JSON appended to a file, synced before `sent` is said.
 *
 * Lines that arrive while a sync runs share the next one, so a thousand messages cost a few syncs. It reaches everyone, contact or not. It
 * holds voucher codes in clear, so it is no messenger for production, and nobody reads it back as evidence.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '@doorbuster/messaging';
import { makeDirectory } from '../../make-directory.ts';
import type { Messenger, SendResult } from '../messenger.ts';

export interface FileMessengerOptions {
  readonly name: string;
  readonly path: string;
  readonly clock: Clock;
}

interface Line {
  readonly text: string;
  readonly written: (result: SendResult) => void;
}

export function createFileMessenger({ name, path, clock }: FileMessengerOptions): Messenger {
  let file: Promise<FileHandle> | null = null;
  let waiting: Line[] = [];
  let flushing: Promise<void> | null = null;
  let running = false;

  const opened = (): Promise<FileHandle> => {
    file ??= Promise.try(() => makeDirectory(dirname(path)))
      .then(() => open(path, 'a', 0o600))
      .catch((error: unknown) => {
        file = null;
        throw error;
      });
    return file;
  };

  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const lines = waiting;
      waiting = [];
      const result = await append(lines.map((line) => line.text).join(''), opened);
      for (const line of lines) line.written(result);
    }
    // In the same turn as the last look at `waiting`, or a line that comes in between would wait for ever.
    running = false;
  };

  return {
    name,
    canReach: () => true,
    send({ messageId, deliveryId, campaignId, contact, subject, text, voucher, locale }) {
      const record = {
        messageId,
        deliveryId,
        campaignId,
        contact,
        subject,
        text,
        voucher,
        locale,
        at: clock.now(),
      };
      return new Promise<SendResult>((written) => {
        waiting.push({ text: `${JSON.stringify(record)}\n`, written });
        if (running) return;
        running = true;
        flushing = flush();
      });
    },
    async check() {
      try {
        await opened();
        return [];
      } catch (error) {
        return [`The file ${path} cannot be written: ${String(error)}`];
      }
    },
    async close() {
      await flushing;
      const handle = await file;
      file = null;
      await handle?.close();
    },
  };
}

/** A failed open wrote nothing. A failed write or sync may have left the line, or half of it. */
async function append(text: string, opened: () => Promise<FileHandle>): Promise<SendResult> {
  let handle: FileHandle;
  try {
    handle = await opened();
  } catch (error) {
    return { result: 'refused', errorCode: 'file-unwritable', detail: String(error), permanent: false };
  }
  try {
    await handle.appendFile(text, 'utf8');
    await handle.datasync();
    return { result: 'sent' };
  } catch (error) {
    return { result: 'unknown', errorCode: 'file-write-failed', detail: String(error) };
  }
}
