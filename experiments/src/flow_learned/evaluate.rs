//! Hold generated points against fresh data, and masses against the learned distribution by quadrature.

use super::{COUNTS, FlowLearned, LABELS, REACH, Trained};
use crate::evaluate::classifier::Classifier;
use crate::evaluate::distances::{mmd_square, sliced_wasserstein};
use crate::evaluate::held_out::mean_by_class;
use jarzynski::Result;
use jarzynski::data::{Dataset, Synthetic};
use jarzynski::density::Path;
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::FlowKernel;
use jarzynski::model::FlowNet;
use jarzynski::numeric::Rng;
use jarzynski::tch::{self, Kind, Tensor};
use jarzynski::transport::Transport;
use jarzynski::walkers::Walkers;

/// Tables under construction.
pub(super) struct Tables {
    pub masses: Rows,
    pub quality: Rows,
    pub distributions: Rows,
}

/// Weights of a population with and without them.
fn both(walkers: &Walkers) -> [(&'static str, Tensor); 2] {
    [("plain", even(walkers.x())), ("reweighted", walkers.weights())]
}

/// Equal weights for the rows of x, `[n]`.
fn even(x: &Tensor) -> Tensor {
    let n = x.size()[0];
    Tensor::full([n], 1.0 / n as f64, (Kind::Double, x.device()))
}

/// Σ w g and its error for each of `parts` indicator functions: `part` `[n]`.
fn shares(part: &Tensor, parts: usize, w: &Tensor) -> Vec<(f64, f64)> {
    (0..parts as i64)
        .map(|j| {
            let g = part.eq(j).to_kind(Kind::Double);
            let value = g.dot(w).double_value(&[]);
            (value, (w * (g - value)).square().sum(Kind::Double).double_value(&[]).sqrt())
        })
        .collect()
}

impl FlowLearned {
    /// The learned distribution of a planar flow by quadrature: masses of the parts, log Z.
    fn learned(toy: &Synthetic, flow: &FlowNet) -> Result<(Vec<f64>, f64)> {
        let n = 441;
        let line = Tensor::linspace(-REACH, REACH, n, (Kind::Float, flow.vars().device()));
        let grid = Tensor::cartesian_prod(&[&line, &line]);
        let log = -tch::no_grad(|| flow.energy(1.0, &grid)).to_kind(Kind::Double);
        let cell = 2.0 * (2.0 * REACH / (n - 1) as f64).ln();
        let log_z = log.logsumexp(0, false).double_value(&[]) + cell;
        let parts = toy.masses()?.len();
        Ok((shares(&toy.part(&grid), parts, &log.softmax(0, Kind::Double)).iter().map(|s| s.0).collect(), log_z))
    }

    pub(super) fn evaluate_planar(&self, t: &Trained, tables: &mut Tables) -> Result<Vec<(String, Tensor)>> {
        let (toy, smoothing) = (Self::toy(&t.name)?, self.planar.smoothing);
        let (mut rng, device) = (Rng::new(t.seed).split(0x7e57), t.flow.vars().device());
        let masses = toy.masses()?;
        let (learned, log_z) = Self::learned(&toy, &t.flow)?;
        // the distribution of the data in parts as they are told apart, by a large fresh sample
        let many = Self::fresh(&toy, 200_000, smoothing, device, &mut rng)?;
        let data: Vec<f64> = shares(&toy.part(&many), masses.len(), &even(&many)).iter().map(|s| s.0).collect();
        let variant = if t.time_score { "(122) and time score" } else { "(122) alone" };
        let energy = tch::no_grad(|| t.flow.energy(1.0, &many)).to_kind(Kind::Double);
        let entropy = energy.mean(Kind::Double).double_value(&[]) + log_z;
        let entropy_se = (energy.var(true).double_value(&[]) / 200_000.0).sqrt();
        let tv = learned.iter().zip(&data).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0;
        for (quantity, value, se) in
            [("log_z", log_z, f64::NAN), ("cross_entropy_test", entropy, entropy_se), ("mass_error", tv, f64::NAN)]
        {
            tables.distributions.push((&t.name, t.seed, variant, quantity, value, se));
        }
        if let Synthetic::Gaussians { weights } = &toy {
            let sigma = (0.25f64.powi(2) + smoothing * smoothing).sqrt();
            let at = |j: usize| {
                let angle = 2.0 * std::f64::consts::PI * j as f64 / weights.len() as f64;
                vec![2.5 * angle.cos(), 2.5 * angle.sin()]
            };
            let means: Vec<Vec<f64>> = (0..weights.len()).map(at).collect();
            let exact = jarzynski::model::Interpolant::new(&means, weights, &vec![sigma; means.len()])?;
            let floor = exact.energy(1.0, &many.to_kind(Kind::Double));
            let gap = &energy + log_z - floor;
            let se = (gap.var(true).double_value(&[]) / 200_000.0).sqrt();
            tables.distributions.push((&t.name, t.seed, variant, "kl", gap.mean(Kind::Double).double_value(&[]), se));
        }
        if !t.time_score {
            return Ok(vec![]);
        }
        let n = self.planar.walkers;
        let reference = Self::fresh(&toy, n, smoothing, device, &mut rng)?;
        let measure = |tables: &mut Tables, scheme: &str, steps: usize, method: &str, x: &Tensor, w: &Tensor| {
            // the same directions for all
            let distance = sliced_wasserstein(x, w, &reference, 64, &mut Rng::new(t.seed).split(1));
            tables.quality.push((&t.name, t.seed, scheme, steps, method, "sliced_w2", distance));
            let mmd = mmd_square(x, w, &reference, 0.5);
            tables.quality.push((&t.name, t.seed, scheme, steps, method, "mmd²", mmd));
        };
        let other = Self::fresh(&toy, n, smoothing, device, &mut rng)?;
        measure(tables, "data", 0, "data", &other, &even(&other));
        let mut pictures = vec![("data".to_string(), reference.copy())];
        self.planar.generate(&t.flow, t.seed, 0.0, &mut |scheme, steps, run| {
            if !run.finished() {
                return Ok(());
            }
            let (walkers, ess) = (&run.walkers, run.walkers.ess());
            let part = toy.part(walkers.x());
            for (method, w) in both(walkers) {
                measure(tables, scheme, steps, method, walkers.x(), &w);
                for (j, (value, se)) in shares(&part, masses.len(), &w).into_iter().enumerate() {
                    let row: Vec<frame::Cell> = vec![
                        (&t.name).into(),
                        t.seed.into(),
                        scheme.into(),
                        steps.into(),
                        method.into(),
                        j.into(),
                        value.into(),
                        se.into(),
                        learned[j].into(),
                        data[j].into(),
                        ess.into(),
                    ];
                    tables.masses.push(row);
                }
            }
            if steps == self.planar.steps[0] || steps == self.planar.steps[self.planar.steps.len() / 2] {
                pictures.push((format!("plain, {scheme}, K = {steps}"), walkers.x().copy()));
                let drawn = run.samples(n, &mut Rng::new(t.seed).split(2));
                pictures.push((format!("reweighted, {scheme}, K = {steps}"), drawn));
            }
            Ok(())
        })?;
        Ok(pictures)
    }

    pub(super) fn evaluate_digits(
        &self,
        t: &Trained,
        (data, held_out): &(Dataset, Dataset),
        classifier: &Classifier,
        tables: &mut Tables,
    ) -> Result<Vec<(String, Tensor)>> {
        let l = &self.digits;
        let mut rng = Rng::new(t.seed).split(0x7e57);
        let noisy = |x: &Tensor, rng: &mut Rng| {
            let x = x.repeat([8, 1]);
            &x + rng.normal(&x.size(), Kind::Float, x.device()) * l.smoothing
        };
        let reference = noisy(&data.x, &mut rng);
        let energy = tch::no_grad(|| t.flow.energy(1.0, &reference)).to_kind(Kind::Double);
        let unseen = noisy(&held_out.x, &mut Rng::new(t.seed).split(0x4e1d));
        let unseen = Vec::<f64>::try_from(tch::no_grad(|| t.flow.energy(1.0, &unseen)).to_kind(Kind::Double))?;
        let classes = held_out.labels.as_deref().unwrap_or_default().repeat(8);
        let unseen = mean_by_class(&unseen, &classes, &LABELS, &COUNTS);
        let (mean, total) = (energy.mean(Kind::Double).double_value(&[]), COUNTS.iter().sum::<usize>() as f64);
        let measure = |tables: &mut Tables, scheme: &str, steps: usize, method: &str, x: &Tensor, w: &Tensor| {
            let distance = sliced_wasserstein(x, w, &reference, 64, &mut Rng::new(t.seed).split(1));
            tables.quality.push((&t.name, t.seed, scheme, steps, method, "sliced_w2", distance));
            let mmd = mmd_square(x, w, &reference, 4.0);
            tables.quality.push((&t.name, t.seed, scheme, steps, method, "mmd²", mmd));
            for (j, (value, se)) in shares(&classifier.classes(x), 3, w).into_iter().enumerate() {
                let ess = 1.0 / (x.size()[0] as f64 * w.square().sum(Kind::Double).double_value(&[]));
                let row: Vec<frame::Cell> = vec![
                    (&t.name).into(),
                    t.seed.into(),
                    scheme.into(),
                    steps.into(),
                    method.into(),
                    (LABELS[j] as usize).into(),
                    value.into(),
                    se.into(),
                    f64::NAN.into(),
                    (COUNTS[j] as f64 / total).into(),
                    ess.into(),
                ];
                tables.masses.push(row);
            }
        };
        let other = noisy(&data.x, &mut rng).narrow(0, 0, l.walkers.min(8 * data.len()) as i64);
        measure(tables, "data", 0, "data", &other, &even(&other));
        let mut pictures = vec![("data".to_string(), other)];
        // reweighted walkers are resampled on the way, so that plain ones need a run of their own
        for (scheme, eps) in l.schemes.iter().zip(&l.eps) {
            for &steps in &l.steps {
                let kernel = FlowKernel::named(scheme, *eps)?;
                let transport = Transport::new(kernel, steps, l.walkers, t.seed).every(steps);
                let plain = transport.clone().plain().run(&t.flow)?;
                let weighted = transport.ess_min(0.5).run(&t.flow)?;
                if !plain.finished() || !weighted.finished() {
                    continue;
                }
                let w = &weighted.walkers;
                measure(tables, scheme, steps, "plain", plain.walkers.x(), &even(plain.walkers.x()));
                measure(tables, scheme, steps, "reweighted", w.x(), &w.weights());
                let z = w.log_z();
                let place = format!("{scheme}, K = {steps}");
                tables.distributions.push((&t.name, t.seed, &place, "log_z", z.value, z.se));
                tables.distributions.push((&t.name, t.seed, &place, "cross_entropy_train", mean + z.value, z.se));
                // eight copies of an image with other noise are not eight images
                let se = (8f64.sqrt() * unseen.se).hypot(z.se);
                let held_out = unseen.value + z.value;
                tables.distributions.push((&t.name, t.seed, &place, "cross_entropy_test", held_out, se));
                if scheme == &l.schemes[0] {
                    pictures.push((format!("plain, {place}"), plain.walkers.x().copy()));
                    pictures
                        .push((format!("reweighted, {place}"), weighted.samples(48, &mut Rng::new(t.seed).split(2))));
                }
            }
        }
        Ok(pictures)
    }
}
