//! Measure an update of a noise ladder against the network's passes alone in bare tch, and a step of walkers that come down it.
//!
//! `make bench ARGS='-- ladder'`. Images per second of one row are 256 over its first number.

mod timing;

use jarzynski::density::{NoisePath, Path};
use jarzynski::kernel::Denoise;
use jarzynski::model::{LadderNet, LadderShape, NoiseLadder};
use jarzynski::tch::nn::{self, Module, OptimizerConfig};
use jarzynski::tch::{Device, Kind, Tensor, no_grad};
use jarzynski::train::{Balance, DualScoreMatching};
use jarzynski::{Rng, Transport};
use timing::{Bench, Clock, Spent, clock};

/// Pixels, leading axes that the network sees, images per update; the same number of walkers.
const D: i64 = 784;
const SEEN: i64 = 200;
const BATCH: usize = 256;

fn main() {
    let bench = Bench::from_args();
    for (components, balanced, goal) in [(1, false, Some(1.05)), (1, true, None), (50, true, None)] {
        let name = match (components, balanced) {
            (1, false) => "ladder 784, two scores: update / passes".to_string(),
            (n, _) => format!("ladder 784, balance, {n} Gaussian(s): update / passes"),
        };
        bench.row(&name, goal, |turns| against_bare(turns, components, balanced));
    }
    bench.row("ladder 784, 50 Gaussians: bfloat16 / float", None, |turns| {
        let [mut a, mut b] = [true, false].map(|mixed| ladder(LadderNet::mlp(&[512, 512]), 50, mixed));
        versus(turns, &mut a, &mut b)
    });
    bench.row("ladder 784, CNN 16-32-64 / MLP 512-512", None, |turns| {
        let mut a = ladder(LadderNet::cnn(&[16, 32, 64], &[28, 28]), 50, false);
        versus(turns, &mut a, &mut ladder(LadderNet::mlp(&[512, 512]), 50, false))
    });
    for n in [256, 2_048] {
        bench.row(&format!("ladder 784, {n} walkers: step / ∇U"), None, |turns| step_over_gradient(turns, n));
    }
}

/// Rows with the spectrum of images: standard deviations that fall as 1/k.
fn images(n: i64) -> Tensor {
    let spread = (Tensor::arange(D, (Kind::Float, Device::Cpu)) + 1.0).reciprocal() * 5.0;
    Rng::new(1).normal(&[n, D], Kind::Float, Device::Cpu) * spread
}

fn ladder(net: LadderNet, components: usize, mixed: bool) -> NoiseLadder {
    let net = match net {
        LadderNet::Mlp { widths, .. } => LadderNet::Mlp { widths, axes: Some(SEEN as usize) },
        other => other,
    };
    let shape = LadderShape { net, components, mixture_axes: Some(30), mixed, ..Default::default() };
    NoiseLadder::new(&images(2_000), 0.3, &shape).unwrap()
}

fn training(steps: usize, balanced: bool) -> DualScoreMatching {
    let all = DualScoreMatching::new().steps(steps).batch(BATCH).progress(0.0);
    if balanced { all.time_score(0.0).balance(Balance { count: BATCH, ..Default::default() }) } else { all }
}

fn against_bare(turns: usize, components: usize, balanced: bool) -> Vec<(Spent, Spent)> {
    const EVERY: usize = 4;
    let (mut ladder, data) = (ladder(LadderNet::mlp(&[512, 512]), components, false), images(2_000));
    let mut bare = Bare::new(balanced);
    let (mut pairs, mut own) = (Vec::new(), Clock::start());
    let run = training(EVERY * (turns + 1), balanced).every(EVERY).train_with(&mut ladder, &data, &mut |_| {
        let own_turn = own.stop(EVERY);
        pairs.push((own_turn, clock(EVERY, || (0..EVERY).for_each(|_| bare.step()))));
        own = Clock::start();
        Vec::new()
    });
    let run = run.unwrap();
    assert!(run.finished(), "{:?}", run.outcome);
    // the first two turns hold the start and the first use of everything
    pairs.split_off(2)
}

