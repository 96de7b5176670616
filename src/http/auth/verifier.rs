//! Tries passwords beside the workers, for that is slow on purpose: a few at a time, each client in
//! its turn, and what was found right is known for a while.
// A password that is being tried is tried once for all who wait for it: a browser that comes back
// after an hour sends thirty requests at once.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::sync::oneshot;

use super::line::{Line, Refused};
use crate::net::clock;
use crate::route::{Tag, Verified};
use crate::snapshot::PasswordHash;

/// Seconds for which credentials are known after their last use. They are known with the hash that
/// they were right for, so that a new password holds at once.
const KEEP: u32 = 300;
/// How long an answer is waited for: ten passwords of the dearest kind before it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Exchanges that wait for one and the same password.
const TOGETHER: usize = 256;
/// Threads at most: what they do takes memory as well.
const THREADS: usize = 2;
/// Whoever tries passwords gives way to who serves.
const NICE: i32 = 5;

/// What came of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the user's.
    Right,
    /// It is not.
    Wrong,
    /// Its client has as many passwords waiting as one may have.
    TooMany,
    /// Too many wait, or it took too long.
    Busy,
}

/// Tries passwords, and knows those that were right. One for the process.
#[derive(Debug)]
pub struct Verifier {
    key: hmac::Key,
    verified: OnceLock<Verified>,
    work: Arc<Work>,
    threads: usize,
}

/// What the threads share with those who wait.
#[derive(Debug, Default)]
struct Work(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    line: Line<Job>,
    waiting: HashMap<Tag, Vec<oneshot::Sender<bool>>>,
    /// Threads that run. One that finds nothing to do ends: to start one is nothing beside a
    /// password.
    running: usize,
}

struct Job {
    tag: Tag,
    hash: PasswordHash,
    password: Box<[u8]>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job(redacted)")
    }
}

impl Verifier {
    /// With a secret of its own. Nothing runs, and little is allocated, before it is asked.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn new() -> io::Result<Self> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| io::Error::other("the system has no randomness"))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            verified: OnceLock::new(),
            work: Arc::default(),
            threads: (cores / 2).clamp(1, THREADS),
        })
    }

    /// What stands for a user, the hash and the password in the table.
    pub(super) fn tag(&self, hash: &PasswordHash, name: &[u8], password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [hash.text().as_bytes(), name, password] {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let signed = context.sign();
        let mut words =
            signed.as_ref().chunks_exact(8).map(|it| it.try_into().map_or(0, u64::from_le_bytes));
        let mut word = || words.next().unwrap_or_default();
        Tag([word(), word()])
    }

    /// Whether this was found right not long ago.
    pub(super) fn knows(&self, tag: Tag) -> bool {
        self.verified.get().is_some_and(|verified| verified.holds(tag, clock::unix()))
    }

    /// It was found right.
    pub(super) fn remember(&self, tag: Tag) {
        self.verified.get_or_init(|| Verified::new(KEEP)).add(tag, clock::unix());
    }

    /// Has a password tried for this client.
    pub(super) async fn verify(
        &self,
        tag: Tag,
        hash: &PasswordHash,
        password: &[u8],
        client: IpAddr,
    ) -> Verdict {
        let answer = match self.ask(tag, hash, password, client) {
            Ok(answer) => answer,
            Err(Refused::Client) => return Verdict::TooMany,
            Err(Refused::Full) => return Verdict::Busy,
        };
        match clock::within(Some(PATIENCE), answer).await {
            Some(Ok(true)) => Verdict::Right,
            Some(Ok(false)) => Verdict::Wrong,
            // Pushed out, or too late.
            Some(Err(_)) | None => Verdict::Busy,
        }
    }

    fn ask(
        &self,
        tag: Tag,
        hash: &PasswordHash,
        password: &[u8],
        client: IpAddr,
    ) -> Result<oneshot::Receiver<bool>, Refused> {
        let (tell, answer) = oneshot::channel();
        let mut state = self.work.state();
        if let Some(together) = state.waiting.get_mut(&tag) {
            if together.len() >= TOGETHER {
                return Err(Refused::Full);
            }
            together.push(tell);
            return Ok(answer);
        }
        let job = Job { tag, hash: hash.clone(), password: password.into() };
        if let Some(pushed) = state.line.join(client, job)? {
            state.waiting.remove(&pushed.tag);
        }
        state.waiting.insert(tag, vec![tell]);
        if state.running < self.threads {
            state.running += 1;
            let work = Arc::clone(&self.work);
            let started =
                std::thread::Builder::new().name("passwords".to_owned()).spawn(move || work.run());
            if let Err(error) = started {
                state.running -= 1;
                if state.running == 0 {
                    // Nobody would ever come for them.
                    *state = State::default();
                }
                drop(state);
                tracing::error!(%error, "no thread to try passwords");
            }
        }
        Ok(answer)
    }
}

