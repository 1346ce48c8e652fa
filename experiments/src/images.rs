//! Compare the three methods on images with the Gaussian fit: train, anneal every final model the same way, classify, draw.
//! Shared by `digits` and `mnist`.

use crate::evaluate::classifier::Classifier;
use crate::evaluate::held_out::{hold_out, mean_by_class};
use crate::evaluate::{stack, with_error};
use crate::{Context, Output};
use jarzynski::data::Dataset;
use jarzynski::density::{Base, Differentiable, Energy, Geometric, Model, RowNumbers, Whiten};
use jarzynski::io::frame;
use jarzynski::kernel::{Mala, Reversed, Whitened};
use jarzynski::model::Gaussian;
use jarzynski::numeric::Rng;
use jarzynski::run::Run;
use jarzynski::run::memory::{Memory, Sizes};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::train::{Method, Optim, Settings, Trainer, TrustRegion};
use jarzynski::transport::Transport;
use jarzynski::walkers::{Estimate, Walkers};
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// What both experiments configure.
///
/// Tables: `steps`, the trainings' rows, whose cross-entropies are of the training batch; `masses`, each class's share of a
/// population; `summary` with the final models' `cross_entropy_train` and `cross_entropy_test` on images with fresh noise by the
/// log Ẑ of an annealed population. Test images are all of the classes beyond the first `counts`, never trained on, and weighted so
/// that classes have the shares of the training data. Method `gaussian` is the fit of mean and covariance to the training images
/// with their noise, whose log Z is exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Hidden widths of the MLP, or channels of the CNN.
    pub net: Vec<i64>,
    /// Hidden layers in bfloat16, for GPUs with units for it.
    pub mixed: bool,
    /// Classes taken.
    pub labels: Vec<i64>,
    /// Images of each class to train on: unbalanced on purpose. All others of these classes are held out.
    pub counts: Vec<usize>,
    /// Fresh Gaussian noise on every data batch, in units of pixels scaled to [−1, 1].
    pub noise: f64,
    /// The exact start: `gaussian`, the fit to the training images with their noise; or `isotropic`, N(0, σ²I).
    pub start: String,
    /// Its σ, where it is isotropic; else 1.
    pub sigma: f64,
    /// MALA step in whitened coordinates, those in which the start is N(0, I).
    pub h: f64,
    /// MALA moves per update.
    pub moves: usize,
    /// Walkers N; the monitor has as many.
    pub walkers: usize,
    /// Updates.
    pub steps: usize,
    /// Images per update.
    pub batch: usize,
    /// Optimiser of Jarzynski and PCD, for which an ESS limit bounds every step if it is `natural`.
    pub optim: Optim,
    /// Its learning rate.
    pub lr: f64,
    /// Adam's learning rate for CD, whose walkers have no ESS.
    pub lr_cd: f64,
    /// Updates of CD in multiples of `steps`.
    pub multiple_cd: usize,
    /// Least conditional ESS of one update of the Jarzynski method, and of PCD with natural gradients.
    pub ess: f64,
    /// Resample below this ESS/N.
    pub ess_min: f64,
    /// Steps of the annealing that evaluates every final model.
    pub anneal_steps: usize,
    /// Its walkers.
    pub anneal_walkers: usize,
    /// Training steps of the classifier.
    pub classifier_steps: usize,
    /// Steps between recorded rows.
    pub every: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

const STEPS: &[&str] = &[
    "step",
    "cross_entropy",
    "cross_entropy_monitor",
    "energy_data",
    "energy_walkers",
    "log_z",
    "log_z_se",
    "log_z_monitor",
    "log_z_monitor_se",
    "ess",
    "ess_monitor",
    "resampled",
    "resampled_monitor",
    "step_fraction",
    "ess_step",
    "backtracks",
    "substeps",
    "acceptance",
    "grad_norm",
    "forward",
    "backward",
    "seconds",
];

/// The fit and the trained models, as the summary shows them.
pub(super) const METHODS: [&str; 4] = ["gaussian", "jarzynski", "pcd", "cd"];

/// What is known of one final model.
struct Evaluated {
    method: &'static str,
    seed: u64,
    /// On the training images and on test images.
    cross_entropy: [Estimate; 2],
    log_z: Estimate,
    ess: f64,
    samples: Vec<Vec<f32>>,
}

