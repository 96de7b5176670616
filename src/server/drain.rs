//! The end of a listener or of the process, which many connections wait for.

use tokio_util::sync::CancellationToken;

/// The end of a listener or of the process, for those who must go.
#[derive(Debug, Clone)]
pub struct Ending(CancellationToken);

impl Ending {
    /// Not yet.
    #[expect(clippy::new_without_default, reason = "an end is begun, not defaulted")]
    pub fn new() -> Self {
        Self(CancellationToken::new())
    }

    /// It begins now.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    pub fn begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when it begins.
    pub fn wait(&self) -> impl Future<Output = ()> + use<> {
        self.0.clone().cancelled_owned()
    }
}
