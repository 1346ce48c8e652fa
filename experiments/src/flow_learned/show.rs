//! Say and draw what was measured on learned flows.

use super::FlowLearned;
use crate::Output;
use crate::evaluate::with_error;
use jarzynski::Result;
use jarzynski::io::frame;
use jarzynski::polars::prelude::DataFrame;
#[cfg(feature = "plot")]
use jarzynski::tch::{Kind, Tensor};

impl FlowLearned {
    pub(super) fn say(
        &self,
        masses: &DataFrame,
        quality: &DataFrame,
        distributions: &DataFrame,
        out: &mut Output,
    ) -> Result<()> {
        let read = |name| frame::column_f64(masses, name);
        let (value, se, learned, ess) = (read("value")?, read("se")?, read("learned")?, read("ess")?);
        let method = frame::column_str(masses, "method")?;
        for who in ["reweighted", "plain"] {
            let known = (0..value.len()).filter(|i| method[*i] == who && !learned[*i].is_nan() && ess[*i] > 0.05);
            let z: Vec<f64> = known.map(|i| ((value[i] - learned[i]) / se[i]).abs()).collect();
            let far = z.iter().filter(|z| **z > 5.0).count();
            let worst = z.iter().fold(0.0f64, |a, b| a.max(*b));
            out.note(format!(
                "{who}: {} masses against the learned distribution by quadrature, the farthest {worst:.1} se, {far} beyond 5 se",
                z.len()
            ));
        }
        let bands = frame::bands(distributions, &["dataset", "variant", "quantity"], "seed", &["value"])?;
        let text = |name| frame::column_str(&bands, name);
        let (set, variant, quantity) = (text("dataset")?, text("variant")?, text("quantity")?);
        let (v, s) = (frame::column_f64(&bands, "value")?, frame::column_f64(&bands, "value_se")?);
        for i in (0..v.len()).filter(|i| quantity[*i] != "log_z") {
            let value = with_error(v[i], s[i], 3);
            out.note(format!("{:<12} {:<22} {:<22} {value}", set[i], variant[i], quantity[i]));
        }
        let distances = frame::filter(quality, "quantity", "sliced_w2")?;
        let bands = frame::bands(&distances, &["dataset", "scheme", "steps", "method"], "seed", &["value"])?;
        let text = |name| frame::column_str(&bands, name);
        let (set, scheme, steps, method) = (text("dataset")?, text("scheme")?, text("steps")?, text("method")?);
        let v = frame::column_f64(&bands, "value")?;
        for i in (0..v.len()).filter(|i| method[*i] == "plain") {
            let same = |j: &usize| (&set[*j], &scheme[*j], &steps[*j]) == (&set[i], &scheme[i], &steps[i]);
            let other = (0..v.len()).find(|j| same(j) && method[*j] == "reweighted");
            if let Some(j) = other {
                let place = format!("{:<12} {:<10} K = {:<3}", set[i], scheme[i], steps[i]);
                out.note(format!("{place} sliced W₂ to the data: plain {:.3}, reweighted {:.3}", v[i], v[j]));
            }
        }
        Ok(())
    }
}