impl Work {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries what waits, until nothing does.
    fn run(&self) {
        // For this thread alone, as Linux has it. Without it, it is as dear as the others.
        let _ = rustix::process::setpriority_process(None, NICE);
        while let Some(job) = self.next() {
            let tried = catch_unwind(AssertUnwindSafe(|| job.hash.matches(&job.password)));
            let waiting = self.state().waiting.remove(&job.tag);
            for tell in waiting.into_iter().flatten() {
                // Who has left hears nothing.
                let _ = tell.send(tried.as_ref().is_ok_and(|right| *right));
            }
        }
    }

    /// The next that somebody still waits for.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            let Some(job) = state.line.next() else {
                state.running -= 1;
                return None;
            };
            let tells = state.waiting.get(&job.tag);
            if tells.is_some_and(|tells| tells.iter().any(|tell| !tell.is_closed())) {
                return Some(job);
            }
            state.waiting.remove(&job.tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    /// Of `secret`.
    const HASH: &str = "$2y$04$rV4zNY3JmwMA7KZTcaj3DOLvQUzkTfVI8npzV76DLAgBKDemZ3r86";

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(async {
            let clock = clock::run(|| {});
            tokio::select! {
                output = future => output,
                () = clock => unreachable!("a clock has no end"),
            }
        })
    }

    #[test]
    fn a_password_is_right_or_wrong_and_threads_end_when_there_is_nothing_to_do() {
        let verifier = Verifier::new().unwrap();
        let hash = PasswordHash::read(HASH).unwrap();
        for _ in 0..2 {
            for (password, verdict) in [("secret", Verdict::Right), ("Secret", Verdict::Wrong)] {
                let tag = verifier.tag(&hash, b"anna", password.as_bytes());
                assert!(!verifier.knows(tag));
                let asked = verifier.verify(tag, &hash, password.as_bytes(), client(1));
                assert_eq!(block_on(asked), verdict);
            }
        }
        let state = || verifier.work.state();
        while state().running > 0 {
            std::thread::yield_now();
        }
        assert!(state().waiting.is_empty() && state().line.next().is_none());
    }

    #[test]
    fn what_was_right_is_known_with_its_user_and_hash_alone() {
        let verifier = Verifier::new().unwrap();
        let hash = PasswordHash::read(HASH).unwrap();
        let other = PasswordHash::read(&HASH.replace("$2y$", "$2b$")).unwrap();
        let tag = verifier.tag(&hash, b"anna", b"secret");
        verifier.remember(tag);
        assert!(verifier.knows(verifier.tag(&hash, b"anna", b"secret")));
        for (hash, name, password) in [
            (&other, &b"anna"[..], &b"secret"[..]),
            (&hash, b"anna", b"Secret"),
            (&hash, b"ann", b"asecret"),
            (&hash, b"bert", b"secret"),
        ] {
            assert!(!verifier.knows(verifier.tag(hash, name, password)));
        }
        assert!(!Verifier::new().unwrap().knows(tag), "each process has a secret of its own");
    }

    #[test]
    fn one_client_has_no_more_than_its_part_of_the_line_and_equals_wait_together() {
        let mut verifier = Verifier::new().unwrap();
        // Nobody comes for them.
        verifier.threads = 0;
        let hash = PasswordHash::read(HASH).unwrap();
        let ask = |password: String, client: IpAddr| {
            let tag = verifier.tag(&hash, b"anna", password.as_bytes());
            verifier.ask(tag, &hash, password.as_bytes(), client)
        };
        let mut asked = Vec::new();
        for number in 0..super::super::line::EACH {
            asked.push(ask(number.to_string(), client(1)).unwrap());
        }
        assert_eq!(ask("more".to_owned(), client(1)).unwrap_err(), Refused::Client);
        asked.push(ask("0".to_owned(), client(1)).unwrap());
        asked.push(ask("more".to_owned(), client(2)).unwrap());
        verifier.work.state().running = 1;
        verifier.work.run();
        let answers = block_on(join_all(asked));
        assert!(answers.into_iter().all(|answer| answer == Ok(false)));
    }

    #[test]
    fn a_password_that_nobody_waits_for_any_more_is_not_tried() {
        let mut verifier = Verifier::new().unwrap();
        verifier.threads = 0;
        let hash = PasswordHash::read(HASH).unwrap();
        let tag = verifier.tag(&hash, b"anna", b"secret");
        drop(verifier.ask(tag, &hash, b"secret", client(1)).unwrap());
        verifier.work.state().running = 1;
        assert!(verifier.work.next().is_none());
        assert!(verifier.work.state().waiting.is_empty());
    }
}