/// The classes' share of a population, with weights: value and standard error for each class.
fn masses(classifier: &Classifier, classes: usize, walkers: &Walkers, weighted: bool) -> Result<Vec<(f64, f64)>> {
    let named = classifier.classes(walkers.x());
    (0..classes)
        .map(|c| {
            let is = named.eq(c as i64).to_kind(Kind::Double);
            if weighted {
                return walkers.mean(&is).map(|e| (e.value, e.se));
            }
            let p = is.mean(Kind::Double).double_value(&[]);
            Ok((p, (p * (1.0 - p) / walkers.len() as f64).sqrt()))
        })
        .collect()
}

/// Mean and standard error over seeds of a method's cross-entropies on training and on test images.
fn over_seeds(evaluated: &[Evaluated], method: &str) -> [(f64, f64); 2] {
    [0, 1].map(|i| {
        let of = evaluated.iter().filter(|j| j.method == method);
        frame::mean_se(&of.map(|j| j.cross_entropy[i].value).collect::<Vec<_>>())
    })
}

/// First rows of a tensor as pixels.
pub(super) fn pixels(x: &Tensor, n: usize) -> Vec<Vec<f32>> {
    let rows = x
        .narrow(0, 0, (n as i64).min(x.size()[0]))
        .to_kind(Kind::Float)
        .to_device(jarzynski::tch::Device::Cpu)
        .contiguous();
    rows.unbind(0).iter().map(|r| Vec::<f32>::try_from(r).unwrap_or_default()).collect()
}

impl Images {
    /// What the trainings and the annealing of an [`Mlp`](jarzynski::model::Mlp) need, with a file of `images` of `dim` pixels.
    pub(super) fn memory(&self, dim: usize, images: usize) -> Memory {
        let widths: Vec<usize> = self.net.iter().map(|w| *w as usize).collect();
        let graph = if self.mixed { 1 } else { 2 } * widths.iter().sum::<usize>();
        let inputs = [dim].into_iter().chain(widths.iter().copied());
        let parameters: usize = inputs.zip(widths.iter().copied().chain([1])).map(|(a, b)| (a + 1) * b).sum();
        let training = Sizes {
            parameters: parameters as u64,
            // the gradient, and both ends of a step that the ESS limits
            copies: 3,
            row: RowNumbers { kept: 2 * dim, graph },
            monitor: self.walkers as u64,
            batch: self.batch as u64,
            data: images as u64,
            graphs: true,
            ..Sizes::of(Kind::Float, dim, self.walkers)
        };
        let annealing =
            Sizes { walkers: self.anneal_walkers as u64, monitor: 0, batch: 0, copies: 0, graphs: false, ..training };
        Memory::of(&training).or(Memory::of(&annealing))
    }

