//! Backends that answer at once with their own name, a thread for each connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::Result;

/// Starts one for each name. They end with the process.
pub(super) fn start(names: &[&'static str]) -> Result<Vec<SocketAddr>> {
    names.iter().map(|name| origin(name)).collect()
}

fn origin(name: &'static str) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // An end or an error of a connection is for Ostler to see and to answer for.
            thread::spawn(move || serve(&stream, name));
        }
    });
    Ok(address)
}

/// None of the requests has a body.
fn serve(stream: &TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line == b"\r\n" {
            writer.write_all(answer.as_bytes())?;
        }
        line.clear();
    }
    Ok(())
}
