//! Show runs, walkers, models and errors as a notebook's cells do: as HTML, and as text of 80 columns.

use crate::density::Model;
use crate::display::{Html, number, show};
use crate::error::{Error, no_grad};
use crate::io::frame::Rows;
use crate::io::{escape, grouped};
use crate::numeric::Rng;
use crate::run::{Outcome, Run};
use crate::walkers::Walkers;
use tch::{Device, Kind, Tensor};

/// A curve in `width` characters, from the smallest value to the largest; blank where there is no number.
///
/// ```
/// assert_eq!(jarzynski::display::sparkline(&[0.0, 1.0, 2.0, 3.0], 4), "▁▃▆█");
/// ```
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let width = width.min(values.len()).max(1);
    let mean = |i: usize| {
        let part = &values[i * values.len() / width..((i + 1) * values.len() / width).max(i * values.len() / width)];
        let known: Vec<f64> = part.iter().copied().filter(|v| v.is_finite()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let means: Vec<Option<f64>> = (0..width).map(mean).collect();
    let (lo, hi) =
        means.iter().flatten().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let bar = |v: f64| BARS[if hi > lo { ((v - lo) / (hi - lo) * 7.0).round() as usize } else { 3 }];
    means.iter().map(|m| m.map_or(' ', bar)).collect()
}

/// The columns that tell most about a run; of each line the first that it has.
const TELLING: [&[&str]; 5] = [
    &["cross_entropy_monitor", "cross_entropy", "energy_data", "loss_velocity"],
    &["log_z_monitor", "log_z", "loss_score"],
    &["ess", "loss_time"],
    &["acceptance"],
    &["grad_norm"],
];

const YELLOW: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";

impl Run {
    /// The columns that tell most about this run, with their values.
    pub(crate) fn telling(&self) -> Vec<(&'static str, Vec<f64>)> {
        let known = |name: &&'static str| {
            let values = self.column(name).ok().filter(|v| v.iter().any(|x| x.is_finite()));
            values.map(|v| (*name, v))
        };
        TELLING.iter().filter_map(|any| any.iter().find_map(known)).take(4).collect()
    }

    /// The summary with curves of a line each, for a terminal; warnings are yellow if it shows `colours`.
    pub fn overview(&self, colours: bool) -> String {
        let mut text = String::new();
        for line in self.summary().lines() {
            // lines of warnings are long: broken between words
            for (i, part) in wrap(line, 78).into_iter().enumerate() {
                let indent = if i > 0 { "  " } else { "" };
                match colours && line.starts_with("warning, ") {
                    true => text += &format!("{YELLOW}{indent}{part}{PLAIN}\n"),
                    false => text += &format!("{indent}{part}\n"),
                }
            }
        }
        for (name, values) in self.telling() {
            let ends = |v: Option<&f64>| v.map_or("–".to_string(), |v| number(*v));
            let known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
            let (first, last) = (ends(known.first()), ends(known.last()));
            text += &format!("{name:<22} {first:>10} {:<30} {last}\n", sparkline(&values, 30));
        }
        text.trim_end().to_string()
    }

    /// Called by evcxr: summary, warnings, curves and the table of rows.
    pub fn evcxr_display(&self) {
        let mut html = String::new();
        for (i, line) in self.summary().lines().enumerate() {
            html += &match line.strip_prefix("warning, ") {
                Some(text) => warning(text),
                None if i == 0 => format!("<div><b>{}</b></div>", escape(line)),
                None => format!("<div>{}</div>", escape(line)),
            };
        }
        html += &self.curves();
        html += &format!("<details><summary>rows</summary>{}</details>", show(&self.stats).html);
        Html { html: html.replace('\n', " "), text: self.overview(false) }.evcxr_display();
    }

    #[cfg(feature = "plot")]
    fn curves(&self) -> String {
        // a panel shows the monitor's curve beside the walkers' own
        let names: Vec<&str> = self.telling().iter().map(|(name, _)| name.trim_end_matches("_monitor")).collect();
        match self.plot(&names[..names.len().min(3)]) {
            Ok(figure) if !names.is_empty() => figure.inline(),
            _ => String::new(),
        }
    }

    #[cfg(not(feature = "plot"))]
    fn curves(&self) -> String {
        String::new()
    }
}

