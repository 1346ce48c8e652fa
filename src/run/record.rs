//! Record per-step statistics and turn them into a polars DataFrame; the dictionary of columns lives here.
//!
#![doc = include_str!("columns.md")]

use crate::error::Result;
use polars::prelude::{Column, DataFrame, NamedFrom, Series};

/// What a column of [`Run::stats`](crate::Run::stats) means.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Entry {
    /// Column name.
    pub name: &'static str,
    /// Unit; empty for pure numbers.
    pub unit: &'static str,
    /// Meaning.
    pub meaning: &'static str,
    /// Where it is defined.
    pub source: &'static str,
    /// Whether it is an integer column.
    pub integer: bool,
}

const fn real(name: &'static str, unit: &'static str, meaning: &'static str, source: &'static str) -> Entry {
    Entry { name, unit, meaning, source, integer: false }
}

const fn count(name: &'static str, unit: &'static str, meaning: &'static str) -> Entry {
    Entry { name, unit, meaning, source: "", integer: true }
}

/// Every column that the library itself writes.
pub const COLUMNS: &[Entry] = &[
    count("step", "updates", "updates of θ so far; the row describes θ_step and the walkers under it"),
    real("t", "", "place on a prescribed path, 0 to 1", "eq. (17)"),
    real("lr", "", "learning rate of the update that leaves this row", ""),
    real(
        "data_distance",
        "standard deviations",
        "root mean square distance of the data from the walkers' start, in its standard deviations; only where it is above 10",
        "",
    ),
    real("energy_data", "nats", "mean U over the training batch", "eq. (3)"),
    real("energy_walkers", "nats", "weighted mean U over the walkers", "eq. (6)"),
    real("cross_entropy", "nats", "log_z + energy_data, of the training batch; biased low, as log_z is", "eq. (55)"),
    real("cross_entropy_monitor", "nats", "log_z_monitor + energy_data, of the training batch", "eq. (55)"),
    real(
        "cross_entropy_exact",
        "nats",
        "exact log Z + energy_data, of the training batch, where log Z is known exactly",
        "eq. (3)",
    ),
    real("energy_validation", "nats", "mean U over the held-out data", "eq. (3)"),
    real(
        "cross_entropy_validation",
        "nats",
        "log_z_monitor (exact log Z where there is no monitor) + energy_validation: of the held-out data",
        "eq. (55)",
    ),
    real(
        "log_z",
        "nats",
        "log Ẑ by the training walkers; self-interaction biases it low; in a reverse run log Ẑ_t/Z_1",
        "eq. (6)",
    ),
    real(
        "log_z_se",
        "nats",
        "its standard error; none in a training, whose bias is larger than any bar, nor where lineages do not tell it",
        "",
    ),
    real("log_z_monitor", "nats", "log Ẑ by the monitor population: same θ, no influence on it", "eq. (6)"),
    real("log_z_monitor_se", "nats", "its standard error; none where lineages do not tell it", ""),
    real("log_z_exact", "nats", "log Z in closed form", "eq. (1)"),
    real(
        "ess",
        "fraction of N",
        "lowest effective sample size of the walkers since the previous row, before any resampling",
        "",
    ),
    real("ess_monitor", "fraction of N", "the same of the monitor", ""),
    count(
        "lineages",
        "walkers",
        "walkers of the start from which the present ones descend: fewer after every resampling",
    ),
    count("lineages_monitor", "walkers", "the same of the monitor"),
    count("resampled", "times", "resamplings of the training walkers since the previous row"),
    count("resampled_monitor", "times", "resamplings of the monitor since the previous row"),
    real(
        "step_fraction",
        "",
        "part of the optimiser's step that the ESS limit let through, mean since the previous row",
        "",
    ),
    real(
        "ess_step",
        "fraction of N",
        "lowest conditional ESS of an update's change of θ since the previous row: what the ESS limit bounds",
        "",
    ),
    count("backtracks", "", "energy evaluations of the walkers spent on the ESS limit since the previous row"),
    count(
        "substeps",
        "",
        "kernel steps with a change of θ since the previous row (more than updates with `TrustRegion::Substeps`)",
    ),
    count("replicas", "", "models along the trajectory whose walkers swap, with the present one"),
    real(
        "swap_rate",
        "probability",
        "lowest mean acceptance of a swap between neighbours, mean since the previous row",
        "",
    ),
    real("acceptance", "probability", "mean acceptance of the last step's moves", "guide eq. (78)"),
    real(
        "h_curvature",
        "",
        "h times the largest curvature of U at 16 walkers, in the coordinates that the kernel moves in, every 50th update, the largest since the previous row: ULA is stable below 2",
        "guide eq. (73)",
    ),
    real(
        "loss_velocity",
        "",
        "mean ½|b̂|² − ẋ·b̂ over the updates since the previous row: the regression's error less a constant",
        "guide (121)",
    ),
    real("loss_score", "", "mean N²(½|ŝ|² + ζ·ŝ/N) over the updates since the previous row", "guide (122)"),
    real(
        "loss_time",
        "",
        "mean N²½(∂_tU + ∂_t log p)² over the updates since the previous row, without its weight",
        "",
    ),
    real(
        "loss_denoising",
        "",
        "mean ½|σ∇U(x + σξ) − ξ|² per point over the updates since the previous row",
        "guide, section 6.2",
    ),
    real(
        "loss_fisher",
        "",
        "mean ½|∇U|² − ΔU per point, or its estimate, over the updates since the previous row: the Fisher divergence from the data less what does not depend on θ",
        "guide eq. (100)",
    ),
    real(
        "loss_contrastive",
        "nats",
        "mean −log σ(G − log ν) of data and −ν log(1 − σ(G − log ν)) of noise, G = −U − c − log p_n, over the updates since the previous row",
        "guide, section 6.2",
    ),
    real(
        "loss_pseudo_likelihood",
        "nats",
        "mean −Σ_j log p(x_j | the other bits) per row over the updates since the previous row",
        "",
    ),
    real(
        "loss_ratio",
        "",
        "mean Σ_j (1 − p(x_j | the other bits))² per row over the updates since the previous row",
        "",
    ),
    real(
        "loss_probability_flow",
        "",
        "mean Σ_j e^{−Δ_j/2} per row over the updates since the previous row, Δ_j the change of U when bit j is flipped",
        "arXiv 0906.4779",
    ),
    real("log_z_learned", "nats", "c, log Z as a noise-contrastive training learns it beside θ", "guide, section 6.2"),
    real(
        "loss_level",
        "",
        "mean ½(∂U/∂log σ − (d − |ε|²))²/d per point over the updates since the previous row, without its weight",
        "arXiv 2506.05310",
    ),
    real(
        "loss_balance",
        "",
        "½(a/h)² per step down the ladder, of data and of walkers with their weights in the end; mean over the updates since the previous row",
        "arXiv 2301.12594",
    ),
    real(
        "loss_likelihood",
        "nats",
        "mean −log ρ(x) per point of a normalised model over the updates since the previous row",
        "guide (55)",
    ),
    real("grad_norm", "", "norm of the gradient of the cross-entropy, before clipping, or of another loss", "eq. (4)"),
    count("forward", "rows", "rows (images) sent forward through U since the previous row"),
    count("backward", "rows", "rows (images) sent backward since the previous row"),
    count("drift", "rows", "rows at which a flow's velocity b was evaluated since the previous row"),
    count("jacobian", "rows", "rows at which b was evaluated together with its Jacobian since the previous row"),
    real("seconds", "s", "wall-clock time since the start", ""),
    Entry {
        name: "warning",
        unit: "",
        meaning: "what is suspect about the row: ess, ess_monitor, log_z_se, bias, step, acceptance, step_fraction, lineages, scale; `Run::warnings` says it in words",
        source: "",
        integer: false,
    },
];

