//! Measure updates on a GPU against the same updates on the CPU, and mixed precision against f32 on the GPU.
//!
//! `make bench ARGS='-- GPU'`. Without a GPU it says so and measures nothing.

mod timing;

use jarzynski::model::{Cnn, CnnShape, Mlp, MlpShape, Rbm, RbmShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Gibbs, Kernel, Method, Model, Optim, Rng, Settings, Trainer, TrustRegion, Ula, device};
use timing::{Bench, Spent, clock};

fn main() {
    let gpu = match device("cuda:0") {
        Ok(gpu) => gpu,
        Err(e) => return println!("=============== SKIPPED: no GPU to measure ({e}) ==============="),
    };
    let bench = Bench::from_args();
    for walkers in [256, 2_048, 16_384] {
        let mlp = |device| {
            Mlp::new(64, &MlpShape { widths: vec![256, 256], ..Default::default() }, Kind::Float, device).unwrap()
        };
        let cnn = |device| Cnn::new(28, &CnnShape::default(), Kind::Float, device).unwrap();
        let rbm = |device| {
            let shape = RbmShape { hidden: 500, ..Default::default() };
            Rbm::bernoulli(&rows(784, device), &shape).unwrap()
        };
        let ula = || Ula::new(0.01);
        bench.row(&format!("GPU: mlp 64-256-256-1, {walkers} walkers: / CPU"), None, |turns| {
            pair(turns, &|| train(ula(), mlp(gpu), walkers), &|| train(ula(), mlp(Device::Cpu), walkers))
        });
        bench.row(&format!("GPU: mlp 64-256-256-1, {walkers} walkers: mixed / f32"), None, |turns| {
            pair(turns, &|| train(ula(), mlp(gpu).mixed(), walkers), &|| train(ula(), mlp(gpu), walkers))
        });
        bench.row(&format!("GPU: cnn 28×28, {walkers} walkers: / CPU"), None, |turns| {
            pair(turns, &|| train(ula(), cnn(gpu), walkers), &|| train(ula(), cnn(Device::Cpu), walkers))
        });
        bench.row(&format!("GPU: cnn 28×28, {walkers} walkers: mixed / f32"), None, |turns| {
            pair(turns, &|| train(ula(), cnn(gpu).mixed(), walkers), &|| train(ula(), cnn(gpu), walkers))
        });
        bench.row(&format!("GPU: rbm 784×500, {walkers} chains: / CPU"), None, |turns| {
            let gibbs = Gibbs::new;
            pair(turns, &|| train(gibbs(), rbm(gpu), walkers), &|| train(gibbs(), rbm(Device::Cpu), walkers))
        });
    }
}

/// Rows of zeros and ones.
fn rows(d: i64, device: Device) -> Tensor {
    Rng::new(1).uniform_tensor(&[1_000, d], Kind::Float, Device::Cpu).round().to_device(device)
}

/// One update of a training with weights, after a few that warm the device up.
fn train<K: Kernel<M>, M: Model>(kernel: K, mut model: M, walkers: usize) -> Spent {
    let data = rows(model.dim(), model.options().1);
    let settings = |steps| Settings {
        walkers,
        monitor: Some(0),
        steps,
        lr: 1e-4,
        optim: Optim::Adam,
        trust_region: Some(TrustRegion::Unlimited),
        batch: Some(500),
        every: steps,
        progress: 0.0,
        ..Default::default()
    };
    let trainer = Trainer::new(kernel, Method::Jarzynski { ess_min: 0.5 });
    let trainer = trainer.settings(settings(3));
    assert!(trainer.train(&mut model, &data).unwrap().finished());
    let trainer = trainer.settings(settings(10));
    clock(10, || assert!(trainer.train(&mut model, &data).unwrap().finished()))
}

fn pair(turns: usize, a: &dyn Fn() -> Spent, b: &dyn Fn() -> Spent) -> Vec<(Spent, Spent)> {
    (0..turns.div_ceil(8)).map(|_| (a(), b())).collect()
}
