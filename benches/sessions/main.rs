//! Sessions in numbers: what one costs, and what a million do to the program.
// `touch` asks the table alone, `million` the real program with a request for each session. Neither
// judges a time; `million` fails where a count is wrong that must be exact.

mod farm;
mod million;
mod process;
mod touch;
mod visitors;

use std::io::Write as _;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use ostler::net::heap::Allocator;

/// The allocator of the program, without which memory would cost something else here.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const USAGE: &str = "\
cargo bench --bench sessions -- touch [SESSIONS [ROUNDS]]
    builds a table of so many sessions (1000) and touches each of them in so many rounds (100)
cargo bench --bench sessions -- million [SESSIONS [SEED]]
    one request for each session (1000000) through $OSTLER, else the program built beside this one;
    the sessions' ids follow from the seed (1)";

fn main() -> Result<()> {
    // Cargo adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["touch", rest @ ..] => touch::touch(number(rest, 0, 1000)?, number(rest, 1, 100)?),
        ["million", rest @ ..] => {
            million::million(number(rest, 0, 1_000_000)?, number(rest, 1, 1)?)
        }
        // A plain `cargo bench` runs this program too, and has not asked for minutes of load.
        [] => print(USAGE),
        _ => bail!("{USAGE}"),
    }
}

/// The number at a place among the arguments, or what it is when nobody says it.
fn number<N: FromStr>(words: &[&str], place: usize, default: N) -> Result<N>
where
    N::Err: std::error::Error + Send + Sync + 'static,
{
    let Some(word) = words.get(place) else { return Ok(default) };
    word.parse().with_context(|| format!("{word} is no number that fits here"))
}

/// One line to standard output: the result.
fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot print")
}

/// One line to standard error: how far it is.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
