//! The binary's commands, run to their end under a deadline.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{SOON, within};

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; 128 where a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Both streams, for assertions that do not care which.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Panics unless the code is this one.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; it said:\n{}", self.text());
        self
    }
}

/// Runs `ostler` with these words.
pub(crate) async fn ostler(words: &[&str]) -> Output {
    ostler_in(Path::new("/"), words).await
}

/// Runs it in a folder, with an environment that finds no other process and no other file.
pub(crate) async fn ostler_in(directory: &Path, words: &[&str]) -> Output {
    let child = Command::new(env!("CARGO_BIN_EXE_ostler"))
        .args(words)
        .current_dir(directory)
        .env_remove("OSTLER_SOCKET")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("STATE_DIRECTORY")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    finish(child, &words.join(" ")).await
}

async fn finish(mut child: Child, what: &str) -> Output {
    // Read on threads of their own: a full pipe would stop the command.
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let mut guard = Kill(child);
    let status =
        within(SOON, &format!("the end of `ostler {what}`"), async || guard.0.try_wait().unwrap())
            .await;
    Output {
        code: status.code().unwrap_or(128),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A command that outlives its deadline does not outlive its test.
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
