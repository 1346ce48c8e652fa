//! Evaluate what was trained or sampled: pooled estimates, stacked frames, classes of images, distances between samples.

pub(crate) mod classifier;
pub(crate) mod distances;
pub(crate) mod gradient_bias;
pub(crate) mod held_out;

use jarzynski::io::frame;
use jarzynski::polars::prelude::{Column, DataFrame, DataType};
use jarzynski::run::record;
use jarzynski::tch::Device;
use jarzynski::{Error, Estimate, Result, Run};

/// What `f` returns for each of `jobs`, in their order: on all cores on the CPU, each job on a thread of its own, so that the time a
/// job takes is its own; one after the other on another device. (In [`side_by_side`](jarzynski::numeric::side_by_side) a job that
/// waits for a loop of its own lends its thread to other jobs.)
///
/// # Errors
/// The first of `f`; a thread that ended early.
pub(crate) fn on_threads<T: Sync, R: Send>(
    jobs: &[T],
    device: Device,
    f: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let cores = if device == Device::Cpu { std::thread::available_parallelism().map_or(1, |n| n.get()) } else { 1 };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let drain = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match jobs.get(i) {
                Some(job) => done.push((i, f(job))),
                None => return done,
            }
        }
    };
    let mut all: Vec<(usize, Result<R>)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..cores.min(jobs.len().max(1))).map(|_| scope.spawn(drain)).collect();
        let lost = || Error::panic("a thread of an experiment", "it ended early");
        handles.into_iter().flat_map(|h| h.join().unwrap_or_else(|_| vec![(0, Err(lost()))])).collect()
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The mean of independent estimates, with the standard error that theirs give it.
pub(crate) fn pool(of: &[Estimate]) -> Estimate {
    let n = of.len() as f64;
    let square: f64 = of.iter().map(|e| e.se * e.se).sum();
    Estimate::new(of.iter().map(|e| e.value).sum::<f64>() / n, square.sqrt() / n)
}

/// The runs' frames one below the other with `method` and `seed` in front; a column that a run lacks is null in its rows.
pub(crate) fn stack(runs: &[(String, u64, Run)], columns: &[&str]) -> Result<DataFrame> {
    let mut frames = Vec::new();
    for (method, seed, run) in runs {
        let height = run.stats.height();
        let mut out = vec![
            Column::new("method".into(), vec![method.as_str(); height]),
            Column::new("seed".into(), vec![*seed as i64; height]),
        ];
        for name in columns {
            let integer = record::column(name).is_some_and(|c| c.integer);
            let kind = if integer { DataType::Int64 } else { DataType::Float64 };
            out.push(match frame::column(&run.stats, name) {
                Ok(c) => c.cast(&kind)?,
                Err(_) => Column::full_null((*name).into(), height, &kind),
            });
        }
        frames.push(DataFrame::new(height, out)?);
    }
    frame::concat(&frames)
}

/// `1.23 ± 0.05` with so many places; the value alone where there is no error, as of one seed.
pub(crate) fn with_error(value: f64, se: f64, places: usize) -> String {
    let error = if se.is_finite() { format!(" ± {se:.places$}") } else { String::new() };
    format!("{value:.places$}{error}")
}

/// As [`with_error`], with the sign of the value: for differences.
pub(crate) fn signed_with_error(value: f64, se: f64, places: usize) -> String {
    let sign = if value.is_sign_negative() { "" } else { "+" };
    format!("{sign}{}", with_error(value, se, places))
}
