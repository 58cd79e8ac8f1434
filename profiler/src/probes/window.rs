//! How long a probe watches, and what ends it early.

use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Debug)]
pub struct Window {
    pub duration: Duration,
    /// Becomes true when the probe shall end with what it has.
    pub stop: watch::Receiver<bool>,
}

impl Window {
    /// Returns when it shall end early.
    pub async fn stopped(&mut self) {
        // One that nobody can end any more ends by its duration.
        if self.stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
