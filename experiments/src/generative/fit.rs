//! Train a network of one's own by Adam on one or more losses in turn: a procedure as a user of the library writes it.

use jarzynski::density::Evaluation;
use jarzynski::io::Checkpoint;
use jarzynski::run::{Health, Outcome, Pace, Parts, Procedure, Recorder, Row, Run, Tally};
use jarzynski::serde_json::{Value, json};
use jarzynski::tch::{self, Device, Kind, Tensor, nn};
use jarzynski::train::Schedule;
use jarzynski::walkers::Walkers;
use jarzynski::{Checkpointing, Driver, Result, Rng};
use std::collections::BTreeMap;

/// A network with its losses. A step takes one Adam update for each of them, of the parameters whose names begin with its own.
pub(super) trait Network: std::fmt::Debug {
    /// What the training is called.
    const NAME: &'static str;
    /// Names of the losses, in the order of the updates.
    const LOSSES: &'static [&'static str];
    /// Adam's β.
    const BETAS: [f64; 2];

    fn vars(&self) -> &nn::VarStore;

    /// The loss of that name on rows of data, 0-dimensional, with its graph.
    fn loss(&self, which: usize, x: &Tensor, rng: &mut Rng) -> Tensor;

    /// n draws, `[n, d]`.
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor;

    fn parameter_count(&self) -> usize {
        self.vars().trainable_variables().iter().map(Tensor::numel).sum()
    }
}

/// How a [`Network`] is trained.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    pub steps: usize,
    pub batch: usize,
    pub lr: f64,
    pub schedule: Schedule,
    /// Standard deviation of fresh noise on every batch.
    pub noise: f64,
    pub seed: u64,
    pub checkpointing: Option<Checkpointing>,
}

impl Fit {
    /// Trains `net` on rows `[n, d]` and gives it back.
    pub fn train<N: Network>(&self, net: N, data: &Tensor) -> Result<(Run, N)> {
        let procedure = Fitting::new(self.clone(), &net, data);
        let mut run: Driver<N> = Driver::open(Box::new(procedure), net, self.checkpointing.as_ref())?;
        while run.step()?.is_some() {}
        run.finish()
    }
}

/// Adam's means of one group of parameters.
#[derive(Debug)]
struct Adam {
    params: Vec<Tensor>,
    moments: [Vec<Tensor>; 2],
}

impl Adam {
    fn step(&mut self, grads: &[Tensor], k: usize, lr: f64, betas: [f64; 2]) {
        let _guard = tch::no_grad_guard();
        let [unbiased, square] = betas.map(|b| 1.0 - b.powi(k as i32 + 1));
        let [first, second] = &mut self.moments;
        for (((p, g), m), v) in self.params.iter_mut().zip(grads).zip(first).zip(second) {
            *m = &*m * betas[0] + g * (1.0 - betas[0]);
            *v = &*v * betas[1] + g.square() * (1.0 - betas[1]);
            *p -= (&*m / unbiased) / ((&*v / square).sqrt() + 1e-8) * lr;
        }
    }
}

/// The procedure.
#[derive(Debug)]
struct Fitting {
    fit: Fit,
    data: Tensor,
    rng: Rng,
    adam: Vec<Adam>,
    nobody: Walkers,
}

impl Fitting {
    fn new<N: Network>(fit: Fit, net: &N, data: &Tensor) -> Self {
        let named = BTreeMap::from_iter(net.vars().variables());
        let group = |loss: &&str| {
            let own = named.iter().filter(|(name, _)| N::LOSSES.len() == 1 || name.starts_with(*loss));
            let params: Vec<Tensor> = own.map(|(_, t)| t.shallow_clone()).collect();
            let zeros = || params.iter().map(|p| p.detach().zeros_like()).collect();
            Adam { moments: [zeros(), zeros()], params }
        };
        let none = |size: &[i64]| Tensor::zeros(size, (Kind::Double, Device::Cpu));
        let nobody = Walkers::new(Evaluation::new(none(&[0, 0]), none(&[0]), none(&[0, 0])), f64::NAN);
        let rng = Rng::new(fit.seed).split(2);
        Fitting { adam: N::LOSSES.iter().map(group).collect(), data: data.shallow_clone(), rng, nobody, fit }
    }
}

impl<N: Network> Procedure<N> for Fitting {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn steps(&self) -> usize {
        self.fit.steps
    }

    fn schedule(&self) -> Pace {
        let every = self.fit.steps.div_ceil(50).max(1);
        Pace { every, seed: self.fit.seed, threads: 1, progress: 0.0, device: self.data.device() }
    }

    fn config(&self) -> Value {
        let Fit { steps, batch, lr, schedule, noise, seed, .. } = &self.fit;
        json!({ "steps": steps, "batch": batch, "lr": lr, "schedule": schedule, "noise": noise, "seed": seed })
    }

