//! Learn a normalised energy of 28×28 digits along a ladder of noise levels, and measure log Z, masses and samples by its weights.

use crate::evaluate::classifier::Classifier;
use crate::evaluate::distances::frechet;
use crate::evaluate::held_out::{hold_out, mean_by_class};
use crate::evaluate::{stack, with_error};
use crate::images::pixels;
use crate::{Context, Experiment, Output};
use jarzynski::data::{self, Dataset, Split};
use jarzynski::io::frame;
use jarzynski::kernel::Denoise;
use jarzynski::model::{LadderShape, NoiseLadder};
use jarzynski::numeric::Rng;
use jarzynski::run::Run;
use jarzynski::tch::{Kind, Tensor, no_grad};
use jarzynski::train::{DualScoreMatching, Optim};
use jarzynski::{Error, Estimate, Path, Result, Transport, Walkers};
use serde::{Deserialize, Serialize};

/// Methods: `gaussian`, the untrained ladder; `dual-score-plain`, the trained one without weights, its energy taken for normalised;
/// `dual-score`, the same with weights, log Z measured.
///
/// Tables: `steps`, the trainings' rows; `masses`, the classes' shares of each population; `summary` with `cross_entropy_test`,
/// `cross_entropy_train` and `bits_per_dim_test` (H/(d ln 2)) of images with fresh noise; `log_z` and `log_z_twice`, with twice the
/// steps; `ess` of a run without resampling; `mass_distance`, half the sum of the classes' deviations; `confident_share`, the
/// weighted share of samples that the classifier names with more than 90 %, and the same of the noisy test images as method
/// `data`; `frechet`, the Fréchet distance to test images in the classifier's features; `seconds` of training. Test images are
/// all of the classes beyond the first `counts` of MNIST's training file, with the classes weighted as in the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MnistLadder {
    /// Classes taken.
    pub labels: Vec<i64>,
    /// Images of each class to train on: unbalanced on purpose. All others of these classes are held out.
    pub counts: Vec<usize>,
    /// The lowest noise level, in units of pixels scaled to [−1, 1].
    pub noise: f64,
    /// Hidden widths of the MLP.
    pub widths: Vec<i64>,
    /// Leading principal axes that it sees.
    pub axes: usize,
    /// The highest noise level, in units of the data's largest standard deviation along an axis.
    pub highest: f64,
    /// Updates.
    pub steps: usize,
    /// Images per update.
    pub batch: usize,
    /// Learning rate of Adam, falling to 0 as a cosine.
    pub lr: f64,
    /// Its weight decay.
    pub weight_decay: f64,
    /// Weight of the loss in the noise level.
    pub time_score: f64,
    /// Noise levels that the walkers come down by.
    pub levels: usize,
    /// Walkers.
    pub walkers: usize,
    /// Moves at each level of the weighted population.
    pub moves: usize,
    /// Their step.
    pub move_step: f64,
    /// Resample below this ESS/N.
    pub ess_min: f64,
    /// Training steps of the classifier.
    pub classifier_steps: usize,
    /// Steps between recorded rows.
    pub every: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for MnistLadder {
    fn default() -> Self {
        MnistLadder {
            labels: vec![2, 3, 6],
            counts: vec![5_600, 2_800, 1_400],
            noise: 0.3,
            widths: vec![512, 512],
            axes: 200,
            highest: 1.0,
            steps: 2_500,
            batch: 256,
            lr: 5e-3,
            weight_decay: 0.3,
            time_score: 1.0,
            levels: 100,
            walkers: 2_048,
            moves: 0,
            move_step: 0.02,
            ess_min: 0.5,
            classifier_steps: 600,
            every: 50,
            seed: 0,
            seeds: 1,
        }
    }
}

const METHODS: [&str; 3] = ["gaussian", "dual-score-plain", "dual-score"];

/// A population of one method, and the log Z that its energy is taken to have.
struct Population {
    method: &'static str,
    seed: u64,
    walkers: Walkers,
    log_z: Estimate,
    samples: Tensor,
}

struct Evaluator<'a> {
    config: &'a MnistLadder,
    classifier: Classifier,
    training: &'a Dataset,
    test: &'a Dataset,
}

