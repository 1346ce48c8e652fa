//! Read the table of errors: how often error bars hold the exact value, words for each method, the figure.

use super::SamplerBench;
use crate::Output;
use crate::evaluate::signed_with_error;
use jarzynski::io::frame::{self, Rows};
use jarzynski::polars::prelude::DataFrame;
use jarzynski::{Error, Result};

/// k̂ above which an error bar is doubted.
const HEAVY: f64 = 0.7;
/// Standard errors by which the lower end of a bracket is below the upper one, where the error bar is doubted.
const APART: f64 = 3.0;

/// Rows of one target and method.
fn of(errors: &DataFrame, target: &str, method: &str) -> Result<DataFrame> {
    frame::filter(&frame::filter(errors, "target", target)?, "method", method)
}

fn root_mean_square(v: &[f64]) -> f64 {
    (v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64).sqrt()
}

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

impl SamplerBench {
    /// log Ẑ − log Z, evaluations and the other columns of the runs of one budget, in the order of `budgets`.
    fn by_budget(&self, own: &DataFrame, column: &str) -> Result<Vec<Vec<f64>>> {
        let read = |c: &str| frame::column_f64(own, c);
        let v = match column {
            "error" => read("log_z")?.iter().zip(read("exact")?).map(|(z, e)| z - e).collect(),
            column => read(column)?,
        };
        Ok(v.chunks(self.seeds).map(<[f64]>::to_vec).collect())
    }

    pub(super) fn calibration(&self, errors: &DataFrame) -> Result<DataFrame> {
        let columns = ["target", "method", "runs", "known", "covered", "undoubted", "covered_undoubted"];
        let mut rows = Rows::new(&columns);
        for (target, method) in self.targets.iter().flat_map(|t| self.methods.iter().map(move |m| (t, m))) {
            let own = of(errors, target, method)?;
            let read = |c: &str| frame::column_f64(&own, c);
            let (z, se, exact) = (read("log_z")?, read("se")?, read("exact")?);
            let (upper, upper_se, k) = (read("log_z_upper")?, read("log_z_upper_se")?, read("pareto_k")?);
            let known: Vec<usize> = (0..z.len()).filter(|i| se[*i].is_finite()).collect();
            let sound = |i: &usize| k[*i] < HEAVY && upper[*i] - z[*i] < APART * se[*i].hypot(upper_se[*i]);
            let undoubted: Vec<usize> = known.iter().copied().filter(sound).collect();
            let holds = |i: &&usize| (z[**i] - exact[**i]).abs() < 1.96 * se[**i];
            let covered = [&known, &undoubted].map(|rows| rows.iter().filter(holds).count());
            let (target, method) = (target.as_str(), method.as_str());
            rows.push((target, method, z.len(), known.len(), covered[0], undoubted.len(), covered[1]));
        }
        rows.finish()
    }

    pub(super) fn say(&self, errors: &DataFrame, out: &mut Output) -> Result<()> {
        for (target, method) in self.targets.iter().flat_map(|t| self.methods.iter().map(move |m| (t, m))) {
            let own = of(errors, target, method)?;
            let last = |c: &str| Ok::<_, Error>(self.by_budget(&own, c)?.pop().unwrap_or_default());
            let (error, ess, modes, seconds) =
                (last("error")?, last("ess")?, last("coverage_modes")?, last("seconds")?);
            let (_, se) = frame::mean_se(&error);
            out.note(format!(
                "{target:<12} {method:<11} log Z off by {}, RMS {:.3}, lowest ESS {:.2}, modes {:.2}, {:.2} s",
                signed_with_error(mean(&error), se, 3),
                root_mean_square(&error),
                mean(&ess),
                mean(&modes),
                mean(&seconds)
            ));
        }
        Ok(())
    }

    #[cfg(feature = "plot")]
    pub(super) fn figure(&self, errors: &DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(1500, 900).columns(3).title("log Z at equal numbers of evaluations");
        for target in &self.targets {
            let mut panel =
                Panel::new(target).x("evaluations, those of the pilot included").y("RMS error of log Ẑ / nats");
            panel = panel.log_x().log_y();
            for method in &self.methods {
                let own = of(errors, target, method)?;
                let spent: Vec<f64> = self.by_budget(&own, "evaluations")?.iter().map(|v| mean(v)).collect();
                let error: Vec<f64> = self.by_budget(&own, "error")?.iter().map(|v| root_mean_square(v)).collect();
                panel = panel.line(method, &spent, &error).points(method, &spent, &error);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }
}