/// A line that stands out in a light and in a dark theme.
fn warning(text: &str) -> String {
    let style = "border-left:.3em solid #e69f00;padding:.1em .6em;margin:.2em 0";
    format!("<div style=\"{style}\">{}</div>", escape(text))
}

/// Lines of at most `width` characters, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let now = lines.last_mut().map_or(0, |l| l.chars().count());
        if now > 0 && now + 1 + word.chars().count() > width {
            lines.push(word.into());
        } else if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

impl Walkers {
    /// Number, dimension, ESS and log Ẑ, in a line.
    pub fn describe(&self) -> String {
        let d = self.x().size().get(1).copied().unwrap_or(0);
        let (n, z) = (grouped(self.len()), self.log_z());
        let plural = if d == 1 { "dimension" } else { "dimensions" };
        let log_z = if z.value.is_nan() { String::new() } else { format!(", log Z = {z}") };
        format!("{n} walkers in {d} {plural}: ESS/N = {}{log_z}", number(self.ess()))
    }

    /// Called by evcxr: walkers in the plane as points sized by weight, square images as images, others as means by coordinate.
    pub fn evcxr_display(&self) {
        let text = self.describe();
        let html = format!("<div><b>{}</b></div>{}", escape(&text), self.picture());
        Html { html: html.replace('\n', " "), text: format!("{text}\n{}", show(&self.moments()).text) }.evcxr_display();
    }

    /// Weighted mean and standard deviation of each of the first coordinates.
    fn moments(&self) -> polars::prelude::DataFrame {
        let mut rows = Rows::new(&["coordinate", "mean", "mean_se", "sd"]);
        let d = self.x().size().get(1).copied().unwrap_or(0);
        for j in 0..d.min(64) {
            let x = self.x().select(1, j).to_kind(Kind::Double);
            let Ok(mean) = self.mean(&x) else { continue };
            let sd = self.mean(&(x - mean.value).square()).map_or(f64::NAN, |v| v.value.sqrt());
            rows.push((j, mean.value, mean.se, sd));
        }
        rows.finish().unwrap_or_default()
    }

    #[cfg(not(feature = "plot"))]
    fn picture(&self) -> String {
        show(&self.moments()).html
    }

    #[cfg(feature = "plot")]
    fn picture(&self) -> String {
        use crate::plot::{Figure, Panel};
        let d = self.x().size().get(1).copied().unwrap_or(0);
        let side = (d as f64).sqrt().round() as usize;
        let panel = if self.is_empty() {
            None
        } else if d == 2 {
            // drawn by weight: what a sample looks like
            let x = self.samples(self.len().min(1_000), &mut Rng::new(0)).to_device(Device::Cpu).to_kind(Kind::Double);
            let column = |j: i64| Vec::<f64>::try_from(x.select(1, j).contiguous()).unwrap_or_default();
            Some((Panel::new("drawn by weight").x("x₀").y("x₁").points("", &column(0), &column(1)), (420, 380)))
        } else if side >= 4 && (side * side) as i64 == d {
            let x = self.samples(self.len().min(32), &mut Rng::new(0)).to_device(Device::Cpu).to_kind(Kind::Float);
            let images: Vec<Vec<f32>> =
                x.unbind(0).iter().map(|r| Vec::<f32>::try_from(r.contiguous()).unwrap_or_default()).collect();
            let (lo, hi) =
                images.iter().flatten().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
            let range = if hi > lo { (lo, hi) } else { (0.0, 1.0) };
            Some((Panel::images("drawn by weight", &images, (side, side), 8, range), (420, 240)))
        } else {
            None
        };
        let drawn = panel.map(|(panel, (w, h))| Figure::new(w, h).panel(panel).inline());
        drawn.unwrap_or_else(|| show(&self.moments()).html)
    }
}