impl Evaluator<'_> {
    fn noisy(&self, data: &Dataset, seed: u64, split: u64) -> Tensor {
        let mut rng = Rng::new(seed).split(split);
        &data.x + rng.normal(&data.x.size(), Kind::Float, data.x.device()) * self.config.noise
    }

    /// Cross-entropies on test and on training images.
    fn cross_entropies(&self, ladder: &NoiseLadder, seed: u64, z: Estimate) -> Result<[Estimate; 2]> {
        let of = |x: &Tensor| no_grad(|| ladder.energy(1.0, x)).to_kind(Kind::Double);
        let unseen = Vec::<f64>::try_from(of(&self.noisy(self.test, seed, 0x4e1d)))?;
        let classes = self.test.labels.as_deref().unwrap_or_default();
        let unseen = mean_by_class(&unseen, classes, &self.config.labels, &self.config.counts);
        let seen = of(&self.noisy(self.training, seed, 0x7e57)).mean(Kind::Double).double_value(&[]);
        Ok([Estimate::new(unseen.value + z.value, unseen.se.hypot(z.se)), Estimate::new(seen + z.value, z.se)])
    }

    fn rows(&self, ladder: &NoiseLadder, p: &Population, out: &mut [frame::Rows; 2]) -> Result<()> {
        let [summary, masses] = out;
        let MnistLadder { labels, counts, noise, .. } = self.config;
        let data = format!("MNIST {labels:?}");
        let (weighted, n) = (p.method == METHODS[2], p.walkers.len() as f64);
        let mean = |is: &Tensor| -> Result<Estimate> {
            if weighted {
                return p.walkers.mean(is);
            }
            let share = is.mean(Kind::Double).double_value(&[]);
            Ok(Estimate::new(share, (share * (1.0 - share) / n).sqrt()))
        };
        let mut add = |quantity: &str, e: Estimate| {
            summary.push((&data, *noise, p.method, p.seed, quantity, e.value, e.se));
        };
        let [test, train] = self.cross_entropies(ladder, p.seed, p.log_z)?;
        let bits = self.test.dim() as f64 * std::f64::consts::LN_2;
        add("cross_entropy_test", test);
        add("cross_entropy_train", train);
        add("bits_per_dim_test", Estimate::new(test.value / bits, test.se / bits));
        add("log_z", p.log_z);
        let named = self.classifier.classes(p.walkers.x());
        let total: usize = counts.iter().sum();
        let (mut distance, mut square) = (0.0, 0.0);
        for (i, label) in labels.iter().enumerate() {
            let model = mean(&named.eq(i as i64).to_kind(Kind::Double))?;
            let share = counts[i] as f64 / total as f64;
            masses.push((p.method, p.seed, *label, share, model.value, model.se));
            distance += 0.5 * (model.value - share).abs();
            square += (0.5 * model.se).powi(2);
        }
        add("mass_distance", Estimate::new(distance, square.sqrt()));
        let sure = self.classifier.confidence(p.walkers.x()).gt(0.9).to_kind(Kind::Double);
        add("confident_share", mean(&sure)?);
        let weights = if weighted { p.walkers.weights() } else { Tensor::full_like(&p.walkers.weights(), 1.0 / n) };
        let test = self.noisy(self.test, p.seed, 0xf4e);
        let features = |x: &Tensor| self.classifier.features(x);
        add("frechet", Estimate::new(frechet(&features(p.walkers.x()), &weights, &features(&test)), f64::NAN));
        Ok(())
    }
}

impl MnistLadder {
    fn transport(&self, factor: usize, seed: u64) -> Transport<Denoise> {
        let kernel = if self.moves == 0 { Denoise::new() } else { Denoise::moves(self.moves, self.move_step) };
        let steps = self.levels * factor;
        Transport::new(kernel, steps, self.walkers, seed ^ 0x1adde4)
            .ess_min(self.ess_min)
            .every(steps.div_ceil(20).max(1))
    }

    fn population(&self, method: &'static str, seed: u64, run: Run, log_z: Estimate) -> Population {
        let samples = run.samples(48, &mut Rng::new(seed).split(0x5a3));
        Population { method, seed, walkers: run.walkers, log_z, samples }
    }
}

fn known(run: &Run) -> Result<Estimate> {
    let z = run.log_z().ok_or_else(|| Error::param("log Z", "none", "that of a finished run with weights"))?;
    Ok(Estimate::new(z.value, z.se))
}

impl Experiment for MnistLadder {
    const NAME: &'static str = "mnist-ladder";
    const ABOUT: &'static str =
        "a normalised energy of 28×28 digits along a ladder of noise levels (needs `make datasets`)";
    const SMALL: &'static str = "counts = [40, 20, 10]\nwidths = [8]\naxes = 5\nsteps = 4\nbatch = 16\nlevels = 3\nwalkers = 16\n\
         classifier_steps = 2\nevery = 2";
    const DATA: Option<&'static str> = Some("mnist");
    const ON_REQUEST: bool = true;