    /// The experiment that owns the folder says what the data and the network are.
    fn identity(&self, net: &N) -> Result<Value> {
        Ok(json!({ "config": Procedure::<N>::config(self), "parameters": net.parameter_count() }))
    }

    fn weighted(&self) -> bool {
        false
    }

    fn begin(&mut self, _net: &N, _tally: &mut Tally) -> Result<()> {
        Ok(())
    }

    fn measure(&mut self, _net: &N, _k: usize, _last: bool, _tally: &mut Tally) -> Result<Health> {
        Ok(Health::Fine)
    }

    fn row(&mut self, _net: &N, _k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        for name in N::LOSSES {
            let [mean] = spent.means([*name]);
            row.put(format!("loss_{name}"), mean);
        }
        Ok(())
    }

    fn step(&mut self, net: &N, k: usize, tally: &mut Tally) -> Result<Health> {
        let rows = Tensor::from_slice(&self.rng.indices(self.data.size()[0] as usize, self.fit.batch));
        let x = self.data.index_select(0, &rows.to_device(self.data.device()));
        let x = &x + self.rng.normal(&x.size(), x.kind(), x.device()) * self.fit.noise;
        let lr = self.fit.lr * self.fit.schedule.factor(k, self.fit.steps);
        tally.updates += 1;
        for (i, name) in N::LOSSES.iter().enumerate() {
            let loss = net.loss(i, &x, &mut self.rng);
            let grads = Tensor::f_run_backward(&[&loss], &self.adam[i].params, false, false)?;
            self.adam[i].step(&grads, k, lr, N::BETAS);
            tally.sum(name, &loss.detach());
            if !loss.double_value(&[]).is_finite() {
                return Ok(Health::Lost(format!("the loss of {name} is not finite")));
            }
        }
        Ok(Health::Fine)
    }

    fn save(&self, _net: &N, to: &mut Checkpoint) -> Result<()> {
        for (group, adam) in self.adam.iter().enumerate() {
            for (part, tensors) in [&adam.params, &adam.moments[0], &adam.moments[1]].into_iter().enumerate() {
                tensors.iter().enumerate().for_each(|(i, t)| to.put(format!("{group}.{part}.{i}"), t));
            }
        }
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, _net: &N, _k: usize, from: &Checkpoint) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (group, adam) in self.adam.iter_mut().enumerate() {
            let [first, second] = &mut adam.moments;
            for (part, tensors) in [&mut adam.params, first, second].into_iter().enumerate() {
                for (i, t) in tensors.iter_mut().enumerate() {
                    t.f_copy_(&from.get(&format!("{group}.{part}.{i}"))?)?;
                }
            }
        }
        self.rng = from.json("rng")?;
        Ok(())
    }

    fn walkers(&self) -> &Walkers {
        &self.nobody
    }

    fn details(&self, _k: usize, _rows: &Recorder) -> String {
        String::new()
    }

    fn finish(self: Box<Self>, _net: &N, _outcome: &Outcome) -> Result<Parts> {
        Ok(Parts { walkers: self.nobody, monitor: None })
    }
}

/// An MLP with SiLU between layers of these sizes, below `path`.
pub(super) fn mlp(path: nn::Path, sizes: &[i64]) -> Vec<nn::Linear> {
    let layer = |(i, w): (usize, &[i64])| nn::linear(&path / format!("layer{i}"), w[0], w[1], Default::default());
    sizes.windows(2).enumerate().map(layer).collect()
}

/// Rows through an [`mlp`].
pub(super) fn forward(layers: &[nn::Linear], x: &Tensor) -> Tensor {
    use jarzynski::tch::nn::Module;
    let through = |h: Tensor, (i, layer): (usize, &nn::Linear)| {
        let h = layer.forward(&h);
        if i + 1 < layers.len() { h.silu() } else { h }
    };
    layers.iter().enumerate().fold(x.shallow_clone(), through)
}

/// Rows x in the coordinates in which the data have mean 0 and variance 1 in each column, and back.
#[derive(Debug)]
pub(super) struct Scale {
    pub mean: Tensor,
    pub deviation: Tensor,
}

impl Scale {
    /// Of data with noise of that standard deviation.
    pub fn of(data: &Tensor, noise: f64) -> Self {
        let (variance, mean) = data.var_mean_dim(Some(&[0i64][..]), false, false);
        Scale { mean, deviation: (variance + noise * noise).sqrt() }
    }

    pub fn scaled(&self, x: &Tensor) -> Tensor {
        (x - &self.mean) / &self.deviation
    }

    pub fn unscaled(&self, z: &Tensor) -> Tensor {
        z * &self.deviation + &self.mean
    }
}