/// The dictionary's entry for a column, if the library writes it.
pub fn column(name: &str) -> Option<&'static Entry> {
    COLUMNS.iter().find(|c| c.name == name)
}

/// The dictionary as the table that opens these pages.
pub fn markdown() -> String {
    let mut text = String::from("| column | unit | meaning | source |\n|---|---|---|---|\n");
    for c in COLUMNS {
        text += &format!("| `{}` | {} | {} | {} |\n", c.name, c.unit, c.meaning.replace('|', "\\|"), c.source);
    }
    text
}

/// Name, unit, meaning and source of each column of a frame; a column of a callback says so.
///
/// # Errors
/// None for a frame that polars accepted once.
pub fn describe(df: &DataFrame) -> Result<DataFrame> {
    let names: Vec<String> = df.columns().iter().map(|c| c.name().to_string()).collect();
    let text = |f: fn(&Entry) -> &str, other: &str| -> Vec<String> {
        names.iter().map(|n| column(n).map_or(other, f).to_string()).collect()
    };
    let columns = vec![
        Column::new("unit".into(), text(|c| c.unit, "")),
        Column::new("meaning".into(), text(|c| c.meaning, "recorded by a callback")),
        Column::new("source".into(), text(|c| c.source, "")),
    ];
    let mut all = vec![Column::new("column".into(), names)];
    all.extend(columns);
    Ok(DataFrame::new(df.width(), all)?)
}