    fn full() -> Self {
        MnistLadder { steps: 20_000, levels: 200, walkers: 4_096, seeds: 3, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        let all = data::mnist(Split::Train)?.scale(-1.0, 1.0)?.with_kind(Kind::Float)?.on(context.device);
        let (training, test) = hold_out(&all, &self.labels, &self.counts)?;
        let classifier = Classifier::train(&all, &self.labels, self.noise, self.classifier_steps, self.seed)?;
        let evaluator = Evaluator { config: self, classifier, training: &training, test: &test };
        let mut tables = [
            frame::Rows::new(&["data", "noise", "method", "seed", "quantity", "value", "se"]),
            frame::Rows::new(&["method", "seed", "label", "data", "model", "se"]),
        ];
        let mut out = Output::default();
        let (mut runs, mut sheets) = (Vec::new(), Vec::new());
        for seed in (self.seed..).take(self.seeds.max(1)) {
            let shape = LadderShape {
                widths: self.widths.clone(),
                axes: Some(self.axes),
                highest: self.highest,
                seed,
                ..Default::default()
            };
            let mut ladder = NoiseLadder::new(&training.x, self.noise, &shape)?;
            let exact = Estimate::new(0.0, 0.0);
            let plain = Transport::new(Denoise::new(), self.levels, self.walkers, seed).plain().quiet();
            let fit = self.population(METHODS[0], seed, plain.run(&ladder)?, exact);
            evaluator.rows(&ladder, &fit, &mut tables)?;
            let mut training_run = DualScoreMatching::new()
                .steps(self.steps)
                .batch(self.batch.min(training.len()))
                .lr(self.lr)
                .time_score(self.time_score)
                .optim(Optim::AdamW { weight_decay: self.weight_decay })
                .every(self.every.min(self.steps.max(1)))
                .seed(seed);
            training_run.checkpointing = context.checkpointing(&format!("dual-score-{seed}"));
            let run = training_run.train(&mut ladder, &training.x)?;
            let without = self.population(METHODS[1], seed, plain.run(&ladder)?, exact);
            evaluator.rows(&ladder, &without, &mut tables)?;
            let weighted = self.transport(1, seed).run(&ladder)?;
            let z = known(&weighted)?;
            let twice = known(&self.transport(2, seed).run(&ladder)?)?;
            let alone = self.transport(1, seed).ess_min(0.0).run(&ladder)?.walkers.ess();
            let last = self.population(METHODS[2], seed, weighted, z);
            evaluator.rows(&ladder, &last, &mut tables)?;
            let of = format!("MNIST {:?}", self.labels);
            for (quantity, value, se) in
                [("log_z_twice", twice.value, twice.se), ("ess", alone, f64::NAN), ("seconds", run.seconds, f64::NAN)]
            {
                tables[0].push((&of, self.noise, METHODS[2], seed, quantity, value, se));
            }
            if seed == self.seed {
                sheets = vec![fit, without, last];
            }
            runs.push(("dual-score".to_string(), seed, run));
        }
        let sure =
            evaluator.classifier.confidence(&evaluator.noisy(&test, self.seed, 0xf4e)).gt(0.9).to_kind(Kind::Double);
        let sure = sure.mean(Kind::Double).double_value(&[]);
        tables[0].push((
            &format!("MNIST {:?}", self.labels),
            self.noise,
            "data",
            self.seed,
            "confident_share",
            sure,
            f64::NAN,
        ));
        out.table("steps", stack(&runs, &["step", "lr", "loss_denoising", "loss_level", "grad_norm", "seconds"])?);
        out.table("summary", tables[0].finish()?);
        out.table("masses", tables[1].finish()?);
        self.say(&mut out, &evaluator)?;
        #[cfg(feature = "plot")]
        {
            let samples = self.sheet(&evaluator, &sheets)?;
            out.figure("samples", samples);
        }
        #[cfg(not(feature = "plot"))]
        drop(sheets);
        Ok(out)
    }
}

impl MnistLadder {
    fn say(&self, out: &mut Output, evaluator: &Evaluator) -> Result<()> {
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
    fn sheet(&self, evaluator: &Evaluator, sheets: &[Population]) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let side = (evaluator.training.dim() as f64).sqrt().round() as usize;
        let grid = |title: &str, x: &Tensor| Panel::images(title, &pixels(x, 48), (side, side), 12, (-1.0, 1.0));
        let mut figure = Figure::new(980, 900).title("MNIST 2, 3, 6 along a ladder of noise levels").columns(2);
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
}
