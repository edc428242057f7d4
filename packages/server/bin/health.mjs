#!/usr/bin/env node
// Is the server of this data directory ready? For a container's health check: exit code 0 when /readyz answers 200, else 1. A plain script, because
// it runs every few seconds beside the server and the whole command line would take half a second of its processor each time.
//
//   node packages/server/bin/health.mjs [data directory]         default: DOORBUSTER_DATA, ./data
//
// Where the server listens it has written itself (server.json), so port and TLS need not be told twice. With TLS the certificate is not checked: it
// names the public host, this asks 127.0.0.1, nothing secret is sent, and whether members can trust it is another question than whether the process lives.

import { readFileSync } from 'node:fs';
import { get as getHttp } from 'node:http';
import { get as getHttps } from 'node:https';
import { join } from 'node:path';

const patienceMs = 3_000;
const dataDir = process.argv[2] ?? process.env.DOORBUSTER_DATA ?? 'data';

/** @param {string} why */
const unhealthy = (why) => {
  process.stderr.write(`${why}\n`);
  process.exit(1);
};

/** @returns {URL} */
function address() {
  try {
    return new URL('/readyz', JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')).local);
  } catch {
    return unhealthy(`no server has started on ${dataDir}`);
  }
}

const url = address();
const get = url.protocol === 'https:' ? getHttps : getHttp;
get(url, { rejectUnauthorized: false, timeout: patienceMs }, ({ statusCode }) =>
  statusCode === 200 ? process.exit(0) : unhealthy(`${url} answers ${statusCode}`),
)
  .on('timeout', () => unhealthy(`${url} does not answer`))
  .on('error', (error) => unhealthy(`${url}: ${error.message}`));
