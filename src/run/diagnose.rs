//! Say in words what is suspect about a run: low ESS, unstable steps, uncertain log Z, odd acceptance, data far away.

use crate::error::Result;
use crate::io::frame;
use crate::run::Run;
use polars::prelude::{Column, DataFrame};
use std::fmt;

/// A reason to doubt a run's numbers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Warning {
    /// The code in the column `warning`.
    pub code: &'static str,
    /// The first step at which it was so.
    pub step: usize,
    /// In how many of the recorded rows it was so, as a fraction of those that have the column.
    pub share: f64,
    /// What it means, and what can be done.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// Values of a row by column name; NaN where there is none.
type Cells<'a> = dyn Fn(&str) -> f64 + 'a;

/// One rule: when a row is suspect, in what share of rows that is worth words, and the words.
struct Rule {
    code: &'static str,
    /// `None` where the row has not the column.
    suspect: fn(&Cells) -> Option<bool>,
    /// Least share of rows; what one row can prove has 0.
    share: f64,
    text: &'static str,
}

fn below(v: f64, bound: f64) -> Option<bool> {
    (!v.is_nan()).then_some(v < bound)
}

fn above(v: f64, bound: f64) -> Option<bool> {
    (!v.is_nan()).then_some(v > bound)
}

/// Standard deviations of the walkers' start above which data lie far outside it.
pub(crate) const FAR: f64 = 10.0;

const RULES: &[Rule] = &[
    Rule {
        code: "ess",
        suspect: |c| below(c("ess"), 0.1),
        share: 0.1,
        text: "ESS/N below .1: averages rest on few walkers. More walkers, smaller updates (`TrustRegion::Shrink`), or a higher `ess_min`",
    },
    Rule {
        code: "ess_monitor",
        suspect: |c| below(c("ess_monitor"), 0.1),
        share: 0.1,
        text: "ESS/N of the monitor below .1: its log Ẑ rests on few walkers. More monitor walkers, or smaller updates",
    },
    Rule {
        code: "log_z_se",
        suspect: |c| above(c("log_z_monitor_se"), 1.0).or_else(|| above(c("log_z_se"), 1.0)),
        share: 0.0,
        text: "the standard error of log Ẑ is above 1 nat: Ẑ itself is not known to a factor of e. More walkers, or smaller updates",
    },
    Rule {
        code: "bias",
        suspect: |c| {
            // as many walkers as the monitor has would scatter like it
            let error = std::f64::consts::SQRT_2 * c("log_z_monitor_se");
            let gap = (c("log_z") - c("log_z_monitor")).abs();
            (!gap.is_nan() && !error.is_nan()).then_some(gap > 3.0 * error.max(1e-9))
        },
        share: 0.1,
        text: "the training walkers' log Ẑ is off by more than error bars allow, since they drive θ themselves. Use `log_z_monitor` and `cross_entropy_monitor`",
    },
    Rule {
        code: "lineages",
        suspect: |c| {
            // of the population whose log Ẑ is told: the monitor, or the walkers of a transport
            let (left, z, se) = match c("lineages_monitor").is_nan() {
                false => (c("lineages_monitor"), c("log_z_monitor"), c("log_z_monitor_se")),
                true if c("t").is_nan() => return None,
                true => (c("lineages"), c("log_z"), c("log_z_se")),
            };
            (!left.is_nan() && !z.is_nan()).then_some(se.is_nan())
        },
        share: 0.1,
        text: "log Ẑ has no error bar: the walkers descend from {lineages} of those that started, and moves do not make them independent again. More steps, more walkers, or replicates with other seeds",
    },
    Rule {
        code: "step",
        suspect: |c| above(c("h_curvature"), 2.0),
        share: 0.0,
        text: "ULA's step is above its bound 2/λ_max somewhere: walkers there fly apart and weights become heavy-tailed. A smaller h, or MALA",
    },
    Rule {
        code: "acceptance",
        // along a prescribed path short steps cost time only; in training they cost mixing
        suspect: |c| below(c("acceptance"), 0.2).map(|low| low || (c("acceptance") > 0.95 && !c("lr").is_nan())),
        share: 0.5,
        text: "acceptance far from .57, where MALA mixes best: a smaller h if it is low, a larger one if it is near 1",
    },
    Rule {
        code: "step_fraction",
        suspect: |c| below(c("step_fraction"), 0.05),
        share: 0.1,
        text: "the ESS limit lets through less than a twentieth of the optimiser's step: a lower learning rate would change θ as much",
    },
    Rule {
        code: "scale",
        suspect: |c| above(c("data_distance"), FAR),
        share: 0.0,
        text: "the data lie {data_distance} standard deviations of the walkers' start away from it (root mean square), and walkers have to go all that way: scale the data (`Dataset::scale`), or make the start wider (a net's `sigma`)",
    },
];