#[cfg(feature = "plot")]
impl FlowLearned {
    pub(super) fn figures(
        &self,
        masses: &DataFrame,
        quality: &DataFrame,
        distributions: &DataFrame,
        pictures: &[(String, Vec<(String, Tensor)>)],
        out: &mut Output,
    ) -> Result<()> {
        use jarzynski::plot::{Figure, Panel};
        // distances against K
        let mut figure = Figure::new(980, 700).columns(2).title("Generation from learned flows, plain and reweighted");
        let distances = frame::filter(quality, "quantity", "sliced_w2")?;
        for name in frame::distinct(&distances, "dataset")? {
            let own = frame::filter(&distances, "dataset", &name)?;
            let bands = frame::bands(&own, &["scheme", "method", "steps"], "seed", &["value"])?;
            let mut panel = Panel::new(&name).x("steps K").y("sliced W₂ to fresh data").log_x().log_y();
            for scheme in frame::distinct(&bands, "scheme")? {
                let part = frame::filter(&bands, "scheme", &scheme)?;
                if scheme == "data" {
                    let floor = frame::column_f64(&part, "value")?;
                    panel = panel.hline("data against data", floor.first().copied().unwrap_or(f64::NAN));
                    continue;
                }
                for method in ["plain", "reweighted"] {
                    let part = frame::filter(&part, "method", method)?;
                    let read = |c: &str| frame::column_f64(&part, c);
                    let label = format!("{method}, {scheme}");
                    let (x, y, se) = (read("steps")?, read("value")?, read("value_se")?);
                    panel = panel.line(&label, &x, &y).errorbars(&label, &x, &y, &se);
                }
            }
            figure = figure.panel(panel);
        }
        out.figure("distances", figure);

        // masses at one setting, and what the time score does to the learned distribution
        let mut figure = Figure::new(980, 380).columns(2).title("Masses of the parts");
        if self.sets.iter().any(|s| s == "gaussians") {
            let own = frame::filter(masses, "dataset", "gaussians")?;
            let steps = self.planar.steps.get(1).or(self.planar.steps.first()).copied().unwrap_or(0);
            let own =
                frame::filter(&frame::filter(&own, "steps", &steps.to_string())?, "scheme", &self.planar.schemes[0])?;
            let bands = frame::bands(&own, &["method", "part"], "seed", &["value", "learned", "data"])?;
            let title = format!("eight Gaussians, {}, K = {steps}", self.planar.schemes[0]);
            let parts: Vec<String> = (0..8).map(|j| j.to_string()).collect();
            let mut panel = Panel::new(&title).x("mode").y("mass").categories(&parts);
            let plain = frame::filter(&bands, "method", "plain")?;
            panel = panel.bars("data", &frame::column_f64(&plain, "data")?, &[]);
            panel = panel.bars("exact for the learned energy", &frame::column_f64(&plain, "learned")?, &[]);
            for method in ["plain", "reweighted"] {
                let part = frame::filter(&bands, "method", method)?;
                let (v, se) = (frame::column_f64(&part, "value")?, frame::column_f64(&part, "value_se")?);
                panel = panel.bars(method, &v, &se);
            }
            figure = figure.panel(panel);
        }
        let errors = frame::filter(distributions, "quantity", "mass_error")?;
        let bands = frame::bands(&errors, &["dataset", "variant"], "seed", &["value"])?;
        let mut panel =
            Panel::new("mass error of the learned distribution").y("½ Σ |learned − data|").categories(&self.sets);
        for variant in frame::distinct(&bands, "variant")? {
            let part = frame::filter(&bands, "variant", &variant)?;
            let (v, se) = (frame::column_f64(&part, "value")?, frame::column_f64(&part, "value_se")?);
            panel = panel.bars(&variant, &v, &se);
        }
        out.figure("masses", figure.panel(panel));

        for (name, drawn) in pictures {
            let title = format!("{name}: data and generated points");
            let mut figure = Figure::new(980, 660).columns(3).title(&title);
            if name == "digits" {
                figure = Figure::new(980, 300).columns(3).title(&title);
            }
            for (label, x) in drawn.iter().take(if name == "digits" { 5 } else { 6 }) {
                figure = figure.panel(match name.as_str() {
                    "digits" => Panel::images(label, &crate::images::pixels(x, 48), (8, 8), 12, (-1.0, 1.0)),
                    _ => {
                        let column = |i: i64| {
                            Vec::<f64>::try_from(x.select(1, i).to_kind(Kind::Double).contiguous()).unwrap_or_default()
                        };
                        Panel::new(label).x("x₀").y("x₁").xlim(-4.0, 4.0).ylim(-4.0, 4.0).points(
                            "",
                            &column(0),
                            &column(1),
                        )
                    }
                });
            }
            out.figure(&format!("samples-{name}"), figure);
        }
        Ok(())
    }
}