/// Name and unit of a column, for an axis.
#[cfg(feature = "plot")]
pub(crate) fn axis(name: &str) -> String {
    let unit = column(name).map_or("", |c| c.unit);
    if unit.is_empty() { name.to_string() } else { format!("{name} / {unit}") }
}

/// Names of a header; a quoted one may hold commas and doubled quotes.
fn unquote(header: &str) -> Vec<String> {
    let (mut names, mut quoted, mut chars) = (vec![String::new()], false, header.chars().peekable());
    while let Some(c) = chars.next() {
        let name = names.last_mut();
        match (c, quoted, name) {
            ('"', true, Some(name)) if chars.peek() == Some(&'"') => name.extend(chars.next()),
            ('"', _, _) => quoted = !quoted,
            (',', false, _) => names.push(String::new()),
            (c, _, Some(name)) => name.push(c),
            _ => {}
        }
    }
    names
}

/// Rows of named numbers, all with the same columns.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    names: Vec<String>,
    columns: Vec<Vec<f64>>,
}

impl Recorder {
    /// Adds a row; the first one fixes the columns, a later name that is new to them is an empty column so far.
    pub fn push<S: AsRef<str>>(&mut self, row: impl IntoIterator<Item = (S, f64)>) {
        let rows = self.len();
        for (name, value) in row {
            let name = name.as_ref();
            let at = self.names.iter().position(|n| n == name).unwrap_or_else(|| {
                self.names.push(name.to_string());
                self.columns.push(vec![f64::NAN; rows]);
                self.names.len() - 1
            });
            self.columns[at].push(value);
        }
        for c in &mut self.columns {
            c.resize(rows + 1, f64::NAN);
        }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last value of a column.
    pub fn last(&self, name: &str) -> Option<f64> {
        let at = self.names.iter().position(|n| n == name)?;
        self.columns[at].last().copied()
    }

    /// Names of the columns so far.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The first line of a CSV file.
    pub(crate) fn header(&self) -> String {
        let quote = |name: &String| {
            let name = name.replace(['\n', '\r'], " ");
            if name.contains([',', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name }
        };
        self.names.iter().map(quote).collect::<Vec<_>>().join(",") + "\n"
    }

    /// A row as a line of CSV: numbers that read back to the same bits, nothing for NaN.
    pub(crate) fn line(&self, row: usize) -> String {
        let cell = |c: &Vec<f64>| if c[row].is_nan() { String::new() } else { c[row].to_string() };
        self.columns.iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
    }

    /// Forgets all columns after the first `columns`.
    pub(crate) fn narrow(&mut self, columns: usize) {
        self.names.truncate(columns);
        self.columns.truncate(columns);
    }

    /// Reads a header and lines; what follows the last line's end is left out.
    ///
    /// # Errors
    /// The line, and what it should be.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, (usize, String)> {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.split('\n');
        let names = lines.next().filter(|h| !h.is_empty()).map_or(vec![], unquote);
        let mut columns = vec![Vec::new(); names.len()];
        for (i, line) in lines.enumerate() {
            let expected = || (i + 2, format!("{} numbers", names.len()));
            let mut cells = line.split(',');
            for c in &mut columns {
                let cell = cells.next().ok_or_else(expected)?;
                c.push(if cell.is_empty() { f64::NAN } else { cell.parse().map_err(|_| expected())? });
            }
            if cells.next().is_some() {
                return Err(expected());
            }
        }
        Ok(Recorder { names, columns })
    }

    /// As [`frame`](Recorder::frame), with what is suspect about a row in the column `warning`.
    pub(crate) fn stats(&self) -> Result<DataFrame> {
        super::diagnose::mark(self.frame()?)
    }

    /// As a DataFrame: NaN becomes null, columns without any value are left out.
    ///
    /// # Errors
    /// `Table` where polars refuses the columns.
    pub fn frame(&self) -> Result<DataFrame> {
        let mut out = Vec::new();
        for (name, values) in self.names.iter().zip(&self.columns) {
            if values.iter().all(|v| v.is_nan()) && !values.is_empty() {
                continue;
            }
            let some = |v: &f64| (!v.is_nan()).then_some(*v);
            let series = if column(name).is_some_and(|c| c.integer) {
                let ints: Vec<Option<i64>> = values.iter().map(|v| some(v).map(|v| v as i64)).collect();
                Series::new(name.as_str().into(), ints)
            } else {
                Series::new(name.as_str().into(), values.iter().map(some).collect::<Vec<_>>())
            };
            out.push(Column::from(series));
        }
        Ok(DataFrame::new(self.len(), out)?)
    }
}
