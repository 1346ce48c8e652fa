//! Say how far a long run is: a bar in a terminal, lines at intervals in a notebook or a log, nothing on request.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The progress of one run. Where standard error is no terminal, lines go to standard output, which evcxr forwards as they
/// come.
#[derive(Debug)]
pub(crate) struct Progress {
    label: String,
    /// What is counted, in the plural.
    unit: &'static str,
    /// Seconds between lines; 0 is silent.
    every: f64,
    first: usize,
    last: usize,
    started: Instant,
    spoken: Instant,
    has_spoken: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// From step `first` to `last`.
    pub fn new(label: &str, every: f64, first: usize, last: usize) -> Self {
        let terminal = every > 0.0 && std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(4);
            let bar = ProgressBar::with_draw_target(Some(last as u64), target).with_position(first as u64);
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(label.to_string())
        });
        let now = Instant::now();
        let (label, unit) = (label.into(), "updates");
        Progress { label, unit, every, first, last, started: now, spoken: now, has_spoken: false, bar }
    }

    /// With another word than updates for what is counted.
    pub fn counting(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Whether anything was shown.
    pub fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    /// At step k; `details` are computed only where they are shown.
    pub fn at(&mut self, k: usize, details: impl FnOnce() -> String) {
        if self.every == 0.0 {
            return;
        }
        // the bar throttles its drawing, but not the details
        let pause = if self.bar.is_some() { 0.25 } else { self.every };
        if self.spoken.elapsed().as_secs_f64() < pause {
            return;
        }
        (self.spoken, self.has_spoken) = (Instant::now(), true);
        let pace = pace(self.unit, (self.first, k, self.last), self.started.elapsed(), &details());
        if let Some(bar) = &self.bar {
            bar.set_position(k as u64);
            bar.set_message(pace);
            return;
        }
        println!("{} {k}/{}  {pace}", self.label, self.last);
    }

    /// The last words, if it may speak.
    pub fn end(&mut self, words: Option<&str>) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(words) = words.filter(|_| self.every > 0.0) {
            println!("{}: {words}", self.label);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Rate, details and what is left.
fn pace(unit: &str, (first, k, last): (usize, usize, usize), elapsed: Duration, details: &str) -> String {
    let rate = (k - first.min(k)) as f64 / elapsed.as_secs_f64().max(1e-9);
    let left = (last - k.min(last)) as f64 / rate.max(1e-9);
    let left = if left < 5_400.0 { format!("{left:.0} s") } else { format!("{:.1} h", left / 3_600.0) };
    let details = if details.is_empty() { String::new() } else { format!("  {details}") };
    format!("{rate:.1} {unit}/s{details}  {left} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_details_and_what_is_left() {
        let text = pace("updates", (100, 200, 400), Duration::from_secs(10), "ESS 0.5");
        assert_eq!(text, "10.0 updates/s  ESS 0.5  20 s left");
        assert!(pace("steps", (0, 1, 100_000), Duration::from_secs(1), "").ends_with("1.0 steps/s  27.8 h left"));
        assert!(pace("steps", (0, 0, 10), Duration::ZERO, "").starts_with("0.0 steps/s"));
    }

    #[test]
    fn what_is_short_or_silent_says_nothing() {
        for (every, speaks) in [(1e-6, true), (0.0, false), (60.0, false)] {
            let mut progress = Progress::new("test", every, 0, 2).counting("steps");
            progress.bar = None;
            std::thread::sleep(Duration::from_millis(1));
            progress.at(1, String::new);
            assert_eq!(progress.has_spoken(), speaks);
        }
    }
}