    /// Trains `model(seed)` by each method and seed on `data` (scaled to [−1, 1]) and returns tables and figures.
    pub(super) fn compare<M: Model + Differentiable + Whiten>(
        &self,
        title: &str,
        data: &Dataset,
        context: &Context,
        model: impl Fn(u64, Option<&Gaussian>) -> Result<M>,
    ) -> Result<Output> {
        let (chosen, test) = hold_out(data, &self.labels, &self.counts)?;
        let fit = Gaussian::fit(&chosen.x, self.noise)?;
        let start = match self.start.as_str() {
            "gaussian" => Some(&fit),
            "isotropic" => None,
            other => return Err(Error::param("start", other, "gaussian, isotropic")),
        };
        let classifier = Classifier::train(data, &self.labels, self.noise, self.classifier_steps, self.seed)?;
        let total: usize = self.counts.iter().sum();
        let kernel = Whitened::new(Reversed::sweeps(Mala::new(self.h), self.moves));
        let once = Whitened::new(Reversed::new(Mala::new(self.h)));
        let (mut runs, mut evaluated): (Vec<(String, u64, Run)>, Vec<Evaluated>) = Default::default();
        for seed in (self.seed..).take(self.seeds.max(1)) {
            evaluated.push(self.evaluate_fit(seed, fit.on(Kind::Double, data.x.device())?, [&chosen, &test])?);
        }
        let mut table = frame::Rows::new(&["method", "seed", "label", "data", "model", "se"]);
        for method in [Method::Jarzynski { ess_min: self.ess_min }, Method::Pcd, Method::Cd { k: self.moves }] {
            for seed in (self.seed..).take(self.seeds.max(1)) {
                let (mut net, name) = (model(seed, start)?, method.name());
                let (jarzynski, cd) = (name == "jarzynski", name == "cd");
                let natural = matches!(self.optim, Optim::Natural { .. });
                let limited = jarzynski || (natural && !cd);
                let settings = Settings {
                    walkers: self.walkers,
                    steps: if cd { self.steps * self.multiple_cd } else { self.steps },
                    lr: if cd { self.lr_cd } else { self.lr },
                    optim: if cd { Optim::Adam } else { self.optim },
                    trust_region: limited.then_some(TrustRegion::Shrink { ess: self.ess }),
                    batch: Some(self.batch.min(chosen.len())),
                    data_noise: self.noise.into(),
                    every: self.every.min(self.steps.max(1)),
                    seed,
                    ..Default::default()
                };
                // CD restarts before every update, `moves` times one MALA move.
                let kernel = if let Method::Cd { .. } = method { once } else { kernel };
                let mut trainer = Trainer::new(kernel, method).settings(settings);
                trainer.checkpointing = context.checkpointing(&format!("{name}-{seed}"));
                let run = trainer.train(&mut net, &chosen.x)?;
                let mut add = |who: String, w: &Walkers, weighted: bool| -> Result<()> {
                    for (i, (value, se)) in masses(&classifier, self.labels.len(), w, weighted)?.into_iter().enumerate()
                    {
                        let share = self.counts[i] as f64 / total as f64;
                        table.push((&who, seed, self.labels[i], share, value, se));
                    }
                    Ok(())
                };
                add(format!("{name}-walkers"), &run.walkers, jarzynski)?;
                if let Some(monitor) = &run.monitor {
                    add(format!("{name}-monitor"), monitor, true)?;
                }
                let path = Geometric { base: net.base()?, target: &net };
                let annealed = Transport::new(once, self.anneal_steps, self.anneal_walkers, seed ^ 0xa11ea1)
                    .ess_min(0.5)
                    .every(self.anneal_steps.max(1))
                    .run::<Geometric<Box<dyn Base>, &M>>(&path)?;
                add(name.to_string(), &annealed.walkers, true)?;
                evaluated.push(self.evaluate(name, seed, &net, [&chosen, &test], &annealed)?);
                runs.push((name.to_string(), seed, run));
            }
        }
        let mut out = Output::default();
        out.table("steps", stack(&runs, STEPS)?);
        out.table("masses", table.finish()?);
        out.table("summary", self.summary(&evaluated, &classifier)?);
        out.note(format!(
            "test images: all {} of classes {:?} in {} beyond the first {:?} of each, which are the training images",
            test.len(),
            self.labels,
            data.name,
            self.counts
        ));
        self.say(&mut out, &runs, &evaluated, &classifier)?;
        #[cfg(feature = "plot")]
        {
            let curves = self.curves(title, &out, &evaluated)?;
            out.figure("curves", curves);
            out.figure("samples", self.samples(title, &chosen, &evaluated));
        }
        Ok(out)
    }

