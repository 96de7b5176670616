// Node's own fetch: clients_fetch.mjs URL
const [url] = process.argv.slice(2);
const expect = (what, got, wanted) => {
  if (got !== wanted) throw new Error(`${what}: ${got} instead of ${wanted}`);
};
const pages = await Promise.all(Array.from({ length: 30 }, async (_, index) =>
  (await fetch(`${url}/page-${index}`)).text()));
pages.forEach((text, index) => expect('a page', text, `GET /page-${index}\n`));

async function* parts() {
  for (let index = 0; index < 40; index++) yield new Uint8Array(50_000).fill(index);
}
const answer = await fetch(`${url}/upload`, { method: 'POST', body: ReadableStream.from(parts()), duplex: 'half' });
expect('a streamed upload', (await answer.json()).length, 2_000_000);

const large = await fetch(`${url}/upload/small`, { method: 'POST', body: new Uint8Array(20_000_000) });
expect('an upload that is too large', large.status, 413);

const reader = (await fetch(`${url}/events`)).body.getReader();
const first = new TextDecoder().decode((await reader.read()).value);
expect('the first event on its own', first, 'data: one\n\n');
await reader.cancel();

const gone = new AbortController();
const late = fetch(`${url}/events`, { signal: gone.signal }).then((it) => it.text());
gone.abort();
expect('an abort', await late.then(() => 'none', (error) => error.name), 'AbortError');
