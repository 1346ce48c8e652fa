//! Say what was found, and draw it.

use super::evaluate::{Evaluator, Population};
use super::{LIKELIHOOD, Mnist, WEIGHTED};
use crate::Output;
use crate::evaluate::with_error;
use crate::images::pixels;
use jarzynski::Result;
use jarzynski::io::frame;
use jarzynski::numeric::Rng;
use jarzynski::tch::{Kind, Tensor};

/// The methods that figures show, and what they are called there.
#[cfg(feature = "plot")]
const SHOWN: [(&str, &str); 6] = [
    ("gaussian", "Gaussian"),
    ("mixture-10", "mixture 10"),
    ("mixture-50", "mixture 50"),
    ("dual-score-plain", "no weights"),
    (WEIGHTED, "weighted"),
    (LIKELIHOOD, "likelihood"),
];

impl Mnist {
    pub(super) fn say(&self, out: &mut Output, evaluator: &Evaluator) -> Result<()> {
        out.note(format!("classifier's accuracy on held-out noisy images: {:.3}", evaluator.classifier.accuracy));
        out.note(format!("{} test images", evaluator.test.len()));
        let means = frame::bands(out.get("summary")?, &["method", "quantity"], "seed", &["value", "se"])?;
        let (methods, quantities) = (frame::column_str(&means, "method")?, frame::column_str(&means, "quantity")?);
        let (values, over) = (frame::column_f64(&means, "value")?, frame::column_f64(&means, "value_se")?);
        let own = frame::column_f64(&means, "se")?;
        for i in 0..values.len() {
            // over seeds where there are several, else its own
            let se = if self.seeds > 1 { over[i] } else { own[i] };
            out.note(format!("{:<17} {:<20} {}", methods[i], quantities[i], with_error(values[i], se, 3)));
        }
        Ok(())
    }

    #[cfg(feature = "plot")]
    pub(super) fn sheet(&self, evaluator: &Evaluator, sheets: &[Population]) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let shape = &evaluator.training.shape;
        let side = |from_end: usize| shape.iter().rev().nth(from_end).map_or(1, |side| *side as usize);
        let grid = |title: &str, x: &Tensor| Panel::images(title, &pixels(x, 48), (side(1), side(0)), 12, (-1.0, 1.0));
        let mut figure =
            Figure::new(980, 620).title(&format!("{} along a ladder of noise levels", self.title())).columns(2);
        let noisy = evaluator.noisy(evaluator.test, self.seed, 0x91c);
        let pick = Tensor::from_slice(&Rng::new(self.seed).split(0x91d).permutation(evaluator.test.len()))
            .to_device(noisy.device());
        figure = figure.panel(grid("test images with the lowest noise", &noisy.index_select(0, &pick)));
        for p in sheets {
            figure = figure.panel(grid(p.method, &p.samples));
        }
        if let Some(last) = sheets.last() {
            let x = &evaluator.training.x;
            let gap = x.square().sum_dim_intlist(1, false, None::<Kind>)
                - last.samples.to_kind(Kind::Float).matmul(&x.tr()) * 2.0;
            let nearest = x.index_select(0, &gap.argmin(1, false));
            figure = figure.panel(grid("nearest training images of the weighted samples", &nearest));
        }
        Ok(figure)
    }

    #[cfg(feature = "plot")]
    pub(super) fn curves(&self, out: &Output) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        use jarzynski::polars::prelude::DataFrame;
        let summary = frame::bands(out.get("summary")?, &["method", "quantity"], "seed", &["value", "se"])?;
        let mut entropy = Panel::new("cross-entropy: test images, and training images beside them").y("H / nats");
        entropy = entropy.categories(&SHOWN.map(|(_, name)| name));
        for (quantity, shift, who) in
            [("cross_entropy_test", -0.12, "test images"), ("cross_entropy_train", 0.12, "training images")]
        {
            let part = frame::filter(&summary, "quantity", quantity)?;
            for (i, (method, _)) in SHOWN.iter().enumerate() {
                let of = frame::filter(&part, "method", method)?;
                let column = if self.seeds > 1 { "value_se" } else { "se" };
                let (value, se) = (frame::column_f64(&of, "value")?, frame::column_f64(&of, column)?);
                if !value.is_empty() {
                    entropy = entropy.errorbars(who, &[i as f64 + shift], &value, &se);
                }
            }
        }
        let masses = frame::bands(out.get("masses")?, &["method", "label"], "seed", &["model", "data", "se"])?;
        let names: Vec<String> = self
            .labels
            .iter()
            .map(|l| {
                if self.data.ends_with("digits") || self.data == "mnist" {
                    format!("digit {l}")
                } else {
                    format!("class {l}")
                }
            })
            .collect();
        let mut bars = Panel::new("class masses").y("mass").categories(&names);
        for (i, (method, name)) in SHOWN.iter().enumerate() {
            let part = frame::filter(&masses, "method", method)?;
            if i == 0 {
                bars = bars.bars("data", &frame::column_f64(&part, "data")?, &[]);
            }
            let column = if self.seeds > 1 { "model_se" } else { "se" };
            if part.height() == 0 {
                continue;
            }
            bars = bars.bars(name, &frame::column_f64(&part, "model")?, &frame::column_f64(&part, column)?);
        }
        let descent = frame::bands(out.get("descent")?, &["method", "sigma"], "seed", &["ess"])?;
        let band = |panel: Panel, df: &DataFrame, x: &str, y: &str, label: &str| -> Result<Panel> {
            let (x, v) = (frame::column_f64(df, x)?, frame::column_f64(df, y)?);
            let se = frame::column_f64(df, &format!("{y}_se"))?;
            let edge = |sign: f64| v.iter().zip(&se).map(|(v, s)| v + sign * s).collect::<Vec<_>>();
            Ok(panel.band(label, &x, &edge(-1.0), &edge(1.0)).line(label, &x, &v))
        };
        let ess = Panel::new(&format!("on the way down, {} levels, no resampling", self.levels));
        let ess = ess.x("noise level σ").y("ESS / N").log_x().ylim(0.0, 1.0);
        let ess = SHOWN[4..].iter().try_fold(ess, |panel, (method, name)| {
            let of = frame::filter(&descent, "method", method)?;
            if of.height() == 0 { Ok(panel) } else { band(panel, &of, "sigma", "ess", name) }
        })?;
        let steps = frame::bands(
            &frame::filter(out.get("steps")?, "method", WEIGHTED)?,
            &["step"],
            "seed",
            &["loss_denoising", "loss_balance"],
        )?;
        // no loss is known before the first update
        let steps = steps.slice(1, steps.height());
        let losses = Panel::new("losses").x("updates").y("nats per image").log_y();
        let losses = band(losses, &steps, "step", "loss_denoising", "denoising, ½|σ∇U − ε|²")?;
        let losses = band(losses, &steps, "step", "loss_balance", "balance, with its final weights")?;
        let title = format!("{} along a ladder of noise levels", self.title());
        Ok(Figure::new(980, 700).title(&title).columns(2).panel(entropy).panel(bars).panel(ess).panel(losses))
    }
}
