// panva's oidc-provider for the tests: PKCE enforced, one confidential client, its own pages to sign in at.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import Provider from 'oidc-provider';

const [chain, key, port, host, back] = process.argv.slice(2);
const provider = new Provider(`https://${host}:${port}`, {
  clients: [{ client_id: 'wellkeep', client_secret: 's3cr3t:/+ of the client', redirect_uris: [back] }],
  pkce: { required: () => true },
  claims: { openid: ['sub', 'groups'] },
  conformIdTokenClaims: false,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: ['clinicians'] }) }),
});
const server = https.createServer({ cert: readFileSync(chain), key: readFileSync(key) }, provider.callback());
server.listen(Number(port), '127.0.0.1', () => process.stdout.write('ready\n'));