/// The value of a column in a row.
fn cells<'a>(columns: &'a [(String, Vec<f64>)], row: usize) -> impl Fn(&str) -> f64 + 'a {
    move |name| columns.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, v)| v[row])
}

fn columns(df: &DataFrame) -> Vec<(String, Vec<f64>)> {
    let names = df.columns().iter().map(|c| c.name().to_string());
    names.filter_map(|n| frame::column_f64(df, &n).ok().map(|v| (n, v))).collect()
}

/// The frame with a last column `warning`, the words of all rules that a row breaks; without it where no row breaks any.
pub(crate) fn mark(df: DataFrame) -> Result<DataFrame> {
    let columns = columns(&df);
    let words = |row| {
        let cells = cells(&columns, row);
        let broken: Vec<&str> = RULES.iter().filter(|r| (r.suspect)(&cells) == Some(true)).map(|r| r.code).collect();
        (!broken.is_empty()).then(|| broken.join(" "))
    };
    let words: Vec<Option<String>> = (0..df.height()).map(words).collect();
    if words.iter().all(Option::is_none) {
        return Ok(df);
    }
    let mut all = df.columns().to_vec();
    all.push(Column::new("warning".into(), words));
    Ok(DataFrame::new(df.height(), all)?)
}

impl Run {
    /// What is suspect about this run, in words; empty where nothing is.
    ///
    /// Rules read the recorded rows and the final weights. They can miss what no walker has visited: mass that no walker visits
    /// leaves no trace in any column.
    ///
    /// ```
    /// use jarzynski::{Escorted, model::Interpolant, transport};
    /// # fn main() -> jarzynski::Result<()> {
    /// let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])?;
    /// let fine = transport(Escorted::new(0.5), &path, 128, 1_000, 0)?;
    /// assert!(fine.warnings().is_empty(), "{:?}", fine.warnings());
    /// let coarse = transport(Escorted::new(8.0), &path, 8, 1_000, 0)?;
    /// assert!(coarse.warnings().iter().any(|w| w.code == "ess"), "{:?}", coarse.warnings());
    /// # Ok(()) }
    /// ```
    pub fn warnings(&self) -> Vec<Warning> {
        let columns = columns(&self.stats);
        let step = |row: usize| cells(&columns, row)("step").max(0.0) as usize;
        let mut found = Vec::new();
        for rule in RULES {
            let told: Vec<(usize, bool)> = (0..self.stats.height())
                .filter_map(|row| (rule.suspect)(&cells(&columns, row)).map(|bad| (row, bad)))
                .collect();
            let bad: Vec<usize> = told.iter().filter(|(_, bad)| *bad).map(|(row, _)| *row).collect();
            let share = bad.len() as f64 / told.len().max(1) as f64;
            // a short run is suspect if it ends so
            let ends_so = told.last().is_some_and(|(_, bad)| *bad) && rule.share < 0.5;
            if let Some(first) = bad.first().filter(|_| share > rule.share || ends_so) {
                let rows = if share < 1.0 {
                    format!(" ({:.0} % of rows, from step {})", (100.0 * share).max(1.0), step(*first))
                } else {
                    String::new()
                };
                let cells = cells(&columns, *first);
                let left = cells("lineages_monitor");
                let left = if left.is_nan() { cells("lineages") } else { left };
                let text = rule.text.replace("{data_distance}", &format!("{:.0}", cells("data_distance")));
                let text = text.replace("{lineages}", &left.to_string());
                let text = format!("{text}{rows}.");
                found.push(Warning { code: rule.code, step: step(*first), share, text });
            }
        }
        let heavy = self.population().worst_pareto_k();
        if self.weighted && heavy > 0.5 {
            let what = match heavy > 0.7 {
                true => "above .7: neither the ESS nor an error bar says anything",
                false => "between .5 and .7: error bars shrink more slowly with the number of walkers than they say",
            };
            let text = format!(
                "the weights have, or had before a resampling, a heavy tail (k̂ = {heavy:.2}, {what}). Smaller steps, more of them."
            );
            let last = self.stats.height().saturating_sub(1);
            found.push(Warning {
                code: "tail",
                step: if self.stats.height() > 0 { step(last) } else { 0 },
                share: 1.0,
                text,
            });
        }
        found
    }
}
