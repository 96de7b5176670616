//! From a file to a candidate that can be applied as a whole, or to all its mistakes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::change::Shapes;
use super::discover::{Answers, Book, Keep};
use super::remains::Remains;
use super::state::StateDir;
use super::unix;
use crate::admin::facts::{BoundListener, lock};
use crate::config::model::{Model, SecretKey};
use crate::config::{self, Loaded, Place, ProcessEnvironment, Report};
use crate::snapshot::compile::{Compiled, Inputs, compile};
use crate::snapshot::registry::Registry;
use crate::snapshot::{self, Snapshot};

/// The sockets that listeners accept on.
pub trait ListenerSockets {
    /// Sockets that are bound but not accepted on yet, and what is to be closed for them.
    type Prepared;

    /// Binds what the snapshot has and nothing has bound yet. What cannot be bound goes into the
    /// report, at the place that the model (whose listeners are in the same order) has for it.
    /// Nothing changes for listeners in force.
    fn prepare(
        &mut self,
        model: &Model,
        snapshot: &Snapshot,
        report: &mut Report,
    ) -> Option<Self::Prepared>;

    /// Accepts on what was prepared and closes what left, after the snapshot was published. Tells
    /// all addresses that are accepted on.
    fn commit(&mut self, prepared: Self::Prepared) -> Vec<BoundListener>;
}

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file, read again at each reload.
    File(PathBuf),
    /// A text made by the demo or the proxy.
    Text {
        /// What it is called; relative paths start at its folder.
        path: PathBuf,
        /// The whole configuration.
        text: Arc<str>,
    },
}

impl Origin {
    /// Reads and validates.
    ///
    /// # Errors
    /// Where it cannot be read, or with all its mistakes.
    pub fn read(&self) -> Result<Loaded, Report> {
        match self {
            Self::File(path) => config::load(path, &ProcessEnvironment, &snapshot::files::look),
            Self::Text { path, text } => config::parse(text, path, &ProcessEnvironment),
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Text { .. } => None,
        }
    }
}

/// Turns what was read into what can be applied.
#[derive(Debug)]
pub struct Loader {
    pub(super) origin: Origin,
    pub(super) registry: Arc<Mutex<Registry>>,
    pub(super) state: StateDir,
    pub(super) remains: Remains,
    /// Backends that DNS tells, as the generation in force has them.
    pub(super) book: Book,
    /// What DNS tells by now.
    pub(super) answers: Arc<Answers>,
    keep: Keep,
    made: Vec<SecretKey>,
    generation: u64,
}

/// A configuration that holds, with its sockets bound: nothing is left that could fail.
#[derive(Debug)]
pub struct Candidate<P> {
    pub(super) shapes: Shapes,
    pub(super) loaded: Loaded,
    pub(super) compiled: Compiled,
    pub(super) prepared: P,
    pub(super) book: Book,
}

impl<P> Candidate<P> {
    /// The snapshot that is going to be published.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.compiled.snapshot
    }

    /// What was read, with the warnings of all rooms.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }
}

impl Loader {
    /// Before the first generation.
    pub fn new(origin: Origin, registry: Arc<Mutex<Registry>>, state: StateDir) -> Self {
        let remains = Remains::load(state.clone(), &registry);
        let keep = Keep::new(state.clone());
        Self {
            origin,
            registry,
            remains,
            book: keep.load(),
            answers: Arc::default(),
            keep,
            state,
            made: Vec::new(),
            generation: 0,
        }
    }

    /// Loads certificates and keys, compiles, and binds new listeners. Nothing that is in force
    /// changes.
    ///
    /// # Errors
    /// With all mistakes, and the warnings.
    pub fn prepare<S: ListenerSockets>(
        &mut self,
        loaded: Loaded,
        sockets: &mut S,
    ) -> Result<Candidate<S::Prepared>, Report> {
        self.prepare_as(Shapes::of(&loaded.model), loaded, sockets)
    }

    /// As [`Loader::prepare`], for those who know already what it says.
    ///
    /// # Errors
    /// As [`Loader::prepare`].
    pub(super) fn prepare_as<S: ListenerSockets>(
        &mut self,
        shapes: Shapes,
        mut loaded: Loaded,
        sockets: &mut S,
    ) -> Result<Candidate<S::Prepared>, Report> {
        let mut report = loaded.report();
        self.make_key(&loaded.model, &mut report);
        let mut book = self.book.clone();
        book.follow(&loaded.model, unix());
        self.answers.enter(&mut book, &loaded.model, unix());
        let compiled = self.compile(&loaded.model, &book, None, &mut report);
        let prepared = compiled
            .as_ref()
            .and_then(|compiled| sockets.prepare(&loaded.model, &compiled.snapshot, &mut report));
        report.sort();
        match (compiled, prepared) {
            (Some(compiled), Some(prepared)) if !report.has_errors() => {
                loaded.warnings = report.mistakes;
                Ok(Candidate { shapes, loaded, compiled, prepared, book })
            }
            _ => {
                if !report.has_errors() {
                    let message = "it cannot be applied, and nobody said why: this is a bug";
                    report.error(message, &Place::default());
                }
                Err(report)
            }
        }
    }

    /// The configuration in force (`again`: its snapshot) with other backends where DNS tells them.
    /// Nothing is read from the disk: only what nobody could foresee fails (two ids of one hash).
    ///
    /// # Errors
    /// With all mistakes.
    pub(super) fn recompile(
        &self,
        loaded: &Loaded,
        book: &Book,
        again: &Snapshot,
    ) -> Result<Compiled, Report> {
        let mut report = loaded.report();
        match self.compile(&loaded.model, book, Some(again), &mut report) {
            Some(compiled) if !report.has_errors() => Ok(compiled),
            _ => Err(report),
        }
    }

    fn compile(
        &self,
        model: &Model,
        book: &Book,
        again: Option<&Snapshot>,
        report: &mut Report,
    ) -> Option<Compiled> {
        let expanded = (!book.is_empty()).then(|| book.expand(model));
        let model = expanded.as_ref().unwrap_or(model);
        let left = self.remains.with(model, unix());
        let inputs = Inputs {
            model,
            made_keys: &self.made,
            generation: self.generation + 1,
            ghosts: &left,
            again,
        };
        compile(inputs, &mut lock(&self.registry), report)
    }

    /// The generation that is in force from now on, with these of DNS.
    pub(super) fn applied(&mut self, snapshot: &Snapshot, book: Book) {
        self.generation = snapshot.generation;
        self.remains.applied(snapshot, unix());
        for (source, news) in book.news(&self.book) {
            let (pool, name) = (&*source.pool, &*source.name());
            let generation = self.generation;
            tracing::info!(
                event = "discovered",
                pool,
                name,
                generation,
                joined = ?news.joined,
                returned = ?news.returned,
                left = ?news.left,
                gone = ?news.gone,
                changed = ?news.changed,
                "a name has other backends"
            );
        }
        if book != self.book {
            self.keep.save(&book);
            self.book = book;
        }
    }

    /// A session key of our own where the file names none for some sticky pool.
    fn make_key(&mut self, model: &Model, report: &mut Report) {
        let wanted = model.sessions.keys.is_empty()
            && model.pools.iter().filter_map(|pool| pool.sticky.as_ref()).any(|s| s.keys.is_none());
        if wanted && self.made.is_empty() {
            match self.state.session_key() {
                Ok(key) => self.made.push(key),
                Err(problem) => {
                    report.error(problem, &Place::default());
                }
            }
        }
    }
}
