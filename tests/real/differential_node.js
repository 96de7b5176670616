// A backend that notes each request as the differential run wants it: differential_node.js PORT FILE
'use strict';
const { createHash } = require('node:crypto');
const { appendFileSync } = require('node:fs');
const { createServer } = require('node:http');

const [port, file] = process.argv.slice(2);
const note = (id, status, host, line, hash) =>
  appendFileSync(file, Buffer.from([id, status, host, line, hash].join('\t') + '\n', 'latin1'));

const server = createServer({ maxHeaderSize: 128 * 1024, keepAliveTimeout: 75_000 }, (request, response) => {
  const hash = createHash('sha1');
  const told = (status, digest) =>
    note(request.headers['x-request-id'], status, request.headers.host,
      `${request.method} ${request.url} HTTP/${request.httpVersion}`, digest);
  request.on('data', (data) => hash.update(data));
  request.on('error', () => told(400, '-'));
  request.on('end', () => {
    told(200, hash.digest('hex'));
    response.end('ok\n');
  });
});
server.requestTimeout = server.headersTimeout = 0;
server.on('clientError', (error, socket) => {
  // Either what Node does not take (a method it does not know), or a body that broke off.
  const text = (error.rawPacket ?? Buffer.alloc(0)).toString('latin1');
  const field = (name) => new RegExp(`\r\n${name}: *([^\r]*)`, 'i').exec(text)?.[1] ?? '-';
  const line = text.split('\r\n')[0];
  if (error.code !== 'ECONNRESET' && / HTTP\/1\.1$/.test(line)) {
    note(field('x-request-id'), 400, field('host'), line, '-');
  } else if (text) {
    note('-', 400, '-', line || 'garbage', '-');
  }
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
});
server.listen(Number(port), '127.0.0.1');