    /// Mean −log ρ̃ of training and of test images with fresh noise, the same noise for every model of a seed. `energy`: −log ρ̃ of
    /// rows; `z`: the log of its integral.
    fn cross_entropies(
        &self,
        seed: u64,
        [training, test]: [&Dataset; 2],
        z: Estimate,
        energy: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<[Estimate; 2]> {
        let of = |data: &Dataset, split: u64| {
            let mut rng = Rng::new(seed).split(split);
            let noisy = &data.x + rng.normal(&data.x.size(), Kind::Float, data.x.device()) * self.noise;
            energy(&noisy)
        };
        let seen = of(training, 0x7e57)?.mean(Kind::Double).double_value(&[]);
        let unseen = Vec::<f64>::try_from(of(test, 0x4e1d)?.to_kind(Kind::Double))?;
        let classes = test.labels.as_deref().unwrap_or_default();
        let unseen = mean_by_class(&unseen, classes, &self.labels, &self.counts);
        Ok([Estimate::new(seen + z.value, z.se), Estimate::new(unseen.value + z.value, unseen.se.hypot(z.se))])
    }

    /// Cross-entropies, log Z and samples by the annealed population.
    fn evaluate<M: Model>(
        &self,
        method: &'static str,
        seed: u64,
        net: &M,
        data: [&Dataset; 2],
        annealed: &Run,
    ) -> Result<Evaluated> {
        let z = annealed.walkers.log_z();
        let cross_entropy =
            self.cross_entropies(seed, data, Estimate::new(z.value, z.se), |x| Ok(net.evaluate_data(x).u))?;
        let mut rng = Rng::new(seed).split(0x5a3);
        let (ess, samples) = (annealed.walkers.ess(), pixels(&annealed.samples(48, &mut rng), 48));
        Ok(Evaluated { method, seed, cross_entropy, log_z: z, ess, samples })
    }

    /// The same of the Gaussian fit, whose log Z is exact and whose draws are.
    fn evaluate_fit(&self, seed: u64, fit: Gaussian, data: [&Dataset; 2]) -> Result<Evaluated> {
        let log_z = Estimate::new(fit.log_z(), 0.0);
        let cross_entropy = self.cross_entropies(seed, data, log_z, |x| Ok(fit.energy(&x.to_kind(Kind::Double))))?;
        let samples = pixels(&fit.sample(48, &mut Rng::new(seed).split(0x5a3)), 48);
        Ok(Evaluated { method: METHODS[0], seed, cross_entropy, log_z, ess: 1.0, samples })
    }

    fn summary(
        &self,
        evaluated: &[Evaluated],
        classifier: &Classifier,
    ) -> Result<jarzynski::polars::prelude::DataFrame> {
        let mut rows = frame::Rows::new(&["case", "method", "quantity", "value", "se", "exact"]);
        for j in evaluated {
            let case = format!("seed={}", j.seed);
            for (quantity, value, se) in [
                ("cross_entropy_test", j.cross_entropy[1].value, j.cross_entropy[1].se),
                ("cross_entropy_train", j.cross_entropy[0].value, j.cross_entropy[0].se),
                ("log_z", j.log_z.value, j.log_z.se),
                ("ess_anneal", j.ess, f64::NAN),
            ] {
                rows.push((&case, j.method, quantity, value, se, f64::NAN));
            }
        }
        rows.push(("classifier", "data", "accuracy", classifier.accuracy, f64::NAN, f64::NAN));
        rows.finish()
    }

    fn say(
        &self,
        out: &mut Output,
        runs: &[(String, u64, Run)],
        evaluated: &[Evaluated],
        c: &Classifier,
    ) -> Result<()> {
        out.note(format!("classifier's accuracy on held-out noisy images: {:.3}", c.accuracy));
        let all = frame::bands(out.get("masses")?, &["method", "label"], "seed", &["model", "data"])?;
        for method in ["data", "jarzynski", "jarzynski-monitor", "jarzynski-walkers", "pcd", "pcd-walkers", "cd"] {
            let part = frame::filter(&all, "method", if method == "data" { "jarzynski" } else { method })?;
            let column = if method == "data" { "data" } else { "model" };
            let (v, se) = (frame::column_f64(&part, column)?, frame::column_f64(&part, &format!("{column}_se"))?);
            let text: Vec<String> = v.iter().zip(se).map(|(v, s)| with_error(*v, s, 3)).collect();
            out.note(format!("masses {method:<18} {}", text.join("  ")));
        }
        for method in METHODS {
            let [training, test] = over_seeds(evaluated, method).map(|(m, se)| with_error(m, se, 2));
            let seconds: Vec<f64> = runs.iter().filter(|r| r.0 == method).map(|r| r.2.seconds).collect();
            let how = match seconds.is_empty() {
                true => "exact".to_string(),
                false => format!("by annealing; {:.0} s a run", frame::mean_se(&seconds).0),
            };
            out.note(format!("cross-entropy {method:<9} test images {test}, training images {training} nats, {how}"));
        }
        for (name, seed, run) in runs.iter().filter(|r| !r.2.finished()) {
            out.note(format!("{name}, seed {seed}: {:?}", run.outcome));
        }
        Ok(())
    }

    #[cfg(feature = "plot")]
    fn curves(&self, title: &str, out: &Output, evaluated: &[Evaluated]) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let steps = frame::filter(out.get("steps")?, "method", "jarzynski")?;
        let columns = ["cross_entropy", "cross_entropy_monitor", "ess", "ess_monitor", "step_fraction"];
        let bands = frame::bands(&steps, &["method", "step"], "seed", &columns)?;
        let x = frame::column_f64(&bands, "step")?;
        let curve = |panel: Panel, label: &str, column: &str| -> Result<Panel> {
            let (y, se) = (frame::column_f64(&bands, column)?, frame::column_f64(&bands, &format!("{column}_se"))?);
            let edge = |sign: f64| y.iter().zip(&se).map(|(y, s)| y + sign * s).collect::<Vec<_>>();
            Ok(panel.band(label, &x, &edge(-1.0), &edge(1.0)).line(label, &x, &y))
        };
        let entropy = Panel::new("cross-entropy of the Jarzynski run, training batch").x("updates").y("H / nats");
        let mut entropy = curve(entropy, "jarzynski-walkers", "cross_entropy")?;
        entropy = curve(entropy, "monitor", "cross_entropy_monitor")?;
        let mut finals = Panel::new("final models: test images, and training images beside them").y("H / nats");
        let stats = METHODS.map(|m| over_seeds(evaluated, m));
        finals = finals.categories(&METHODS);
        for (i, m) in METHODS.iter().enumerate() {
            for (who, shift, (value, se)) in
                [(m.to_string(), -0.12, stats[i][1]), (format!("{m}, training"), 0.12, stats[i][0])]
            {
                finals = finals.errorbars(&who, &[i as f64 + shift], &[value], &[se]);
            }
        }
        let (last, [train, test]) = (self.steps as f64, stats[1]);
        entropy = entropy.errorbars("annealed, training images", &[last], &[train.0], &[train.1]);
        entropy = entropy.errorbars("annealed, test images", &[last], &[test.0], &[test.1]);
        entropy = entropy.hline("gaussian, test images", stats[0][1].0);
        let ess = Panel::new("effective sample size").x("updates").y("ESS / N").ylim(0.0, 1.0);
        let ess = curve(curve(ess, "jarzynski-walkers", "ess")?, "monitor", "ess_monitor")?;
        let all = frame::bands(out.get("masses")?, &["method", "label"], "seed", &["model", "data"])?;
        let names: Vec<String> = self.labels.iter().map(|l| format!("digit {l}")).collect();
        let mut bars = Panel::new("class masses of the models (± s.e. over seeds)").y("mass").categories(&names);
        let data = frame::filter(&all, "method", "jarzynski")?;
        bars = bars.bars("data", &frame::column_f64(&data, "data")?, &[]);
        for method in METHODS.iter().skip(1) {
            let part = frame::filter(&all, "method", method)?;
            bars = bars.bars(method, &frame::column_f64(&part, "model")?, &frame::column_f64(&part, "model_se")?);
        }
        Ok(Figure::new(980, 700).title(title).columns(2).panel(entropy).panel(bars).panel(ess).panel(finals))
    }

    #[cfg(feature = "plot")]
    fn samples(&self, title: &str, data: &Dataset, evaluated: &[Evaluated]) -> jarzynski::plot::Figure {
        use jarzynski::plot::{Figure, Panel};
        let side = (data.dim() as f64).sqrt().round() as usize;
        let mut rng = Rng::new(self.seed).split(0x91c);
        let pick = Tensor::from_slice(&rng.permutation(data.len())[..48.min(data.len())]);
        let x = data.x.index_select(0, &pick.to_device(data.x.device()));
        let noisy = &x + rng.normal(&x.size(), Kind::Float, x.device()) * self.noise;
        let grid = |title: &str, images: &[Vec<f32>]| Panel::images(title, images, (side, side), 12, (-1.0, 1.0));
        let mut figure =
            Figure::new(980, 640).title(&format!("{title}: data, the fit, and annealed, weighted samples")).columns(2);
        figure = figure.panel(grid("data with the training noise", &pixels(&noisy, 48)));
        for j in evaluated.iter().filter(|j| j.seed == self.seed) {
            figure = figure.panel(grid(j.method, &j.samples));
        }
        figure
    }
}