/// The parameters of a model by name: their shapes, how many numbers they have and the root mean square of these.
///
/// ```
/// use jarzynski::{model::{Mlp, MlpShape}, tch::{Device, Kind}};
/// let net = Mlp::new(2, &MlpShape { widths: vec![16, 16], ..Default::default() }, Kind::Float, Device::Cpu).unwrap();
/// assert!(jarzynski::display::parameters("Mlp", &net).text.contains("337 parameters"));
/// ```
pub fn parameters<M: Model + ?Sized>(name: &str, model: &M) -> Html {
    let mut variables: Vec<(String, Tensor)> =
        model.vars().variables().into_iter().filter(|(_, t)| t.requires_grad()).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    let mut rows = Rows::new(&["parameter", "shape", "numbers", "rms"]);
    let mut all = 0;
    for (variable, t) in &variables {
        let rms = no_grad(|| t.to_kind(Kind::Double).square().mean(Kind::Double).sqrt().double_value(&[]));
        let shape: Vec<String> = t.size().iter().map(i64::to_string).collect();
        rows.push((variable, shape.join(" × "), t.numel(), rms));
        all += t.numel();
    }
    let (kind, device) = model.options();
    let kind = if kind == Kind::Double { "f64" } else { "f32" };
    let device = if device == Device::Cpu { "the CPU".to_string() } else { format!("{device:?}") };
    let head = format!("{name}: {} parameters, rows of {} numbers, {kind} on {device}", grouped(all), model.dim());
    let table = rows.finish().map(|df| show(&df)).unwrap_or(Html { html: String::new(), text: String::new() });
    Html { html: format!("<div><b>{}</b></div>{}", escape(&head), table.html), text: format!("{head}\n{}", table.text) }
}

macro_rules! shown {
    ($($model:ident),*) => { $(
        impl crate::model::$model {
            /// Called by evcxr: the names, shapes and number of the parameters.
            pub fn evcxr_display(&self) {
                parameters(stringify!($model), self).evcxr_display();
            }
        }
    )* };
}
shown!(Mixture, Mlp, Cnn, Rbm);

impl Error {
    /// What can be done about it, where the message alone does not say.
    pub fn advice(&self) -> &'static str {
        match self {
            Error::Param { .. } => "Change the value to what is expected.",
            Error::Shape { .. } => "Rows are examples or walkers, columns coordinates: `x.size()` shows what you have.",
            Error::NonFinite { .. } => "A smaller step or learning rate, or data without NaN.",
            Error::Data { .. } => "The file is damaged or of another format: get it anew, or look at the place named.",
            Error::Io { .. } => "Check that the folder exists, can be written and has room.",
            Error::Torch { .. } => "Most often shapes that do not fit inside a model or kernel of your own.",
            Error::Table { .. } => "`describe()` and `show` list the columns that there are.",
            Error::Panic { .. } => "The place named is in your own code, or in code that it called.",
            Error::RunExists { .. } => "Name another folder, or go on with the run by `resume_or_start`.",
            Error::RunLocked { .. } => "Wait until the other run has ended, or name another folder.",
            Error::RunMismatch { .. } => "Set it back to what it was, or begin the run in another folder.",
        }
    }

    /// Called by evcxr: what was wrong, and what to do.
    pub fn evcxr_display(&self) {
        let (what, advice) = (self.to_string(), self.advice());
        let style = "border-left:.3em solid #d55e00;padding:.1em .6em;margin:.2em 0";
        let html = format!("<div style=\"{style}\"><b>{}</b><br>{advice}</div>", escape(&what));
        Html { html, text: format!("{what}\n{advice}") }.evcxr_display();
    }
}

impl Outcome {
    /// `finished`, `diverged` or `paused`.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Finished => "finished",
            Outcome::Diverged { .. } => "diverged",
            Outcome::Paused { .. } => "paused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_fit_and_survive_what_is_no_number() {
        assert_eq!(sparkline(&[], 10), " ");
        assert_eq!(sparkline(&[f64::NAN, 1.0], 5), " ▄");
        assert_eq!(sparkline(&[2.0; 100], 5), "▄▄▄▄▄");
        assert_eq!(sparkline(&(0..1000).map(f64::from).collect::<Vec<_>>(), 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[f64::INFINITY, 0.0, 1.0], 3), " ▁█");
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let lines = wrap(&"word ".repeat(40), 78);
        assert!(lines.iter().all(|l| l.chars().count() <= 78) && lines.len() == 3, "{lines:?}");
    }
}