/// The passes of one update and nothing else: no noise, no mixture, no walkers.
struct Bare {
    layers: [nn::Linear; 4],
    optimiser: nn::Optimizer,
    vs: nn::VarStore,
    u: Tensor,
    t: Tensor,
    balanced: bool,
}

impl Bare {
    fn new(balanced: bool) -> Self {
        let vs = nn::VarStore::new(Device::Cpu);
        let layers =
            [(SEEN, 512), (7, 512), (512, 512), (512, 1)].map(|(i, o)| nn::linear(vs.root(), i, o, Default::default()));
        let optimiser = nn::Adam::default().build(&vs, 1e-5).unwrap();
        let rows = (if balanced { 2 * BATCH } else { BATCH }) as i64;
        let place = (Kind::Float, Device::Cpu);
        let (u, t) = (Tensor::randn([rows, SEEN], place), Tensor::rand([rows, 1], place));
        let new = Bare { layers, optimiser, vs, u, t, balanced };
        // so that every parameter has a gradient to write into
        new.net(&new.u, &new.t).sum(None::<Kind>).backward();
        new
    }

    fn net(&self, u: &Tensor, t: &Tensor) -> Tensor {
        let angles: Vec<Tensor> = (1..=3).map(|k| t * (std::f64::consts::PI * f64::from(k))).collect();
        let mut features = vec![t.shallow_clone()];
        features.extend(angles.iter().flat_map(|a| [a.sin(), a.cos()]));
        let [place, time, hidden, last] = &self.layers;
        let first = place.forward(u) + time.forward(&Tensor::cat(&features, 1));
        last.forward(&hidden.forward(&first.silu()).silu()).squeeze_dim(-1)
    }

    fn step(&mut self) {
        let (u, t) = (self.u.detach().set_requires_grad(true), self.t.detach().set_requires_grad(true));
        let f = self.net(&u, &t);
        let slopes = Tensor::run_backward(&[f.sum(None::<Kind>)], &[&u, &t], true, true);
        let mut loss = slopes[0].square().mean(None::<Kind>) + slopes[1].square().mean(None::<Kind>);
        if self.balanced {
            let n = BATCH as i64;
            for half in [0, n] {
                let part = |all: &Tensor| all.narrow(0, half, n);
                loss += (part(&f) - self.net(&part(&self.u), &part(&self.t))).square().mean(None::<Kind>);
            }
        }
        let params = self.vs.trainable_variables();
        let grads = Tensor::run_backward(&[loss], &params, false, false);
        // the last bias is in no slope
        let known = params.iter().zip(&grads).filter(|(_, grad)| grad.defined());
        no_grad(|| known.for_each(|(p, grad)| p.grad().copy_(grad)));
        self.optimiser.step();
    }
}

/// The balanced trainings of two ladders, in turns.
fn versus(turns: usize, a: &mut NoiseLadder, b: &mut NoiseLadder) -> Vec<(Spent, Spent)> {
    const STEPS: usize = 4;
    let data = images(2_000);
    let run = |ladder: &mut NoiseLadder| {
        clock(STEPS, || assert!(training(STEPS, true).every(STEPS).train(ladder, &data).unwrap().finished()))
    };
    (0..turns).map(|_| (run(a), run(b))).collect()
}

/// A step of weighted walkers over one evaluation of the energy and its gradient.
fn step_over_gradient(turns: usize, n: usize) -> Vec<(Spent, Spent)> {
    const STEPS: usize = 10;
    let ladder = ladder(LadderNet::mlp(&[512, 512]), 50, false);
    let x = ladder.base().sample(n, &mut Rng::new(2));
    let pair = |_| {
        let down = clock(STEPS, || drop(Transport::new(Denoise::new(), STEPS, n, 0).quiet().run(&ladder).unwrap()));
        let gradients = clock(STEPS, || (0..STEPS).for_each(|_| drop(no_grad(|| ladder.evaluate(0.5, &x)))));
        (down, gradients)
    };
    assert!(ladder.sigma(1.0) > 0.0);
    (0..turns).map(pair).collect()
}
