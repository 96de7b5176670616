// The application behind the run of real clients: clients_app.js PORT
//   /              a page that uploads, listens to events and talks over a WebSocket, and says how it went
//   /upload        length and SHA-256 of the body
//   /events        three server-sent events, the next one only when the one before has had time to arrive
//   /large         2 MiB of a pattern
//   /echo.Echo/…   gRPC's framing over HTTP/1.1: messages are echoed as they come, the status is a trailer
'use strict';
const { createHash } = require('node:crypto');
const { createServer } = require('node:http');

const page = `<!doctype html><title>clients</title><p id="said">working</p><script>
const said = (text) => { document.getElementById('said').textContent = text; };
const events = () => new Promise((done, failed) => {
  const source = new EventSource('/events'), got = [];
  source.onmessage = (event) => {
    got.push(event.data);
    if (got.length === 3) { source.close(); done(got.join(' ')); }
  };
  source.onerror = () => failed(new Error('events'));
});
const socket = () => new Promise((done, failed) => {
  const socket = new WebSocket('wss://' + location.host + '/ws');
  socket.onopen = () => socket.send('over a socket');
  socket.onmessage = (event) => { socket.close(1000); done(event.data); };
  socket.onerror = () => failed(new Error('socket'));
});
const upload = async () => {
  const form = new FormData();
  form.append('file', new Blob([new Uint8Array(3000000)]), 'file.bin');
  const answer = await fetch('/upload', { method: 'POST', body: form });
  return (await answer.json()).length > 3000000;
};
Promise.all([events(), socket(), upload()]).then(
  ([events, socket, upload]) => said([events, socket, upload].join(' | ')), (error) => said('failed: ' + error));
</script>`;

const large = Buffer.alloc(2 * 1024 * 1024, 'a line of the large file\n');
const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (path.startsWith('/upload')) {
    const hash = createHash('sha256');
    let length = 0;
    request.on('data', (data) => { length += data.length; hash.update(data); });
    request.on('end', () => response.end(JSON.stringify({ length, sha256: hash.digest('hex') })));
  } else if (path === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    let sent = 0;
    const timer = setInterval(() => {
      response.write(`data: ${['one', 'two', 'three'][sent]}\n\n`);
      if (++sent === 3) clearInterval(timer);
    }, 50);
    response.on('close', () => clearInterval(timer));
  } else if (path === '/large') {
    response.setHeader('content-length', large.length);
    response.end(large);
  } else if (path.startsWith('/echo.Echo/')) {
    response.writeHead(200, { 'content-type': 'application/grpc', trailer: 'grpc-status, grpc-message' });
    response.flushHeaders();
    const fails = path.endsWith('/Fail');
    request.on('data', (data) => fails || response.write(data));
    request.on('end', () => {
      response.addTrailers(fails ? { 'grpc-status': '5', 'grpc-message': 'not here' } : { 'grpc-status': '0' });
      response.end();
    });
  } else {
    response.setHeader('content-type', 'text/html');
    response.end(path === '/' ? page : `${request.method} ${request.url}\n`);
  }
});
server.listen(Number(process.argv[2]), '127.0.0.1');
