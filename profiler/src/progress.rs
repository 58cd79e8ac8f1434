//! What a user sees while a recording is made: a bar on stderr.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where a session says how far it is. Called from any thread.
pub trait Progress: Send + Sync {
    /// The recording runs. Called a few times a second.
    fn recording(&self, elapsed: Duration, samples: u64, lost: u64);
    /// It is over, and this takes a while: `resolving names`.
    fn phase(&self, what: &str);
    /// A line that stays, even without a terminal.
    fn message(&self, line: &str);
    /// Nothing more comes: the line is cleared.
    fn finish(&self);
    /// Connections to services as they are now. Called about ten times a second.
    fn pools(&self, _elapsed: Duration, _pools: &[PoolNow<'_>]) {}
}

/// Connections of a process to a service at one moment.
#[derive(Clone, Copy, Debug)]
pub struct PoolNow<'a> {
    pub pid: u32,
    pub process: &'a str,
    /// Address and port, or path.
    pub service: &'a str,
    pub connections: u64,
    pub in_use: u64,
    /// That its clients have asked of the process, and that it has not answered.
    pub requests: u64,
}

/// For tests, and for those who do not want to be told.
pub struct Silent;

impl Progress for Silent {
    fn recording(&self, _: Duration, _: u64, _: u64) {}
    fn phase(&self, _: &str) {}
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

/// Draws this often, a second.
const REFRESH: u8 = 5;

/// A bar on stderr; only the messages when that is no terminal.
pub struct Terminal {
    bar: ProgressBar,
    duration: Duration,
}

impl Terminal {
    pub fn new(duration: Duration) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(REFRESH)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self::with_target(duration, target)
    }

    fn with_target(duration: Duration, target: ProgressDrawTarget) -> Self {
        let length = duration.as_millis().try_into().unwrap_or(u64::MAX);
        let bar = ProgressBar::with_draw_target(Some(length), target);
        // No colours: nothing here needs them, and NO_COLOR needs no care.
        bar.set_style(style("{wide_bar} {msg}"));
        Self { bar, duration }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

/// `3/60 s  2,970 samples`, and the losses when there are some.
fn recording_line(elapsed: Duration, duration: Duration, samples: u64, lost: u64) -> String {
    let mut line = format!(
        "{}/{} s  {} samples",
        elapsed.as_secs(),
        seconds(duration),
        thousands(samples)
    );
    if lost > 0 {
        line.push_str(&format!("  {} lost", thousands(lost)));
    }
    line
}

/// Whole seconds without a point, others with what they need.
pub fn seconds(duration: Duration) -> String {
    let milliseconds = duration.subsec_millis();
    if milliseconds == 0 {
        return duration.as_secs().to_string();
    }
    let text = format!("{}.{milliseconds:03}", duration.as_secs());
    text.trim_end_matches('0').to_string()
}

/// `1,234,567`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

impl Progress for Terminal {
    fn recording(&self, elapsed: Duration, samples: u64, lost: u64) {
        let elapsed = elapsed.min(self.duration);
        self.bar
            .set_position(elapsed.as_millis().try_into().unwrap_or(u64::MAX));
        self.bar
            .set_message(recording_line(elapsed, self.duration, samples, lost));
    }

    fn phase(&self, what: &str) {
        self.bar.set_style(style("{spinner} {msg}"));
        self.bar.set_message(what.to_string());
        self.bar
            .enable_steady_tick(Duration::from_secs(1) / u32::from(REFRESH));
    }

    fn message(&self, line: &str) {
        // A closed stderr is no reason to end a recording.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "profiler: {line}");
        });
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line() {
        let line = |elapsed, samples, lost| {
            recording_line(
                Duration::from_millis(elapsed),
                Duration::from_secs(60),
                samples,
                lost,
            )
        };
        assert_eq!(line(3_900, 2_970, 0), "3/60 s  2,970 samples");
        assert_eq!(
            line(60_000, 1_234_567, 12),
            "60/60 s  1,234,567 samples  12 lost"
        );
        assert_eq!(seconds(Duration::from_millis(500)), "0.5");
        assert_eq!(seconds(Duration::from_secs(10)), "10");
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
    }

    #[test]
    fn it_may_be_driven_in_any_order() {
        let progress = Terminal::with_target(Duration::ZERO, ProgressDrawTarget::hidden());
        progress.phase("resolving names");
        progress.recording(Duration::from_secs(5), 1, 2);
        progress.finish();
        progress.recording(Duration::from_secs(6), 1, 2);
        progress.finish();
    }
}
