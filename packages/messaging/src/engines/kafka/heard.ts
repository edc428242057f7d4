/**
 * A client none of whose connections can end the process by an error that nobody hears. @platformatic/kafka 2.12.1 listens to the first error of a connection only, and one that is
 * reset while it authenticates has two: that of the socket, and that of the request which failed with it. The second has no listener, and Node then throws it.
 *
 * What came of an error is told to whoever waits for an answer; there is nothing to do here.
 */
import type { Base } from '@platformatic/kafka';

/** The same client. Called when it is made, before it has a connection. */
export function heard<Client extends Base>(client: Client): Client {
  client.connections.on('connecting', ({ connection }) => {
    connection.on('error', () => {});
  });
  return client;
}
