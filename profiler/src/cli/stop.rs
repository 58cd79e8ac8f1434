//! Signals that end a probe early, with what it has.

use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// True once a signal asks for the end. A second one ends the process.
pub fn on_signals() -> anyhow::Result<watch::Receiver<bool>> {
    let (ask, asked) = watch::channel(false);
    let caught = || "cannot catch signals";
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signal = signal(kind).with_context(caught)?;
        let ask = ask.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if ask.send_replace(true) {
                    std::process::exit(130);
                }
            }
        });
    }
    Ok(asked)
}
