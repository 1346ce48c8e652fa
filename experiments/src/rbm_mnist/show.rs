//! Say and draw what the race on MNIST gave.

use super::evaluate::LIKELIHOOD;
use super::{RbmMnist, at_end};
use crate::Output;
use crate::evaluate::with_error;
use jarzynski::Result;
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::polars::prelude::DataFrame;
use jarzynski::run::Run;

impl RbmMnist {
    pub(super) fn say(&self, runs: &[(String, u64, Run)], out: &mut Output) -> Result<()> {
        let table = out.get("likelihood")?.clone();
        for method in &self.methods {
            let of = |column: &str| at_end(&table, method, column);
            let (test, train, seconds, update) =
                (of("log_lik_test")?, of("log_lik_train")?, of("seconds")?, of("update")?);
            let (lower, upper) = (of("log_lik_lower")?, of("log_lik_upper")?);
            out.note(format!(
                "{method:<12} test {} in [{:.2}, {:.2}], train {:.2} nats; {:.0} updates, {:.0} s of training",
                with_error(test.0, test.1, 2),
                lower.0,
                upper.0,
                train.0,
                update.0,
                seconds.0
            ));
        }
        for method in &self.methods {
            let rows = frame::filter(&table, "method", method)?;
            let read = |c: &str| frame::column_f64(&rows, c);
            let (update, bar, se) = (read("update")?, read("log_z_bar")?, read("log_z_bar_se")?);
            let (lower, upper, trips) = (read("log_z_ais")?, read("log_z_reverse")?, read("round_trips")?);
            let (exact, warning) = (read("log_z_exact")?, frame::column_str(&rows, "warning")?);
            let (z, walkers, seed) = (read("log_z_monitor")?, read("log_z_walkers")?, read("seed")?);
            let last = update.iter().copied().fold(0.0, f64::max);
            for i in (0..z.len()).filter(|i| update[*i] == last) {
                let online = if z[i].is_nan() {
                    String::new()
                } else {
                    format!("; monitor {:+.2} of BAR, training walkers {:+.2}", z[i] - bar[i], walkers[i] - bar[i])
                };
                let start = match exact[i].is_nan() {
                    true => format!("{:.1} round trips per chain", trips[i]),
                    false => format!("from exact draws; exact log Z {:.2}", exact[i]),
                };
                let doubt = if warning[i].is_empty() { String::new() } else { format!(", warning: {}", warning[i]) };
                out.note(format!(
                    "{method}, seed {}: log Z by BAR {}, AIS {:.2}, reverse AIS {:.2} ({start}{doubt}){online}",
                    seed[i],
                    with_error(bar[i], se[i], 2),
                    lower[i],
                    upper[i]
                ));
            }
        }
        for (name, seed, run) in runs.iter().filter(|r| !r.2.finished()) {
            out.note(format!("{name}, seed {seed}: {:?}", run.outcome));
        }
        Ok(())
    }

    /// `case, method, quantity, value, se, exact`: means over seeds at the last update; `exact` is BAR for the online log Ẑ.
    pub(super) fn summary(&self, out: &Output) -> Result<DataFrame> {
        let table = out.get("likelihood")?;
        let mut rows = Rows::new(&["case", "method", "quantity", "value", "se", "exact"]);
        let case = format!("{} ({}), {} hidden", self.data, self.binarisation, self.hidden);
        for method in &self.methods {
            for quantity in &LIKELIHOOD[3..LIKELIHOOD.len() - 1] {
                let (value, se) = at_end(table, method, quantity)?;
                let online = matches!(*quantity, "log_z_monitor" | "log_z_walkers");
                let exact = if online { at_end(table, method, "log_z_bar")?.0 } else { f64::NAN };
                rows.push((&case, method, *quantity, value, se, exact));
            }
        }
        let masses = frame::bands(out.get("masses")?, &["method", "by", "label"], "seed", &["model", "data"])?;
        let text = |c: &str| frame::column_str(&masses, c);
        let (method, by, label) = (text("method")?, text("by")?, text("label")?);
        let read = |c: &str| frame::column_f64(&masses, c);
        let (model, se, data) = (read("model")?, read("model_se")?, read("data")?);
        for i in 0..method.len() {
            rows.push((&case, &method[i], format!("mass of {} by {}", label[i], by[i]), model[i], se[i], data[i]));
        }
        rows.finish()
    }
}

#[cfg(feature = "plot")]
mod figures {
    use super::super::RbmMnist;
    use super::super::evaluate::{Evaluator, Picture};
    use crate::Output;
    use crate::images::pixels;
    use jarzynski::Result;
    use jarzynski::io::frame;
    use jarzynski::io::frame::Rows;
    use jarzynski::numeric::Rng;
    use jarzynski::plot::{Figure, Panel};
    use jarzynski::tch::Tensor;

    impl RbmMnist {
        fn name(&self) -> String {
            let data = match self.data.as_str() {
                "all" => "MNIST",
                "01" => "MNIST 0, 1 at 9 : 1",
                "236" => "MNIST 2, 3, 6 at 4 : 2 : 1",
                _ => "8×8 digits",
            };
            format!("RBM with {} hidden units on {data} (binarisation {})", self.hidden, self.binarisation)
        }

        /// Likelihood against updates, sweeps and seconds; log Ẑ online against AIS; ESS; class masses.
        pub(in super::super) fn curves(&self, out: &Output) -> Result<Figure> {
            let table = out.get("likelihood")?;
            let columns = ["log_lik_test", "sweeps", "seconds"];
            let bands = frame::bands(table, &["method", "update"], "seed", &columns)?;
            let late: Vec<f64> = frame::column_f64(&bands, "log_lik_test")?;
            let top = late.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let floor = late.iter().copied().fold(f64::INFINITY, f64::min).max(top - 110.0);
            let mut figure = Figure::new(1100, 760).columns(3).title(&self.name());
            for (x, label) in
                [("update", "updates"), ("sweeps", "sweeps per chain"), ("seconds", "seconds of training")]
            {
                let panel = Panel::new("test log-likelihood (AIS; the last BAR)").x(label).y("nats per image").log_x();
                let panel = panel.ylim(floor - 2.0, top + 5.0);
                figure = figure.panel(panel.frame(&positive(&bands, x)?, "method", x, "log_lik_test")?);
            }
            let mut error = Rows::new(&["method", "seed", "update", "error"]);
            for method in self.methods.iter().filter(|m| m.starts_with("jarzynski")) {
                let rows = frame::filter(table, "method", method)?;
                let read = |c: &str| frame::column_f64(&rows, c);
                let (seed, update, bar, ais) = (read("seed")?, read("update")?, read("log_z_bar")?, read("log_z_ais")?);
                let reference = |i: usize| if bar[i].is_nan() { ais[i] } else { bar[i] };
                let monitor = method.replace("jarzynski", "monitor");
                let ends =
                    [(format!("{method}, AIS"), "log_z_ais"), (format!("{method}, reverse AIS"), "log_z_reverse")];
                for (who, column) in [(monitor, "log_z_monitor")].into_iter().chain(ends) {
                    for (i, z) in read(column)?.iter().enumerate().filter(|(_, z)| !z.is_nan()) {
                        error.push((&who, seed[i], update[i], z - reference(i)));
                    }
                }
            }
            let error = frame::bands(&error.finish()?, &["method", "update"], "seed", &["error"])?;
            let panel = Panel::new("log Ẑ less that of the likelihood").x("updates").y("difference / nats").log_x();
            let panel = panel.hline("", 0.0);
            figure = figure.panel(panel.frame(&positive(&error, "update")?, "method", "update", "error")?);
            let steps = frame::bands(out.get("steps")?, &["method", "step"], "seed", &["ess"])?;
            let mut panel = Panel::new("effective sample size").x("updates").y("ESS / N").ylim(0.0, 1.0);
            for method in self.methods.iter().filter(|m| m.starts_with("jarzynski")) {
                panel = panel.frame(&frame::filter(&steps, "method", method)?, "method", "step", "ess")?;
            }
            figure = figure.panel(panel);
            let weighted = frame::filter(out.get("masses")?, "by", "ais")?;
            let masses = frame::bands(&weighted, &["method", "label"], "seed", &["model", "data"])?;
            let labels = frame::distinct(&masses, "label")?;
            let mut bars = Panel::new("classes of weighted samples").x("digit").y("mass").categories(&labels);
            for (i, method) in self.methods.iter().enumerate() {
                let part = frame::filter(&masses, "method", method)?;
                if i == 0 {
                    bars = bars.bars("data", &frame::column_f64(&part, "data")?, &[]);
                }
                let (model, se) = (frame::column_f64(&part, "model")?, frame::column_f64(&part, "model_se")?);
                bars = bars.bars(method, &model, &se);
            }
            Ok(figure.panel(bars))
        }

        /// Data, weighted samples and filters of every method's first model.
        pub(in super::super) fn samples(&self, evaluator: &Evaluator, pictures: &[Picture]) -> Figure {
            let side = (evaluator.train.dim() as f64).sqrt().round() as usize;
            let mut rng = Rng::new(self.seed).split(0x91c);
            let pick = Tensor::from_slice(&rng.permutation(evaluator.train.len())[..48.min(evaluator.train.len())]);
            let data = pixels(&evaluator.train.x.index_select(0, &pick.to_device(evaluator.train.x.device())), 48);
            let first: Vec<&Picture> = pictures.iter().filter(|p| p.seed == self.seed).collect();
            let rows = 1 + first.len() as u32;
            let mut figure = Figure::new(900, 215 * rows).columns(2).title(&self.name());
            let grid = |title: &str, images: &[Vec<f32>], range| Panel::images(title, images, (side, side), 12, range);
            figure = figure.panel(grid("data", &data, (0.0, 1.0)));
            figure = figure.panel(grid("means of its classes", &evaluator.class_means(), (0.0, 1.0)));
            for p in first {
                let most = p.filters.iter().flatten().fold(0f32, |m, w| m.max(w.abs())).max(1e-6);
                figure = figure.panel(grid(&format!("{}: weighted samples", p.method), &p.samples, (0.0, 1.0)));
                let title = format!("{}: filters of the largest norms, ±{most:.1}", p.method);
                figure = figure.panel(grid(&title, &p.filters, (-most, most)));
            }
            figure
        }
    }

    /// The rows with a positive x, for a logarithmic axis.
    fn positive(df: &jarzynski::polars::prelude::DataFrame, x: &str) -> Result<jarzynski::polars::prelude::DataFrame> {
        use jarzynski::polars::prelude::*;
        let mask: BooleanChunked = frame::column_f64(df, x)?.iter().map(|v| Some(*v > 0.0)).collect();
        frame::unhashed(&frame::unhashed(df)?.filter(&mask)?)
    }
}
